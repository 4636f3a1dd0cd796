"""Checks writes against Firestore's limits, in every store, so that nothing works in one store and
fails in another. Pure.

Called by each store before it writes. The size is calculated as Firestore does: a document name
takes the bytes of its parts + 16, a document 32 more, a text its UTF-8 bytes + 1, a number or a
datetime 8, a boolean or null 1, and a field the bytes of its name + 1 + its value. Source:
Firestore, "Usage and limits" and "Storage size calculations".
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from infra.store.port import Delete, Unstorable, Write

MAX_DOCUMENT_BYTES = 1_048_576
MAX_COMMIT_BYTES = 4_000_000  # Firestore accepts 10 MiB, its emulator 4 MiB
MAX_DEPTH = 20
MAX_NAME_BYTES = 1500
_RESERVED = re.compile(r"__.*__", re.DOTALL)


def check_writes(writes: Iterable[Write]) -> tuple[Write, ...]:
    """Return the writes if all of them can be stored; raise `Unstorable` for the first that
    cannot.
    """
    found: dict[str, Write] = {}
    total = 0
    for write in writes:
        check_path(write.path)
        if write.path in found:
            raise Unstorable(write.path, "a commit may write to a path only once")
        found[write.path] = write
        if not isinstance(write, Delete):
            total += _check_size(write.path, write.data)
    if total > MAX_COMMIT_BYTES:
        raise Unstorable(
            ", ".join(found),
            f"the commit has {total:,} bytes, the limit is {MAX_COMMIT_BYTES:,}",
        )
    return tuple(found.values())


def check_path(path: str, *, collection: bool = False) -> None:
    """Raise `Unstorable` unless the path is valid: an even number of parts for a document, an odd
    one for a collection, each of them a valid name in Firestore.
    """
    parts = path.split("/")
    if len(parts) % 2 != (1 if collection else 0):
        raise Unstorable(
            path,
            f"this is not the path of a {'collection' if collection else 'document'}: it has"
            f" {len(parts)} parts",
        )
    for part in parts:
        why = _name_problem(part) or ("is not allowed" if part in (".", "..") else None)
        if why:
            raise Unstorable(path, f"the part {part!r} {why}")


def document_bytes(path: str, data: Mapping[str, Any]) -> int:
    """The size of a document, also of one that is too large. Raises `Unstorable` for a value that
    cannot be stored.
    """
    try:
        return 48 + sum(_text_bytes(part) for part in path.split("/")) + _value_bytes(data, 0)
    except _Invalid as invalid:
        raise Unstorable(f"{path}{invalid.where}", invalid.why) from invalid


def value_bytes(value: object) -> int:
    """The size of a value that can be stored."""
    return _value_bytes(value, 0)


def _check_size(path: str, data: Mapping[str, Any]) -> int:
    size = document_bytes(path, data)
    if size > MAX_DOCUMENT_BYTES:
        raise Unstorable(
            path, f"the document has {size:,} bytes, the limit is {MAX_DOCUMENT_BYTES:,}"
        )
    return size


class _Invalid(Exception):
    """A value cannot be stored. `where` is filled in while the exception propagates, so that valid
    values need no path.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why, self.where = why, ""


def _value_bytes(value: object, depth: int) -> int:
    match value:
        case str():
            return _text_bytes(value)
        case None | bool():
            return 1
        case dict() if depth <= MAX_DEPTH:  # early, because the check for a mapping is slow
            return _fields_bytes(value, depth)
        case int() if -(2**63) <= value < 2**63:
            return 8
        case float() if math.isfinite(value):
            return 8
        case datetime() if value.tzinfo is not None:
            return 8
        case Mapping() if depth <= MAX_DEPTH:
            return _fields_bytes(value, depth)
        case list() | tuple() if depth <= MAX_DEPTH:
            return _items_bytes(value, depth)
    raise _Invalid(_describe_problem(value))


def _fields_bytes(fields: Mapping[Any, object], depth: int) -> int:
    size = 0
    for name, value in fields.items():
        size += _name_bytes(name)
        if type(value) is str and value.isascii():  # as most values are
            size += len(value) + 1
            continue
        try:
            size += _value_bytes(value, depth + 1)
        except _Invalid as invalid:
            invalid.where = f".{name}{invalid.where}"
            raise
    return size


def _items_bytes(items: Iterable[object], depth: int) -> int:
    size = 0
    for index, item in enumerate(items):
        try:
            if isinstance(item, list | tuple):
                raise _Invalid("a list directly in a list cannot be stored; put a map in between")
            size += _value_bytes(item, depth + 1)
        except _Invalid as invalid:
            invalid.where = f"[{index}]{invalid.where}"
            raise
    return size


def _text_bytes(text: str) -> int:
    try:
        return len(text.encode()) + 1
    except UnicodeEncodeError as error:
        raise _Invalid(f"the text cannot be encoded as UTF-8: {error.reason}") from error


@lru_cache(maxsize=1024)  # documents have few field names, each of them in every commit
def _name_bytes(name: object) -> int:
    if not isinstance(name, str):
        raise _Invalid(f"a field's name must be text, not {type(name).__name__}")
    if why := _name_problem(name):
        raise _Invalid(f"the field name {name!r} {why}")
    return _text_bytes(name)


@lru_cache(maxsize=1024)
def _name_problem(name: str) -> str | None:
    if not name:
        return "is empty"
    if _RESERVED.fullmatch(name):
        return "is reserved (two underscores at both ends)"
    if len(name.encode(errors="replace")) > MAX_NAME_BYTES:
        return f"is longer than {MAX_NAME_BYTES} bytes"
    return None


def _describe_problem(value: object) -> str:
    match value:
        case int():
            return "the number does not fit in 64 bits"
        case float():
            return f"{value} is not a JSON number"
        case datetime():
            return "a datetime needs a time zone"
        case Mapping() | list() | tuple():
            return f"maps and lists are nested more than {MAX_DEPTH} deep"
    return f"a {type(value).__name__} cannot be stored; JSON values and datetimes can"
