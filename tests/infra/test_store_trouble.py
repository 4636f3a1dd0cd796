"""When a store does not answer, or answers with an error: what was written may be unknown, and is
never taken for done."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from infra.store.firestore import FirestoreStore
from infra.store.port import Conflict, Create, Put, Store, StoreError, Unavailable
from infra.store.sqlite import SqliteStore

ROOT = Path(__file__).parents[2]


@contextmanager
def firestore_that_says(code: grpc.StatusCode, message: str) -> Iterator[str]:
    """A server that answers every commit with this error."""

    def refuse(_request: bytes, context: Any) -> bytes:
        context.abort(code, message)
        return b""

    server = grpc.server(ThreadPoolExecutor(1))
    handlers = {"Commit": grpc.unary_unary_rpc_method_handler(refuse)}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("google.firestore.v1.Firestore", handlers),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


MISSING_DATABASE = (
    "The database (default) does not exist for project p. Please visit"
    " https://console.cloud.google.com to add one."
)
DATASTORE_MODE = (
    "The Cloud Firestore API is not available for Firestore in Datastore Mode database"
    " projects/p/databases/(default)."
)


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        (
            grpc.StatusCode.ALREADY_EXISTS,
            "Document already exists: projects/p/databases/(default)/documents/models/tiny",
            Conflict,
        ),
        (
            grpc.StatusCode.FAILED_PRECONDITION,
            "the stored version (2) does not match the required base version (1)",
            Conflict,
        ),
        (
            grpc.StatusCode.NOT_FOUND,
            "No document to update: projects/p/databases/(default)/documents/models/tiny",
            Conflict,
        ),
        (grpc.StatusCode.NOT_FOUND, MISSING_DATABASE, StoreError),
        (grpc.StatusCode.FAILED_PRECONDITION, DATASTORE_MODE, StoreError),
        (grpc.StatusCode.PERMISSION_DENIED, "Missing or insufficient permissions.", StoreError),
        (
            grpc.StatusCode.INVALID_ARGUMENT,
            "Property array contains an invalid nested entity.",
            StoreError,
        ),
        (
            grpc.StatusCode.ABORTED,
            "Too much contention on these documents. Please try again.",
            Unavailable,
        ),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", Unavailable),
        (grpc.StatusCode.INTERNAL, "An internal error occurred.", Unavailable),
        (grpc.StatusCode.UNKNOWN, "Stream removed", Unavailable),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Quota exceeded.", Unavailable),
        (grpc.StatusCode.CANCELLED, "cancelled", Unavailable),
    ],
)
def test_each_error_of_firestore_has_one_meaning(
    code: grpc.StatusCode, message: str, expected: type[Exception]
) -> None:
    with (
        firestore_that_says(code, message) as address,
        pytest.raises((StoreError, Unavailable)) as raised,
    ):
        FirestoreStore("p", emulator=address).commit(Create("models/tiny", {}))

    assert raised.type is expected
    assert message in str(raised.value)


def test_without_a_precondition_nothing_is_a_conflict() -> None:
    code = grpc.StatusCode.FAILED_PRECONDITION
    with (
        firestore_that_says(code, "something else") as address,
        pytest.raises(StoreError) as raised,
    ):
        FirestoreStore("p", emulator=address).commit(Put("models/tiny", {}))

    assert raised.type is StoreError


def test_firestore_that_is_not_there_is_unavailable() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        store = FirestoreStore(
            "p", emulator=f"127.0.0.1:{nobody.getsockname()[1]}", timeout_seconds=0.5
        )

        assert_unavailable(store)


def test_firestore_that_does_not_answer_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert_unavailable(
            FirestoreStore(
                "p", emulator=f"127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=0.5
            )
        )


def assert_unavailable(store: Store) -> None:
    with pytest.raises(Unavailable):
        store.commit(Put("models/tiny", {}))
    with pytest.raises(Unavailable):
        store.get("models/tiny")
    with pytest.raises(Unavailable):
        store.list("models", 1)


def test_a_file_that_another_process_keeps_locked_is_unavailable_and_then_works_again(
    tmp_path: Path,
) -> None:
    store = SqliteStore(tmp_path / "store.db", timeout_seconds=0.1)
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(Unavailable, match="locked"):
        store.commit(Create("models/tiny", {"n": 1}))
    other.execute("ROLLBACK")
    store.commit(Create("models/tiny", {"n": 1}))

    found = store.get("models/tiny")
    assert found is not None
    assert found.data == {"n": 1}


def test_what_a_file_holds_outlives_the_store(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "store.db")
    versions = first.commit(Create("models/tiny", {"n": 1}))
    first.close()

    found = SqliteStore(tmp_path / "store.db").get("models/tiny")

    assert found is not None
    assert (found.data, found.version) == ({"n": 1}, versions["models/tiny"])


@pytest.mark.parametrize(
    ("imported", "unwanted"),
    [
        (
            "infra.store.port, infra.bus.envelope",
            ["google.api_core", "google.protobuf", "grpc", "sqlite3", "cloudevents"],
        ),
        (
            "infra.store.firestore, infra.bus.pubsub",
            ["sqlite3", "google.cloud.pubsub_v1", "cloudevents"],
        ),
        ("infra.store.sqlite, infra.bus.embedded", ["google.api_core", "google.protobuf", "grpc"]),
    ],
)
def test_no_implementation_brings_in_another(imported: str, unwanted: list[str]) -> None:
    program = (
        f"import sys, {imported}; print([name for name in {unwanted!r} if name in sys.modules])"
    )

    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert answer.stdout.strip() == "[]"
