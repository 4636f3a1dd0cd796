"""The store in one SQLite file, or in `:memory:`. For machines without Firestore; never deployed.

Each commit holds SQLite's write lock (`BEGIN IMMEDIATE`), so several threads and processes may
share a file. A document's version is the number of the commit that last changed it.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.errors import Unavailable
from infra.store.limits import check_path, check_writes
from infra.store.port import (
    IS_ROUTINE,
    MODELS,
    REQUEUE_AT,
    WAKEUPS,
    Conflict,
    Create,
    Delete,
    Document,
    Due,
    Place,
    Replace,
    StoreError,
    Write,
    with_fields,
)

_TABLES = """
CREATE TABLE IF NOT EXISTS documents (
    path TEXT PRIMARY KEY, collection TEXT NOT NULL, id TEXT NOT NULL, data TEXT NOT NULL,
    version INTEGER NOT NULL, requeue_at TEXT
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS in_order ON documents (collection, id);
CREATE INDEX IF NOT EXISTS due ON documents (collection, requeue_at, id)
    WHERE requeue_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS commits (number INTEGER NOT NULL);
INSERT INTO commits SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM commits);
"""
_ATTEMPTS = 100
_DATETIME = "$at"  # marks a datetime; a field name that begins with $ is stored with another $


class SqliteStore:
    """`path` is a file, created if missing, or `:memory:` for a store that lives as long as this
    object.
    """

    def __init__(self, path: str | Path, timeout_seconds: float = 10.0) -> None:
        # All threads share one connection, because `:memory:` exists only within its connection.
        self._lock = threading.Lock()
        self._database = sqlite3.connect(
            path, timeout=timeout_seconds, isolation_level=None, check_same_thread=False
        )
        with self._locked():
            _use_write_ahead_log(self._database)
            self._database.executescript(f"BEGIN IMMEDIATE;{_TABLES}COMMIT;")

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def get(self, path: str) -> Document | None:
        return self.get_many([path]).get(path)

    def get_many(self, paths: Iterable[str]) -> dict[str, Document]:
        unique = list(dict.fromkeys(paths))
        for path in unique:
            check_path(path)
        marks = ", ".join("?" * len(unique))
        rows = self._rows(
            f"SELECT path, data, version FROM documents WHERE path IN ({marks})", *unique
        )
        return {document.path: document for document in map(_document, rows)}

    def commit(self, *writes: Write) -> dict[str, str]:
        checked = check_writes(writes)
        with self._locked() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                database.execute("UPDATE commits SET number = number + 1")
                (number,) = database.execute("SELECT number FROM commits").fetchone()
                versions = {write.path: _execute(database, write, number) for write in checked}
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise
        return {path: str(version) for path, version in versions.items() if version is not None}

    def list_due(self, now: datetime, limit: int, after: Due | None = None) -> tuple[Due, ...]:
        first = (_encode_datetime(after.requeue_at), after.model) if after else ("", "")
        rows = self._rows(
            "SELECT path, data, version FROM documents WHERE collection = ? AND requeue_at <= ?"
            " AND (requeue_at, id) > (?, ?) ORDER BY requeue_at, id LIMIT ?",
            MODELS,
            _encode_datetime(now),
            *first,
            limit,
        )
        return tuple(
            Due(
                each.data[REQUEUE_AT],
                each.path.rpartition("/")[2],
                each.data.get(WAKEUPS, 0),
                each.data.get(IS_ROUTINE, False),
            )
            for each in map(_document, rows)
        )

    def count_due(self, until: datetime) -> int:
        ((found,),) = self._rows(
            "SELECT count(*) FROM documents WHERE collection = ? AND requeue_at <= ?",
            MODELS,
            _encode_datetime(until),
        )
        return int(found)

    def list(
        self,
        collection_path: str,
        limit: int,
        after: str | None = None,
        fields: Sequence[str] = (),
    ) -> tuple[Document, ...]:
        check_path(collection_path, collection=True)
        rows = self._rows(
            f"SELECT path, {_select(fields)}, version FROM documents"
            " WHERE collection = ? AND id > ? ORDER BY id LIMIT ?",
            *map(_json_path, fields),
            collection_path,
            after or "",
            limit,
        )
        return tuple(_document(row, fields) for row in rows)

    def list_newest(
        self,
        collection_path: str,
        by: str,
        limit: int,
        before: Place | None = None,
        fields: Sequence[str] = (),
    ) -> tuple[Document, ...]:
        check_path(collection_path, collection=True)
        value = before.value if before else None
        is_after = "AND (value, id) < (?, ?)" if before else ""
        rows = self._rows(
            f"SELECT path, {_select(fields)}, version FROM (SELECT *, coalesce(json_extract(data,"
            " ?), json_extract(data, ?)) AS value FROM documents WHERE collection = ?)"
            f" WHERE value IS NOT NULL {is_after} ORDER BY value DESC, id DESC LIMIT ?",
            *map(_json_path, fields),
            _json_path(f"{by}.{_DATETIME}"),
            _json_path(by),
            collection_path,
            *((_comparable(value), before.id) if before else ()),
            limit,
        )
        return tuple(_document(row, fields) for row in rows)

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


def _use_write_ahead_log(database: sqlite3.Connection) -> None:
    """Unlike other statements, a change of the journal mode fails at once if another connection
    makes it too. So this waits for the other one's lock and tries again.
    """
    for attempt in range(_ATTEMPTS):
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if attempt + 1 == _ATTEMPTS:
                raise
            database.executescript("BEGIN IMMEDIATE; COMMIT;")


def _execute(database: sqlite3.Connection, write: Write, number: int) -> int | None:
    """Do one write and return the document's new version, or None if it was deleted."""
    stored = database.execute(
        "SELECT version, data FROM documents WHERE path = ?", (write.path,)
    ).fetchone()
    if why := _conflict(write, stored[0] if stored else None):
        raise Conflict(write.path, why)
    if isinstance(write, Delete):
        database.execute("DELETE FROM documents WHERE path = ?", (write.path,))
        return None
    data = json.dumps(
        _encode(write.data), sort_keys=True, ensure_ascii=False, separators=(",", ":")
    )
    if stored and stored[1] == data:
        return int(stored[0])
    collection, _, name = write.path.rpartition("/")
    requeue_at = write.data.get(REQUEUE_AT)
    row = (
        write.path,
        collection,
        name,
        data,
        number,
        _encode_datetime(requeue_at) if isinstance(requeue_at, datetime) else None,
    )
    database.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?, ?)", row)
    return number


