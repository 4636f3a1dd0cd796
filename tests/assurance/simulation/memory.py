"""A store in plain dictionaries, a tenth of the cost of one in SQLite, since a run asks its store
hundreds of times.

Held to the contract of every other store by `tests/infra/test_store_contract.py`, but for one
thing: what it hands out is not a copy. Handlers change no document that they read, and a test holds
a run on it to the same trace as on SQLite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from infra.store.limits import check_path, check_writes
from infra.store.port import MODELS, REQUEUE_AT, Conflict, Create, Delete, Document, Replace, Write


class MemoryStore:
    """For one thread."""

    def __init__(self) -> None:
        self._documents: dict[str, Document] = {}
        self._names: dict[str, set[str]] = {}  # by collection
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
        fit = check_writes(writes)
        for write in fit:
            if why := self._refusal(write):
                raise Conflict(write.path, why)
        self._commits += 1
        return {
            write.path: version for write in fit if (version := self._carry_out(write)) is not None
        }

    def list_due(self, now: datetime, limit: int) -> tuple[str, ...]:
        models = (
            (name, self._documents[f"{MODELS}/{name}"].data.get(REQUEUE_AT))
            for name in self._names.get(MODELS, ())
        )
        held = [(at, name.encode()) for name, at in models if isinstance(at, datetime)]
        return tuple(name.decode() for at, name in sorted(held)[:limit] if at <= now)

    def list(
        self, collection_path: str, limit: int, after: str | None = None
    ) -> tuple[Document, ...]:
        check_path(collection_path, collection=True)
        first = (after or "").encode()
        found = sorted(
            name.encode() for name in self._names.get(collection_path, ()) if name.encode() > first
        )
        return tuple(
            self._documents[f"{collection_path}/{name.decode()}"] for name in found[:limit]
        )

    def _refusal(self, write: Write) -> str | None:
        there = self._documents.get(write.path)
        match write:
            case Create() if there:
                return "the document exists already"
            case Replace() if not there:
                return "the document is gone"
            case Replace() if there and write.version != there.version:
                return (
                    f"the document was changed by somebody else: it is at version {there.version},"
                    f" not at {write.version}"
                )
        return None

    def _carry_out(self, write: Write) -> str | None:
        collection, _, name = write.path.rpartition("/")
        if isinstance(write, Delete):
            self._documents.pop(write.path, None)
            self._names.get(collection, set()).discard(name)
            return None
        self._names.setdefault(collection, set()).add(name)
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
        case dict() | Mapping():
            return {name: _stored(value[name]) for name in sorted(value)}
        case list() | tuple():
            return [_stored(item) for item in value]
    return value
