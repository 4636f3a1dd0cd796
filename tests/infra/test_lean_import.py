"""What the store and the bus import: only the implementation in use, and only parts of its client
library; plain imports of the library still work.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(program: str) -> str:
    """What a program prints in a new process, where nothing is imported yet."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip() + done.stderr.strip()


def test_the_store_and_the_bus_import_only_what_they_use() -> None:
    program = """
import sys, infra.bus.pubsub, infra.store.firestore
unwanted = (
    "google.cloud.firestore_v1.async_client", "google.pubsub_v1.services.subscriber.client",
    "google.pubsub_v1.services.schema_service.client",
    "google.pubsub_v1.services.publisher.async_client",
)
print([name for name in unwanted if name in sys.modules])
"""
    assert run(program) == "[]"


def test_a_plain_import_after_a_lean_one_is_complete_and_has_the_same_classes() -> None:
    program = """
import infra.bus.pubsub as bus, infra.store.firestore as store
from google import pubsub_v1
from google.cloud import firestore, firestore_v1
from google.cloud.firestore_v1.services.firestore import FirestoreClient
assert pubsub_v1.PublisherClient is bus.publisher.PublisherClient
assert pubsub_v1.types.PubsubMessage is bus.pubsub.PubsubMessage
assert FirestoreClient is store.client.FirestoreClient
assert firestore_v1.types.Document is store.document.Document
assert firestore.Client and pubsub_v1.SubscriberClient and firestore_v1.services.firestore
print("complete")
"""
    assert run(program) == "complete"


def test_an_already_imported_library_is_used_unchanged() -> None:
    program = """
from google import pubsub_v1
import infra.bus.pubsub as bus
assert pubsub_v1.PublisherClient is bus.publisher.PublisherClient
print("same")
"""
    assert run(program) == "same"


def test_a_deferred_name_that_is_not_a_package_is_ignored() -> None:
    program = """
from infra.lean_import import lean_import
(found,) = lean_import(("colorsys", "not_there_at_all"), "json.decoder")
print(found.JSONDecoder.__name__)
"""
    assert run(program) == "JSONDecoder"


def test_a_missing_name_of_a_complete_package_is_an_error() -> None:
    program = """
import infra.bus.pubsub
from google import pubsub_v1
try:
    pubsub_v1.nothing_like_that
except AttributeError as error:
    print(error)
"""
    assert run(program) == "module 'google.pubsub_v1' has no attribute 'nothing_like_that'"


@pytest.mark.parametrize(
    ("imported", "unwanted"),
    [
        (
            "infra.store.port, infra.bus.port, infra.bus.envelope",
            ["google.api_core", "google.protobuf", "grpc", "sqlite3", "cloudevents"],
        ),
        (
            "infra.store.firestore, infra.bus.pubsub",
            ["sqlite3", "google.cloud.pubsub_v1", "cloudevents"],
        ),
        ("infra.store.sqlite, infra.bus.embedded", ["google.api_core", "google.protobuf", "grpc"]),
    ],
)
def test_no_implementation_imports_another(imported: str, unwanted: list[str]) -> None:
    program = (
        f"import sys, {imported}; print([name for name in {unwanted!r} if name in sys.modules])"
    )
    assert run(program) == "[]"
