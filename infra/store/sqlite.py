"""The embedded store: documents in one SQLite file, or in `:memory:`. For a machine without
Firestore; never deployed.

Keeps the promises of `infra/store/port.py` with one write lock held for the length of a commit
(`BEGIN IMMEDIATE`), so that several threads and several processes may share a file. A version is
the number of the commit that last changed the document."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.errors import Unavailable
from infra.store.limits import check_path, check_writes
from infra.store.port import (
    MODELS,
    REQUEUE_AT,
    Conflict,
    Create,
    Delete,
    Document,
    Replace,
    StoreError,
    Write,
)

_TABLES = """
CREATE TABLE IF NOT EXISTS documents (
    path TEXT PRIMARY KEY, collection TEXT NOT NULL, id TEXT NOT NULL, data TEXT NOT NULL, version INTEGER NOT NULL, requeue_at TEXT
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS in_order ON documents (collection, id);
CREATE INDEX IF NOT EXISTS due ON documents (collection, requeue_at, id) WHERE requeue_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS commits (number INTEGER NOT NULL);
INSERT INTO commits SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM commits);
"""
_INSTANT = "$at"  # marks an instant; names of fields that begin with $ get another one


class SqliteStore:
    """`path` is a file, made when missing, or `:memory:` for a store that dies with this object."""

    def __init__(self, path: str | Path, timeout_seconds: float = 10.0) -> None:
        self._lock = (
            threading.Lock()
        )  # one connection for all threads: `:memory:` lives in its connection
        self._database = sqlite3.connect(
            path, timeout=timeout_seconds, isolation_level=None, check_same_thread=False
        )
        with self._locked():
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.executescript(f"BEGIN IMMEDIATE;{_TABLES}COMMIT;")

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def get(self, path: str) -> Document | None:
        return self.get_many([path]).get(path)

    def get_many(self, paths: Iterable[str]) -> dict[str, Document]:
        wanted = list(dict.fromkeys(paths))
        for path in wanted:
            check_path(path)
        marks = ", ".join("?" * len(wanted))
        rows = self._rows(
            f"SELECT path, data, version FROM documents WHERE path IN ({marks})", *wanted
        )
        return {document.path: document for document in map(_document, rows)}

    def commit(self, *writes: Write) -> dict[str, str]:
        fit = check_writes(writes)
        with self._locked() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                database.execute("UPDATE commits SET number = number + 1")
                (number,) = database.execute("SELECT number FROM commits").fetchone()
                versions = {write.path: _carry_out(database, write, number) for write in fit}
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise
        return {path: str(version) for path, version in versions.items() if version is not None}

    def list_due(self, now: datetime, limit: int) -> tuple[str, ...]:
        rows = self._rows(
            "SELECT id FROM documents WHERE collection = ? AND requeue_at <= ? ORDER BY requeue_at, id"
            " LIMIT ?",
            MODELS,
            _instant(now),
            limit,
        )
        return tuple(row[0] for row in rows)

    def list(
        self, collection_path: str, limit: int, after: str | None = None
    ) -> tuple[Document, ...]:
        check_path(collection_path, collection=True)
        rows = self._rows(
            "SELECT path, data, version FROM documents WHERE collection = ? AND id > ? ORDER BY id"
            " LIMIT ?",
            collection_path,
            after or "",
            limit,
        )
        return tuple(map(_document, rows))

    def _rows(self, query: str, *values: object) -> tuple[Any, ...]:
        with self._locked() as database:
            return tuple(database.execute(query, values))

    @contextmanager
    def _locked(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._database
            except sqlite3.OperationalError as error:
                raise Unavailable(f"SQLite: {error}") from error
            except sqlite3.Error as error:
                raise StoreError(f"SQLite: {error}") from error


def _carry_out(database: sqlite3.Connection, write: Write, number: int) -> int | None:
    """Do one write and return the document's version after it, None once it is deleted."""
    if isinstance(write, Delete):
        database.execute("DELETE FROM documents WHERE path = ?", (write.path,))
        return None
    there = database.execute(
        "SELECT version, data FROM documents WHERE path = ?", (write.path,)
    ).fetchone()
    if why := _refusal(write, there[0] if there else None):
        raise Conflict(write.path, why)
    data = json.dumps(
        _encoded(write.data), sort_keys=True, ensure_ascii=False, separators=(",", ":")
    )
    if there and there[1] == data:
        return int(there[0])
    collection, _, name = write.path.rpartition("/")
    requeue_at = write.data.get(REQUEUE_AT)
    row = (
        write.path,
        collection,
        name,
        data,
        number,
        _instant(requeue_at) if isinstance(requeue_at, datetime) else None,
    )
    database.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?, ?)", row)
    return number


def _refusal(write: Write, version: int | None) -> str | None:
    match write:
        case Create() if version is not None:
            return "the document exists already"
        case Replace() if version is None:
            return "the document is gone"
        case Replace() if write.version != str(version):
            return (
                f"the document was changed by somebody else: it is at version {version}, not at"
                f" {write.version}"
            )
    return None


def _document(row: tuple[str, str, int]) -> Document:
    path, data, version = row
    return Document(path, _decoded(json.loads(data)), str(version))


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(
        timespec="microseconds"
    )  # of equal length, so that text order is time order


def _encoded(value: Any) -> Any:
    match value:
        case datetime():
            return {_INSTANT: _instant(value)}
        case Mapping():
            return {
                f"${name}" if name.startswith("$") else name: _encoded(item)
                for name, item in value.items()
            }
        case list() | tuple():
            return [_encoded(item) for item in value]
    return value


def _decoded(value: Any) -> Any:
    match value:
        case {"$at": str(at)}:
            return datetime.fromisoformat(at)
        case dict():
            return {name.removeprefix("$"): _decoded(item) for name, item in value.items()}
        case list():
            return [_decoded(item) for item in value]
    return value
