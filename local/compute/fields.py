"""The `fields` parameter: which members of an answer are wanted, such as `items(name,status),nextPageToken` or
`error/errors`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from local.compute.errors import Invalid, JsonObject

Wanted = dict[str, Any]


def select(body: JsonObject, expression: str) -> JsonObject:
    """The wanted part of an answer. Raises `Invalid` when the expression cannot be read."""
    chosen: JsonObject = _choose(body, _read(expression))
    return chosen


def _choose(value: Any, wanted: Wanted) -> Any:
    if not wanted or "*" in wanted:
        return value
    if isinstance(value, list):
        return [_choose(each, wanted) for each in value]
    if isinstance(value, dict):
        return {name: _choose(value[name], inner) for name, inner in wanted.items() if name in value}
    return value


@lru_cache(maxsize=256)
def _read(expression: str) -> Wanted:
    wanted, rest = _members(expression)
    if rest:
        raise Invalid("fields", expression, "Invalid field selection.")
    return wanted


def _members(text: str) -> tuple[Wanted, str]:
    """Members up to a closing bracket or the end, and what follows."""
    wanted: Wanted = {}
    while text and text[0] != ")":
        end = next((at for at, sign in enumerate(text) if sign in ",()/"), len(text))
        name, text = text[:end], text[end:]
        inner: Wanted = {}
        if text[:1] == "/":
            one, text = _path(text[1:])
            inner = one
        elif text[:1] == "(":
            inner, text = _members(text[1:])
            text = text[1:]
        wanted.setdefault(name, {}).update(inner)
        text = text.removeprefix(",")
    return wanted, text


def _path(text: str) -> tuple[Wanted, str]:
    """The rest of `a/b/c` or `a/b(c,d)`: one chain of members, and what follows."""
    end = next((at for at, sign in enumerate(text) if sign in ",()/"), len(text))
    name, text = text[:end], text[end:]
    if text[:1] == "/":
        inner, text = _path(text[1:])
        return {name: inner}, text
    if text[:1] == "(":
        inner, text = _members(text[1:])
        return {name: inner}, text[1:]
    return {name: {}}, text
