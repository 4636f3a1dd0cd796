"""Validates single untrusted values. Each function returns the value in a safe form or raises
ValueError with a reason. Pure.

Called by `infra/bus/envelope.py` for the parts of an envelope. Sizes are checked before anything is
decoded, and a reason shows at most the first characters of a value.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from infra.bus.port import MAX_ATTRIBUTES

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_RESOURCE = re.compile(
    r"projects/[a-z0-9][a-z0-9.:-]{0,127}/([a-z]+)/[A-Za-z][A-Za-z0-9_.~+%-]{2,254}"
)


def parse_identifier(given: Any, name: str) -> str:
    """A text that is valid as a document id."""
    if not isinstance(given, str) or not _IDENTIFIER.fullmatch(given):
        raise ValueError(f"{name} is missing or malformed: {display(given)}")
    return given


def decode_base64(given: Any, name: str, max_bytes: int) -> bytes:
    if not isinstance(given, str):
        raise ValueError(f"{name} must be base64 text, not {display(given)}")
    if len(given) > (max_bytes + 2) // 3 * 4:
        raise ValueError(f"{name} is larger than {max_bytes // 1024} KiB")
    try:
        return base64.b64decode(given, validate=True)
    except ValueError as error:
        raise ValueError(f"{name} is not base64: {error}") from error


def parse_attributes(given: Any, name: str) -> Mapping[str, str]:
    if given is None:
        return {}
    if not isinstance(given, dict) or len(given) > MAX_ATTRIBUTES:
        raise ValueError(f"{name} must be a map of at most {MAX_ATTRIBUTES} entries")
    if not all(isinstance(text, str) for text in given.values()):
        raise ValueError(f"{name} must map text to text")
    return given


def parse_timestamp(given: Any, name: str) -> datetime:
    """An RFC 3339 time, in UTC, truncated to microseconds."""
    try:
        at = datetime.fromisoformat(given)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must be an RFC 3339 time, not {display(given)}") from error
    raise ValueError(f"{name} has no time zone: {display(given)}")


def parse_attempt(given: Any) -> int:
    """The delivery attempt, from 1; 0 if it is missing or invalid. Nothing may depend on it."""
    return given if isinstance(given, int) and 0 < given < 2**31 else 0


def parse_resource_name(given: Any, collection: str) -> str:
    """A full name such as `projects/P/topics/T`, or an empty one."""
    if given == "":
        return ""
    found = _RESOURCE.fullmatch(given) if isinstance(given, str) else None
    if not found or found[1] != collection:
        raise ValueError(f"the name must be projects/P/{collection}/NAME, not {display(given)}")
    return found[0]


def display(given: Any) -> str:
    """An untrusted value for an error message: short and on one line."""
    return (
        repr(given[:80])
        if isinstance(given, str)
        else "nothing"
        if given is None
        else f"a {type(given).__name__}"
    )
