"""The port for storing documents: documents at paths, atomic commits with compare-and-set, and a
query for the models that are due.

Handlers use `Store` alone; Firestore and SQLite implement it, and neither is imported here. There
are no read-write transactions: on one hot document they would queue behind each other's locks,
whereas compare-and-set lets one writer through and tells the others.

A path is `collection/id` or deeper (`models/tiny/releases/7`). Data is a dict of JSON values and
aware datetimes. Datetimes are returned in UTC, to the microsecond, and maps sorted by name. A list
directly in a list is refused (Firestore does not support it), and so is a document above 1 MiB.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import Any, Protocol

from infra.errors import Unavailable
from rollout.deferred import dataclass

__all__ = [
    "Conflict",
    "Create",
    "Delete",
    "Document",
    "Due",
    "Place",
    "Put",
    "Replace",
    "Store",
    "StoreError",
    "Unavailable",
    "Unstorable",
    "Write",
]

MODELS = "models"  # the collection that `list_due` queries
REQUEUE_AT = "requeue_at"  # the field that it compares
WAKEUPS, IS_ROUTINE = "wakeups", "is_routine"  # the fields that it returns


@dataclass(frozen=True)
class Document:
    """`version` is an opaque token of the last write that changed the document. A `Replace` has to
    name it.
    """

    path: str
    data: dict[str, Any]
    version: str


@dataclass(frozen=True, order=True)
class Due:
    """A model whose next pass is due, and the number of the wake-up that starts it. `is_routine`:
    nothing is expected to happen in it, so that others go first.
    """

    requeue_at: datetime
    model: str
    wakeups: int = field(default=0, compare=False)
    is_routine: bool = field(default=False, compare=False)


@dataclass(frozen=True, order=True)
class Place:
    """A document's place in a collection that is sorted by one of its fields."""

    value: int | datetime
    id: str


@dataclass(frozen=True)
class Create:
    """Create a document that must not exist yet."""

    path: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Replace:
    """Replace the whole document with `data`, if it still has this `version`. Nothing is merged."""

    path: str
    data: Mapping[str, Any]
    version: str


@dataclass(frozen=True)
class Put:
    """Write the whole document, whether it exists or not."""

    path: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Delete:
    """Delete the document, with a `version` only if it still has that one. Without, it is no error
    if the document does not exist.
    """

    path: str
    version: str | None = None


Write = Create | Replace | Put | Delete


class StoreError(Exception):
    """The store refused permanently, for example because the database or a permission is missing.
    Someone has to fix that.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Conflict(StoreError):
    """Another writer was faster: read and decide again. No write of the commit took effect. `path`
    is the document's path. Firestore does not say which of several documents it was; then `path`
    lists all of them, separated by commas.
    """

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why


class Unstorable(StoreError):
    """The document cannot be stored: it is too large, too deeply nested, or has a value of an
    unsupported type. Do not retry.
    """

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why


class Store(Protocol):
    """Every method raises `Unavailable` if the outcome is unknown, and `StoreError` if the store
    refused permanently.
    """

    def get(self, path: str) -> Document | None: ...

    def get_many(self, paths: Iterable[str]) -> dict[str, Document]:
        """The documents that exist, by path."""
        ...

    def commit(self, *writes: Write) -> dict[str, str]:
        """Do all writes or none, and return the new version of each document written. At most one
        write per path.

        A write that changes nothing keeps the version. Raises `Conflict` if the document of a
        `Create` exists, or that of a `Replace`, or of a `Delete` with a version, is missing or has
        another version. Raises `Unstorable` before anything is sent.
        """
        ...

    def list_due(self, now: datetime, limit: int, after: Due | None = None) -> tuple[Due, ...]:
        """The models whose `requeue_at` has passed, longest due first, and those after `after`.
        Needs no index beyond the automatic ones.
        """
        ...

    def count_due(self, until: datetime) -> int:
        """How many models have a `requeue_at` until then. Needs no index beyond the automatic
        ones.
        """
        ...

    def list(
        self,
        collection_path: str,
        limit: int,
        after: str | None = None,
        fields: Sequence[str] = (),
    ) -> tuple[Document, ...]:
        """The documents of one collection, without its subcollections, sorted by id (in UTF-8 byte
        order), after the id `after`. With `fields`, such as `stable.version`, those alone are read,
        without any that is missing or null.
        """
        ...

    def list_newest(
        self,
        collection_path: str,
        by: str,
        limit: int,
        before: Place | None = None,
        fields: Sequence[str] = (),
    ) -> tuple[Document, ...]:
        """As `list`, but sorted by the field `by`, a number or a datetime, the greatest first, and
        those after `before`. Documents without the field are left out. Needs no index beyond the
        automatic ones.
        """
        ...


def value_at(data: Mapping[str, Any], field: str) -> Any:
    """The value of a field such as `stable.version`; None if there is none."""
    value: Any = data
    for name in field.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def with_fields(values: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A document's data with these fields, without those that are null."""
    found: dict[str, Any] = {}
    for path, value in values:
        if value is not None:
            *above, name = path.split(".")
            within = found
            for each in above:
                within = within.setdefault(each, {})
            within[name] = value
    return found
