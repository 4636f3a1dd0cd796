"""A store in plain dictionaries, at a tenth of the cost of SQLite; journeys and simulations read it
very often.

`tests/infra/test_store_contract.py` holds it to the contract of every store, with one exception:
it returns its own documents and no copies. Handlers never change a document that they have read,
and a test holds a simulation on this store to the same trace as one on SQLite.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

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
    Write,
    value_at,
    with_fields,
)

_PLAIN = frozenset({str, int, float, bool, type(None)})


class MemoryStore:
    """For one thread."""

    def __init__(self) -> None:
        self._documents: dict[str, Document] = {}
        self._names: dict[str, set[str]] = {}  # by collection
        self._commits = 0

    def close(self) -> None:
        """Nothing to close."""

    def get(self, path: str) -> Document | None:
        check_path(path)
        return self._documents.get(path)

    def get_many(self, paths: Iterable[str]) -> dict[str, Document]:
        found = {path: self.get(path) for path in paths}
        return {path: document for path, document in found.items() if document is not None}

    def commit(self, *writes: Write) -> dict[str, str]:
        checked = check_writes(writes)
        for write in checked:
            if why := self._conflict_reason(write):
                raise Conflict(write.path, why)
        self._commits += 1
        versions = {write.path: self._apply(write) for write in checked}
        return {path: version for path, version in versions.items() if version is not None}

    def list_due(self, now: datetime, limit: int, after: Due | None = None) -> tuple[Due, ...]:
        models = (
            (name, self._documents[f"{MODELS}/{name}"].data) for name in self._names.get(MODELS, ())
        )
        found = sorted(
            (at, name.encode(), data.get(WAKEUPS, 0), data.get(IS_ROUTINE, False))
            for name, data in models
            if isinstance(at := data.get(REQUEUE_AT), datetime) and at <= now
        )
        first = (after.requeue_at, after.model.encode()) if after else None
        rest = [each for each in found if first is None or each[:2] > first]
        return tuple(Due(at, name.decode(), *rest) for at, name, *rest in rest[:limit])

    def count_due(self, until: datetime) -> int:
        return len(self.list_due(until, len(self._documents)))

    def list(
        self,
        collection_path: str,
        limit: int,
        after: str | None = None,
        fields: Sequence[str] = (),
    ) -> tuple[Document, ...]:
        check_path(collection_path, collection=True)
        first = (after or "").encode()
        found = sorted(
            name.encode() for name in self._names.get(collection_path, ()) if name.encode() > first
        )
        paths = (f"{collection_path}/{name.decode()}" for name in found[:limit])
        return tuple(_selected(self._documents[path], fields) for path in paths)

    def list_newest(
        self,
        collection_path: str,
        by: str,
        limit: int,
        before: Place | None = None,
        fields: Sequence[str] = (),
    ) -> tuple[Document, ...]:
        check_path(collection_path, collection=True)
        names = self._names.get(collection_path, ())
        places = (
            Place(value, name)
            for name in names
            if (value := value_at(self._documents[f"{collection_path}/{name}"].data, by))
            is not None
        )
        found = sorted((each for each in places if not before or each < before), reverse=True)
        paths = (f"{collection_path}/{each.id}" for each in found[:limit])
        return tuple(_selected(self._documents[path], fields) for path in paths)

    def _conflict_reason(self, write: Write) -> str | None:
        existing = self._documents.get(write.path)
        match write:
            case Create() if existing:
                return "the document already exists"
            case Delete(version=None):
                return None
            case Replace() | Delete() if not existing:
                return "the document does not exist"
            case Replace() | Delete() if existing and write.version != existing.version:
                return (
                    f"another writer changed the document: it is at version {existing.version},"
                    f" not at {write.version}"
                )
        return None

    def _apply(self, write: Write) -> str | None:
        collection, _, name = write.path.rpartition("/")
        if isinstance(write, Delete):
            self._documents.pop(write.path, None)
            self._names.get(collection, set()).discard(name)
            return None
        self._names.setdefault(collection, set()).add(name)
        existing, data = self._documents.get(write.path), _normalize(write.data)
        if existing is None or existing.data != data:
            existing = self._documents[write.path] = Document(write.path, data, str(self._commits))
        return existing.version


def _selected(document: Document, fields: Sequence[str]) -> Document:
    if not fields:
        return document
    data = with_fields((name, value_at(document.data, name)) for name in fields)
    return Document(document.path, data, document.version)


def _normalize(value: Any) -> Any:
    """What a store returns for a value: maps in the order of their names, lists, times in UTC."""
    if type(value) in _PLAIN:
        return value
    match value:
        case datetime():
            return value.astimezone(UTC)
        case dict() | Mapping():
            return {
                name: item if type(item := value[name]) in _PLAIN else _normalize(item)
                for name in sorted(value)
            }
        case list() | tuple():
            return [_normalize(item) for item in value]
    return value
