"""Validates request bodies against the discovery document's schemas.

`clean` returns the body as the server stores it: without output-only members, 64-bit numbers as
strings, 32-bit ones as numbers, resource URLs on Google's host. Each schema is compiled once
into nested functions, because this runs on every mutation.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable, Collection
from functools import cache
from typing import Any

from compute_emulator.api.discovery import document
from compute_emulator.errors import BadRequest, Invalid, JsonObject
from compute_emulator.keys import HOST

Cleaner = Callable[[Any, str], Any]
ACCEPTED_THOUGH_OUTPUT_ONLY = {("InstanceGroupManager", "namedPorts")}
"""Documented as output only, although the API accepts them on insert."""
RESOURCE_URL = re.compile(r"https?://[^/\s]+/compute/(?:v1|beta)/(projects/\S+)")
LARGEST_EXACT = 2**53
"""Up to here every whole number is a double."""
RANGES = {
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}


def clean(
    schema: str, body: Any, *, merge: bool = False, ignored: Collection[str] = ()
) -> JsonObject:
    """A validated request body in canonical form. `merge` (PATCH) keeps `null` and empty lists,
    which clear a member. `ignored` are members that the schema need not have. Raises `Invalid`.
    """
    if not isinstance(body, dict):
        raise BadRequest(
            "Invalid JSON payload received. The root element must be an object.",
            code="INVALID_ARGUMENT",
        )
    if ignored:
        known = document()["schemas"][schema].get("properties", {})
        body = {name: body[name] for name in body if name in known or name not in ignored}
    cleaned: JsonObject = _compiled(schema, merge)(body, "resource")
    return cleaned


@cache
def _compiled(schema: str, merge: bool) -> Cleaner:
    return _object(document()["schemas"][schema], schema, merge)


def _cleaner(raw: JsonObject, merge: bool) -> Cleaner:
    if "$ref" in raw:
        name = raw["$ref"]
        return lambda value, where: _compiled(name, merge)(value, where)
    match raw.get("type"):
        case "array":
            return _array(raw["items"], merge)
        case "object":
            return _object(raw, "", merge)
        case "boolean":
            return _boolean
        case "integer":
            return _integer(raw.get("format", "int32"), as_string=False)
        case "number":
            return _number
        case "string" if raw.get("format") in ("int64", "uint64"):
            return _integer(raw["format"], as_string=True)
        case "string":
            return _string(raw)
        case _:
            return lambda value, where: value


def is_output_only(raw: JsonObject) -> bool:
    """Whether only the server may set a member, according to the document."""
    return bool(raw.get("readOnly")) or raw.get("description", "").lower().startswith(
        ("[output only]", "output only")
    )


def _members(raw: JsonObject, schema: str, merge: bool) -> dict[str, Cleaner | None]:
    """The check for each member of an object; None for ignored members."""
    found: dict[str, Cleaner | None] = {}
    for name, each in raw.get("properties", {}).items():
        ignored = is_output_only(each) and (schema, name) not in ACCEPTED_THOUGH_OUTPUT_ONLY
        found[name] = None if ignored else _cleaner(each, merge)
    return found


def _object(raw: JsonObject, schema: str, merge: bool) -> Cleaner:
    if "additionalProperties" in raw:
        return _map(_cleaner(raw["additionalProperties"], merge), merge)
    members = _members(raw, schema, merge)
    maps = {
        name for name, each in raw.get("properties", {}).items() if "additionalProperties" in each
    }

    def check(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise _wrong_type(where, value, "an object")
        kept: JsonObject = {}
        for name, given in value.items():
            if name not in members:
                raise BadRequest(
                    f"Invalid JSON payload received. Unknown name \"{name}\" at '{where}': Cannot"
                    " find field.",
                    code="INVALID_ARGUMENT",
                )
            member = members[name]
            if member is None:
                continue
            if given is None:
                if merge:
                    kept[name] = None
                continue
            cleaned = member(given, f"{where}.{name}")
            if not _is_absent(cleaned, is_map=name in maps, merge=merge):
                kept[name] = cleaned
        return kept

    return check


def _is_absent(value: Any, *, is_map: bool, merge: bool) -> bool:
    """In the API's messages a map or a list without entries is none."""
    return (is_map and not value) or (value == [] and not merge)


def _map(each: Cleaner, merge: bool) -> Cleaner:
    def check(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise _wrong_type(where, value, "an object")
        return {
            name: None if given is None else each(given, f"{where}[{name}]")
            for name, given in value.items()
            if merge or given is not None
        }

    return check


def _array(items: JsonObject, merge: bool) -> Cleaner:
    each = _cleaner(items, merge)

    def check(value: Any, where: str) -> Any:
        if not isinstance(value, list):
            raise _wrong_type(where, value, "a list")
        return [each(given, f"{where}[{at}]") for at, given in enumerate(value)]

    return check


def _boolean(value: Any, where: str) -> Any:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    raise _wrong_type(where, value, "TYPE_BOOL")


def _integer(width: str, *, as_string: bool) -> Cleaner:
    low, high = RANGES[width]

    def check(value: Any, where: str) -> Any:
        try:
            number = int(value) if not isinstance(value, float) or value.is_integer() else None
        except (TypeError, ValueError):
            number = None
        if number is None or isinstance(value, bool) or not low <= number <= high:
            raise _wrong_type(where, value, f"TYPE_{width.upper()}")
        return str(number) if as_string else number

    return check


def _number(value: Any, where: str) -> Any:
    """Whole numbers come back without a fraction, however they were sent: `"1"` and 1.0 as 1."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _wrong_type(where, value, "TYPE_DOUBLE")
    try:
        number = float(value)
    except (ValueError, OverflowError) as error:
        raise _wrong_type(where, value, "TYPE_DOUBLE") from error
    if not math.isfinite(number):
        raise _wrong_type(where, value, "TYPE_DOUBLE")
    return int(number) if number.is_integer() and abs(number) <= LARGEST_EXACT else number


def _string(raw: JsonObject) -> Cleaner:
    enum = frozenset(raw.get("enum", ()))
    pattern = re.compile(raw["pattern"]) if raw.get("pattern") else None
    is_bytes = raw.get("format") == "byte"

    def check(value: Any, where: str) -> Any:
        if not isinstance(value, str):
            raise _wrong_type(where, value, "TYPE_STRING")
        if enum and value not in enum:
            raise Invalid(where, value, f"Must be one of {', '.join(sorted(enum))}.")
        if pattern and (value or where.endswith(".name")) and not pattern.fullmatch(value):
            raise Invalid(where, value, f"Must be a match of regex '{raw['pattern']}'")
        if is_bytes:
            return _base64(value, where)
        url = RESOURCE_URL.fullmatch(value) if value.startswith("http") else None
        return value if url is None else HOST + url.group(1)

    return check


def _base64(value: str, where: str) -> str:
    """In the URL-safe alphabet, whichever was sent, so that fingerprints compare equal."""
    try:
        return base64.urlsafe_b64encode(
            base64.urlsafe_b64decode(value.replace("+", "-").replace("/", "_"))
        ).decode()
    except (binascii.Error, ValueError) as error:
        raise _wrong_type(where, value, "TYPE_BYTES") from error


def _wrong_type(where: str, value: Any, expected: str) -> BadRequest:
    return BadRequest(
        f"Invalid value at '{where}' ({expected}), {value!r}", code="INVALID_ARGUMENT"
    )
