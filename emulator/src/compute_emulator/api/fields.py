"""The `fields` parameter: selects members of a response, such as
`items(name,status),nextPageToken`, `error/errors` or `items/*/backendServices/name`. A name that
the response's schema does not have is refused.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from compute_emulator.api.discovery import document
from compute_emulator.errors import Invalid, JsonObject

FieldMask = dict[str, Any]


def select(body: JsonObject, expression: str, schema: str | None = None) -> JsonObject:
    """The selected part of a response. Raises `Invalid` for a malformed expression or an unknown
    member.
    """
    mask = _parse(expression)
    if schema is not None:
        _check(document()["schemas"][schema], mask, expression)
    chosen: JsonObject = _choose(body, mask)
    return chosen


def _check(raw: dict[str, Any], mask: FieldMask, expression: str) -> None:
    if "$ref" in raw:
        raw = document()["schemas"][raw["$ref"]]
    if raw.get("type") == "array":
        _check(raw["items"], mask, expression)
        return
    members, others = raw.get("properties"), raw.get("additionalProperties")
    for name, inner in mask.items():
        if name == "*":
            found = list(members.values()) if members is not None else [others or {}]
        elif others is not None:
            found = [others]
        elif members is not None and name in members:
            found = [members[name]]
        else:
            raise Invalid("fields", expression, f"Invalid field selection {name}")
        for each in found if name != "*" or len(found) == 1 else ():
            _check(each, inner, expression)


def _choose(value: Any, mask: FieldMask) -> Any:
    if not mask:
        return value
    if isinstance(value, list):
        return [_choose(each, mask) for each in value]
    if isinstance(value, dict):
        if "*" in mask:
            return {
                name: _choose(inner, mask.get(name) or mask["*"]) for name, inner in value.items()
            }
        return {name: _choose(value[name], inner) for name, inner in mask.items() if name in value}
    return value


@lru_cache(maxsize=256)
def _parse(expression: str) -> FieldMask:
    mask, rest = _members(expression)
    if rest:
        raise Invalid("fields", expression, "Invalid field selection.")
    return mask


def _members(text: str) -> tuple[FieldMask, str]:
    """Members up to a closing bracket or the end, and the rest."""
    mask: FieldMask = {}
    while text and text[0] != ")":
        end = next((at for at, sign in enumerate(text) if sign in ",()/"), len(text))
        name, text = text[:end], text[end:]
        inner: FieldMask = {}
        if text[:1] == "/":
            one, text = _path(text[1:])
            inner = one
        elif text[:1] == "(":
            inner, text = _bracketed(text)
        mask.setdefault(name, {}).update(inner)
        text = text.removeprefix(",")
    return mask, text


def _bracketed(text: str) -> tuple[FieldMask, str]:
    """The content of brackets, and the rest. Raises `Invalid` if they are not closed."""
    inner, rest = _members(text[1:])
    if rest[:1] != ")":
        raise Invalid("fields", text, "Invalid field selection.")
    return inner, rest[1:]


def _path(text: str) -> tuple[FieldMask, str]:
    """The rest of `a/b/c` or `a/b(c,d)`: one chain of members, and what follows."""
    end = next((at for at, sign in enumerate(text) if sign in ",()/"), len(text))
    name, text = text[:end], text[end:]
    if text[:1] == "/":
        inner, text = _path(text[1:])
        return {name: inner}, text
    if text[:1] == "(":
        inner, text = _bracketed(text)
        return {name: inner}, text
    return {name: {}}, text
