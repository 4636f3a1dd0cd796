"""Stores that fail or do not answer: the outcome of a write may be unknown, and is never taken for
success.
"""

from __future__ import annotations

import socket
import sqlite3
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


@contextmanager
def failing_firestore(code: grpc.StatusCode, message: str) -> Iterator[str]:
    """A server that fails every commit with this error."""

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
def test_firestore_errors_are_translated(
    code: grpc.StatusCode, message: str, expected: type[Exception]
) -> None:
    with (
        failing_firestore(code, message) as address,
        pytest.raises((StoreError, Unavailable)) as raised,
    ):
        FirestoreStore("p", emulator=address).commit(Create("models/tiny", {}))

    assert raised.type is expected
    assert message in str(raised.value)


def test_a_write_without_a_precondition_never_conflicts() -> None:
    code = grpc.StatusCode.FAILED_PRECONDITION
    with (
        failing_firestore(code, "something else") as address,
        pytest.raises(StoreError) as raised,
    ):
        FirestoreStore("p", emulator=address).commit(Put("models/tiny", {}))

    assert raised.type is StoreError


def test_unreachable_firestore_is_unavailable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        store = FirestoreStore(
            "p", emulator=f"127.0.0.1:{unused.getsockname()[1]}", timeout_seconds=0.5
        )

        assert_unavailable(store)


def test_unresponsive_firestore_is_unavailable() -> None:
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


def test_a_locked_sqlite_file_is_unavailable_until_it_is_released(
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


def test_a_sqlite_file_keeps_its_documents_after_close(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "store.db")
    versions = first.commit(Create("models/tiny", {"n": 1}))
    first.close()

    found = SqliteStore(tmp_path / "store.db").get("models/tiny")

    assert found is not None
    assert (found.data, found.version) == ({"n": 1}, versions["models/tiny"])
