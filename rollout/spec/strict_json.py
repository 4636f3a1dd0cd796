"""Reads untrusted JSON strictly: whatever two JSON readers could understand differently is refused.

`decode_json`, for messages, also limits size and depth; called by `handlers/` through
`rollout/spec/message.py`. `read_json`, for envelopes whose size is checked already, is called by
`infra/bus/envelope.py`. Invariant: within these limits any input is read or refused within
milliseconds.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any, NoReturn

from rollout.spec.problems import Invalid, SpecProblem, path_of
from rollout.spec.validation import MAX_DEPTH, freeze

MAX_BYTES = 65536
MAX_DIGITS = 18  # any such number fits in 64 bits


def decode_json(data: bytes) -> Any:
    """The JSON value in a message. Raises `Invalid` for what `read_json` refuses, more than 64 KB,
    deep nesting and lone surrogates.
    """
    if len(data) > MAX_BYTES:
        _refuse(f"must be at most {MAX_BYTES} bytes", f"{len(data)}")
    try:
        value = read_json(data)
    except RecursionError:
        _refuse(f"must not be nested deeper than {MAX_DEPTH} levels")
    freeze(value)
    return value


def read_json(data: bytes) -> Any:
    """The JSON value in the bytes. Raises `Invalid` for bad UTF-8, duplicate names in one object
    and numbers out of range (NaN, Infinity, 1e309, more than 18 digits), and `RecursionError` for
    very deep nesting.
    """
    try:
        return json.loads(
            data.decode(),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_constant,
        )
    except UnicodeDecodeError as error:
        _refuse("must be UTF-8", f"byte 0x{data[error.start]:02x} at {error.start}")
    except json.JSONDecodeError as error:
        _refuse(f"must be JSON: {error.msg} at line {error.lineno}, column {error.colno}")


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        twice = next(
            name for name, times in Counter(name for name, _ in members).items() if times > 1
        )
        _refuse(f"must not repeat a name in one object: {path_of([twice])}")
    return found


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        _refuse(
            f"must not contain an integer of more than {MAX_DIGITS} digits", f"one of {len(digits)}"
        )
    return int(digits)


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        _refuse("must not contain a number beyond 1.8e308")
    return value


def _constant(name: str) -> NoReturn:
    _refuse("must contain only JSON numbers", name)


def _refuse(allowed: str, given: str | None = None) -> NoReturn:
    raise Invalid([SpecProblem("message", allowed, given)]) from None
