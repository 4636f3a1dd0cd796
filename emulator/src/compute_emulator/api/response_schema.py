"""Validates responses against the discovery document. For tests: with
`Cloud(check_responses=True)` an invalid response becomes a 500.

Stricter than Google's clients, which ignore what they do not know: a member that the schema
lacks, a number where the API sends a string, and a resource without its `kind`, `id`, `selfLink`
and `creationTimestamp` are errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from compute_emulator.api.discovery import document
from compute_emulator.errors import JsonObject

TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}
IDENTITY = ("kind", "id", "name", "selfLink", "creationTimestamp")


def problems(schema: str, body: JsonObject) -> list[str]:
    """Every problem of a response, each with its path."""
    raw = document()["schemas"][schema]
    return [*_value(raw, body, schema), *_identity(raw, body, schema)]


def _identity(raw: JsonObject, body: JsonObject, where: str) -> Iterator[str]:
    """The members that every resource and every list must have."""
    members = raw.get("properties", {})
    kind = members.get("kind", {}).get("default")
    if kind and body.get("kind") != kind:
        yield f"{where}.kind: {body.get('kind')!r} instead of {kind!r}"
    if {"selfLink", "creationTimestamp", "name"} <= set(members):
        # Operations have timestamps of their own.
        needed = IDENTITY if "insertTime" not in members else IDENTITY[:-1]
        yield from (
            f"{where}.{name}: missing" for name in needed if name in members and not body.get(name)
        )
    yield from _scopes(members, body.get("items"), where)
    items = body.get("items")
    reference = members.get("items", {}).get("items", {}).get("$ref")
    if reference and isinstance(items, list):
        for index, item in enumerate(items):
            yield from _identity(document()["schemas"][reference], item, f"{where}.items[{index}]")


def _scopes(members: JsonObject, items: Any, where: str) -> Iterator[str]:
    """The resources in an aggregated list."""
    reference = members.get("items", {}).get("additionalProperties", {}).get("$ref")
    if not reference or not isinstance(items, dict):
        return
    for name, raw in document()["schemas"][reference]["properties"].items():
        kind = raw.get("items", {}).get("$ref")
        for scope, scoped in items.items():
            for index, item in enumerate(
                scoped.get(name, ())
                if kind and "kind" in document()["schemas"][kind]["properties"]
                else ()
            ):
                yield from _identity(
                    document()["schemas"][kind], item, f"{where}.items[{scope}].{name}[{index}]"
                )


def _value(raw: JsonObject, value: Any, where: str) -> Iterator[str]:
    if "$ref" in raw:
        raw = document()["schemas"][raw["$ref"]]
    kind = raw.get("type", "any")
    if kind == "any":
        return
    fits: bool = isinstance(value, TYPES[kind]) and (
        kind == "boolean" or not isinstance(value, bool)
    )
    if not fits:
        yield f"{where}: {value!r} is not of type {kind}"
    elif kind == "array":
        for index, item in enumerate(value):
            yield from _value(raw["items"], item, f"{where}[{index}]")
    elif kind == "object":
        yield from _members(raw, value, where)
    elif raw.get("enum") and value not in raw["enum"]:
        yield f"{where}: {value!r} is not one of {', '.join(raw['enum'])}"
    elif raw.get("format") in ("int64", "uint64") and not value.lstrip("-").isdigit():
        yield f"{where}: {value!r} is not a number"


def _members(raw: JsonObject, value: JsonObject, where: str) -> Iterator[str]:
    members, others = raw.get("properties", {}), raw.get("additionalProperties")
    for name, inner in value.items():
        if name in members:
            yield from _value(members[name], inner, f"{where}.{name}")
        elif others is not None:
            yield from _value(others, inner, f"{where}.{name}")
        else:
            yield f"{where}.{name}: not in the schema"
