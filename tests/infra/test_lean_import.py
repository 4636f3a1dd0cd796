"""Client libraries imported in part: less is loaded, and a plain import beside it works as ever."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def said_by(program: str) -> str:
    """What a program prints in a process of its own, where nothing is imported yet."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip() + done.stderr.strip()


def test_the_store_and_the_bus_leave_the_rest_of_their_libraries_out() -> None:
    program = """
import sys, infra.bus.pubsub, infra.store.firestore
unwanted = ("google.cloud.firestore_v1.async_client", "google.pubsub_v1.services.subscriber.client",
            "google.pubsub_v1.services.schema_service.client", "google.pubsub_v1.services.publisher.async_client")
print([name for name in unwanted if name in sys.modules])
"""
    assert said_by(program) == "[]"


def test_a_plain_import_after_a_lean_one_is_whole_and_has_the_same_classes() -> None:
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
print("whole")
"""
    assert said_by(program) == "whole"


def test_a_library_that_is_imported_already_is_used_as_it_is() -> None:
    program = """
from google import pubsub_v1
import infra.bus.pubsub as bus
assert pubsub_v1.PublisherClient is bus.publisher.PublisherClient
print("same")
"""
    assert said_by(program) == "same"


def test_what_is_no_package_is_imported_plainly() -> None:
    program = """
from infra.lean_import import lean_import
(found,) = lean_import(("colorsys", "not_there_at_all"), "json.decoder")
print(found.JSONDecoder.__name__)
"""
    assert said_by(program) == "JSONDecoder"


def test_a_name_that_a_whole_package_lacks_is_still_an_error() -> None:
    program = """
import infra.bus.pubsub
from google import pubsub_v1
try:
    pubsub_v1.nothing_like_that
except AttributeError as error:
    print(error)
"""
    assert said_by(program) == "module 'google.pubsub_v1' has no attribute 'nothing_like_that'"