def _conflict(write: Write, version: int | None) -> str | None:
    match write:
        case Create() if version is not None:
            return "the document already exists"
        case Delete(version=None):
            return None
        case Replace() | Delete() if version is None:
            return "the document does not exist"
        case Replace() | Delete() if write.version != str(version):
            return (
                f"the document was changed by another writer: it is at version {version}, not at"
                f" {write.version}"
            )
    return None


def _document(row: tuple[str, str, int], fields: Sequence[str] = ()) -> Document:
    """`fields`: those that were selected; if there are none, all of them."""
    path, stored, version = row
    data = json.loads(stored, object_hook=_decode)
    if fields:
        data = with_fields(zip(fields, data[1:], strict=True))
    return Document(path, data, str(version))


def _select(fields: Sequence[str]) -> str:
    """All data, or a JSON array of these fields, whose `_json_path` are the parameters. Of one
    field alone SQLite would return no JSON, so the schema goes with them.
    """
    return f"json_extract(data, '$.schema'{', ?' * len(fields)})" if fields else "data"


def _json_path(field: str) -> str:
    return "$" + "".join(f'."{name}"' for name in field.split("."))


def _comparable(value: int | datetime | None) -> Any:
    return _encode_datetime(value) if isinstance(value, datetime) else value


def _encode_datetime(at: datetime) -> str:
    # Of equal length, so that they sort by time.
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _encode(value: Any) -> Any:
    match value:
        case str() | None | int() | float():  # first, because most values are
            return value
        case datetime():
            return {_DATETIME: _encode_datetime(value)}
        case dict() | Mapping():
            return {
                f"${name}" if name.startswith("$") else name: _encode(item)
                for name, item in value.items()
            }
        case list() | tuple():
            return [_encode(item) for item in value]
    return value


def _decode(fields: dict[str, Any]) -> Any:
    """A map or a datetime, from an object as it is stored."""
    if _DATETIME in fields:
        return datetime.fromisoformat(fields[_DATETIME])
    return {name.removeprefix("$"): value for name, value in fields.items()}
