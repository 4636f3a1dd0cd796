"""What a store of documents is: documents at paths, all-or-nothing commits under compare-and-set,
and who is due.

Handlers speak to `Store` alone; `infra/store/` holds Firestore and SQLite behind it, neither
imported here. There are no read-write transactions: on one hot document they queue behind each
other's locks, where compare-and-set lets one writer through and tells the rest.

A path is `collection/id` or deeper (`models/tiny/releases/7`). Data is a dict of JSON values and
aware datetimes. Instants come back in UTC to the microsecond, maps in the order of their names. A
list directly in a list is refused (Firestore has none), and so is a document above 1 MiB."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from infra.errors import Unavailable

__all__ = [
    "Conflict",
    "Create",
    "Delete",
    "Document",
    "Put",
    "Replace",
    "Store",
    "StoreError",
    "Unavailable",
    "Unstorable",
    "Write",
]

MODELS = "models"  # the collection that `due` looks at
REQUEUE_AT = "requeue_at"  # the field that says when


@dataclass(frozen=True)
class Document:
    """`version` is an opaque token of the last write that changed the document; a `Replace` gives
    it back."""

    path: str
    data: dict[str, Any]
    version: str


@dataclass(frozen=True)
class Create:
    """Make a document that must not exist yet."""

    path: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Replace:
    """Put all of `data` in place of the document, which must still be the one that was read as
    `version`. Nothing is merged."""

    path: str
    data: Mapping[str, Any]
    version: str


@dataclass(frozen=True)
class Put:
    """Write the whole document, whatever was there."""

    path: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Delete:
    """See that the document is not there. Deleting what does not exist is no error."""

    path: str


Write = Create | Replace | Put | Delete


class StoreError(Exception):
    """The store refused for good, for example because the database or a permission is missing. A
    person has to act."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Conflict(StoreError):
    """Somebody else was there first: read again and decide again. Nothing of the commit was
    written. `path` names the document, or where Firestore does not say which of several it was, all
    of them, parted by commas."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why


class Unstorable(StoreError):
    """The document can never be stored as it is: too large, too deep, or of a type there is no
    place for. Do not try again."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why


class Store(Protocol):
    """Every method raises `Unavailable` when the outcome is not known, and `StoreError` when the
    store refused for good."""

    def get(self, path: str) -> Document | None: ...

    def get_many(self, paths: Iterable[str]) -> dict[str, Document]:
        """The documents there are, by path; what does not exist is left out."""
        ...

    def commit(self, *writes: Write) -> dict[str, str]:
        """Do all writes or none, and return the new version of each document written. At most one
        write to a path.

        A write of what is already there keeps the version. Raises `Conflict` when a `Create` finds
        a document or a `Replace` finds another version or none, `Unstorable` before anything is
        sent."""
        ...

    def list_due(self, now: datetime, limit: int) -> tuple[str, ...]:
        """The names of the models whose `requeue_at` has come, longest due first. Needs no index
        beyond the automatic ones."""
        ...

    def list(
        self, collection_path: str, limit: int, after: str | None = None
    ) -> tuple[Document, ...]:
        """The documents of one collection, not of those below it, in the order of their ids (by
        UTF-8 bytes), after `after`."""
        ...
