"""A store in plain dictionaries, a tenth of the cost of one in SQLite, since a run asks its store hundreds of times.

Held to the contract of every other store by `tests/infra/test_store_contract.py`, but for one thing: what it hands out is not a
copy. Handlers change no document that they read, and a test holds a run on it to the same trace as on SQLite.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from infra.store import MODELS, WAKE_AT, Conflict, Create, Delete, Document, Replace, Write
from infra.stores.fit import check_path, checked


class MemoryStore:
    """For one thread."""

    def __init__(self) -> None:
        self._documents: dict[str, Document] = {}
        self._commits = 0

    def close(self) -> None:
        """Nothing is held open."""

    def get(self, path: str) -> Document | None:
        check_path(path)
        return self._documents.get(path)

    def get_many(self, paths: Iterable[str]) -> dict[str, Document]:
        found = {path: self.get(path) for path in paths}
        return {path: document for path, document in found.items() if document is not None}

    def commit(self, *writes: Write) -> dict[str, str]:
        fit = checked(writes)
        for write in fit:
            if why := self._refusal(write):
                raise Conflict(write.path, why)
        self._commits += 1
        return {write.path: version for write in fit if (version := self._carry_out(write)) is not None}

    def due(self, now: datetime, limit: int) -> tuple[str, ...]:
        held = [
            (document.data[WAKE_AT], _name(path).encode())
            for path, document in self._documents.items()
            if _collection(path) == MODELS and isinstance(document.data.get(WAKE_AT), datetime)
        ]
        return tuple(name.decode() for at, name in sorted(held)[:limit] if at <= now)

    def list(self, collection_path: str, limit: int, after: str | None = None) -> tuple[Document, ...]:
        check_path(collection_path, collection=True)
        first = (after or "").encode()
        found = sorted(
            (name, path)
            for path in self._documents
            if _collection(path) == collection_path and (name := _name(path).encode()) > first
        )
        return tuple(self._documents[path] for _, path in found[:limit])

    def _refusal(self, write: Write) -> str | None:
        there = self._documents.get(write.path)
        match write:
            case Create() if there:
                return "the document exists already"
            case Replace() if not there:
                return "the document is gone"
            case Replace() if there and write.version != there.version:
                return f"the document was changed by somebody else: it is at version {there.version}, not at {write.version}"
        return None

    def _carry_out(self, write: Write) -> str | None:
        if isinstance(write, Delete):
            self._documents.pop(write.path, None)
            return None
        there, data = self._documents.get(write.path), _stored(write.data)
        if there is None or there.data != data:
            there = self._documents[write.path] = Document(write.path, data, str(self._commits))
        return there.version


def _stored(value: Any) -> Any:
    match value:
        case str() | None | int() | float():
            return value
        case datetime():
            return value.astimezone(UTC)
        case Mapping():
            return {name: _stored(value[name]) for name in sorted(value)}
        case list() | tuple():
            return [_stored(item) for item in value]
    return value


def _collection(path: str) -> str:
    return path.rpartition("/")[0]


def _name(path: str) -> str:
    return path.rpartition("/")[2]
