"""What fits into a document, by Firestore's rules, held for every store alike so that nothing works
here and fails there. Pure.

Called by each store before it writes. The size is Firestore's own sum: a name costs its text + 16,
a document 32 more, a text its UTF-8 bytes + 1, a number or an instant 8, a truth value or null 1, a
field its name + 1 + its value. Source: Firestore, "Usage and limits" and "Storage size
calculations"."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from infra.store.port import Delete, Unstorable, Write

MAX_DOCUMENT_BYTES = 1_048_576
MAX_COMMIT_BYTES = (
    4_000_000  # Firestore takes 10 MiB, its emulator 4 MiB: the smaller one holds everywhere
)
MAX_DEPTH = 20
MAX_NAME_BYTES = 1500
_RESERVED = re.compile(r"__.*__", re.DOTALL)


def check_writes(writes: Iterable[Write]) -> tuple[Write, ...]:
    """The writes, all fit to be stored; raises `Unstorable` at the first that is not."""
    found: dict[str, Write] = {}
    total = 0
    for write in writes:
        check_path(write.path)
        if write.path in found:
            raise Unstorable(write.path, "a commit may write to a path only once")
        found[write.path] = write
        if not isinstance(write, Delete):
            total += _document_bytes(write.path, write.data)
    if total > MAX_COMMIT_BYTES:
        raise Unstorable(
            ", ".join(found),
            f"the commit takes {total:,} bytes in all, at most {MAX_COMMIT_BYTES:,} are possible",
        )
    return tuple(found.values())


def check_path(path: str, *, collection: bool = False) -> None:
    """A document's path has an even number of parts, a collection's an odd one; parts are names
    Firestore takes."""
    parts = path.split("/")
    if len(parts) % 2 != (1 if collection else 0):
        raise Unstorable(
            path,
            f"this is no path of a {'collection' if collection else 'document'}: it has"
            f" {len(parts)} parts",
        )
    for part in parts:
        why = _name_trouble(part) or ("is not possible" if part in (".", "..") else None)
        if why:
            raise Unstorable(path, f"the part {part!r} {why}")


def _document_bytes(path: str, data: Mapping[str, Any]) -> int:
    try:
        size = 48 + sum(_text_bytes(part) for part in path.split("/")) + _value_bytes(data, 0)
    except _Unfit as unfit:
        raise Unstorable(f"{path}{unfit.where}", unfit.why) from unfit
    if size > MAX_DOCUMENT_BYTES:
        raise Unstorable(
            path, f"the document takes {size:,} bytes, at most {MAX_DOCUMENT_BYTES:,} are possible"
        )
    return size


class _Unfit(Exception):
    """A value that cannot be stored. It learns on its way up where that is: most never need to be
    told."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why, self.where = why, ""


def _value_bytes(value: object, depth: int) -> int:
    match value:
        case str():  # first, since most are
            return _text_bytes(value)
        case None | bool():
            return 1
        case int() if -(2**63) <= value < 2**63:
            return 8
        case float() if math.isfinite(value):
            return 8
        case datetime() if value.tzinfo is not None:
            return 8
        case dict() | Mapping() if depth <= MAX_DEPTH:  # of most mappings the first is told sooner
            return _fields_bytes(value, depth)
        case list() | tuple() if depth <= MAX_DEPTH:
            return _items_bytes(value, depth)
    raise _Unfit(_value_trouble(value))


def _fields_bytes(fields: Mapping[Any, object], depth: int) -> int:
    size = 0
    for name, value in fields.items():
        size += _name_bytes(name)
        try:
            size += _value_bytes(value, depth + 1)
        except _Unfit as unfit:
            unfit.where = f".{name}{unfit.where}"
            raise
    return size


def _items_bytes(items: Iterable[object], depth: int) -> int:
    size = 0
    for index, item in enumerate(items):
        try:
            if isinstance(item, list | tuple):
                raise _Unfit("a list directly in a list cannot be stored; put a map between them")
            size += _value_bytes(item, depth + 1)
        except _Unfit as unfit:
            unfit.where = f"[{index}]{unfit.where}"
            raise
    return size


def _text_bytes(text: str) -> int:
    try:
        return len(text.encode()) + 1
    except UnicodeEncodeError as error:
        raise _Unfit(f"the text is not Unicode that can be written down: {error.reason}") from error


@lru_cache(maxsize=1024)  # documents have few names, and each of them in every commit
def _name_bytes(name: object) -> int:
    if not isinstance(name, str):
        raise _Unfit(f"a field's name must be text, not {type(name).__name__}")
    if why := _name_trouble(name):
        raise _Unfit(f"the field name {name!r} {why}")
    return _text_bytes(name)


@lru_cache(maxsize=1024)
def _name_trouble(name: str) -> str | None:
    if not name:
        return "is empty"
    if _RESERVED.fullmatch(name):
        return "is reserved (two underscores at both ends)"
    if len(name.encode(errors="replace")) > MAX_NAME_BYTES:
        return f"is longer than {MAX_NAME_BYTES} bytes"
    return None


def _value_trouble(value: object) -> str:
    match value:
        case int():
            return "the number does not fit in 64 bits"
        case float():
            return f"{value} is no number that JSON knows"
        case datetime():
            return "an instant needs a time zone"
        case Mapping() | list() | tuple():
            return f"maps and lists are nested more than {MAX_DEPTH} deep"
    return f"there is no place for a {type(value).__name__}; JSON values and instants can be stored"
