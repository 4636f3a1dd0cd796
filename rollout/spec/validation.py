"""Validates JSON values against the sections of a spec; reports each invalid field with what it
must be.

Used by `rollout/spec/message.py` (messages and merged specs) and `rollout/spec/model.py` (stored
specs). Error messages are built from the published JSON Schema, which is generated only when there
is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rollout.deferred import dataclass
from rollout.spec.problems import MAX_PROBLEMS, Invalid, SpecProblem, path_of, redact

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

MAX_DEPTH = 16
KEY = "[key]"  # how pydantic ends the location of a map's key

Model = TypeVar("Model", bound="BaseModel")
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Validated(Generic[Model]):
    """`value` is what remains without the parts that were `removed` as invalid; None if nothing
    does.
    """

    value: Model | None
    problems: tuple[SpecProblem, ...]
    removed: frozenset[Path]


def freeze(value: object, path: Path = ()) -> Any:
    """The JSON value with tuples for lists, as the sections hold them. Raises `Invalid` for values
    that are not JSON or have no UTF-8 form.
    """
    if len(path) > MAX_DEPTH:
        raise Invalid(
            [SpecProblem(path_of(path[:4]), f"must not be nested deeper than {MAX_DEPTH} levels")]
        )
    match value:
        case dict():
            return {_text(key, path): freeze(member, (*path, key)) for key, member in value.items()}
        case list() | tuple():
            return tuple(freeze(item, (*path, index)) for index, item in enumerate(value))
        case str():
            return _text(value, path)
        case None | bool() | int() | float():
            return value
        case _:
            raise Invalid(
                [SpecProblem(path_of(path) or "message", "must be JSON", redact("", value))]
            )


def _text(value: object, path: Path) -> str:
    """A string that has a UTF-8 form. JSON can spell lone surrogates (`\\ud800`), which have
    none.
    """
    if isinstance(value, str):
        if value.isascii():
            return value
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Invalid(
                [SpecProblem(path_of(path) or "message", "must not contain a lone surrogate")]
            ) from None
        return value
    raise Invalid(
        [SpecProblem(path_of(path) or "message", "must have strings as names", redact("", value))]
    )


def validate(kind: type[Model], data: Mapping[str, Any], partial: bool) -> Validated[Model]:
    """`data` (already frozen) as a model, with all its problems. `partial`: missing fields are no
    problem because they may be inherited, except in lists, which are never merged.

    Invalid parts are removed and the rest is validated again, so that the rules between fields can
    still check the valid parts.
    """
    from pydantic import ValidationError

    try:
        return Validated(_validated(kind, data), (), frozenset())
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
    faults = (
        detail
        for detail in details
        if not ((partial and _may_be_inherited(detail)) or _is_echo(detail, details))
    )
    problems = tuple(_problem(kind, detail) for detail in islice(faults, MAX_PROBLEMS + 1))
    rest = _copy(data)
    removed: set[Path] = set()
    while details:
        # Find all places before removing any: each is looked up in the complete value.
        places = {_place(rest, detail["loc"]) for detail in details}
        if () in places:
            break
        for place in places:
            _remove(rest, place)
        removed |= places
        try:
            return Validated(_validated(kind, rest), problems, frozenset(removed))
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False)
    return Validated(None, problems, frozenset(removed))


def _validated(kind: type[Model], data: Mapping[str, Any]) -> Model:
    from rollout.spec.validators import model_of, to_section  # pydantic, at the first message

    found: Model = to_section(model_of(kind).model_validate(data))
    return found


def misplaced_nulls(kind: type[BaseModel], value: object) -> tuple[SpecProblem, ...]:
    """Problems for nulls under unknown names: the merge would drop them before validation, and a
    misspelled name must be reported.
    """
    found = (problem for place in _nulls(value, ()) for problem in _misnamed(kind, place))
    return tuple(islice(found, MAX_PROBLEMS + 1))


def _nulls(value: object, path: Path) -> Iterator[Path]:
    if value is None:
        yield path
    elif isinstance(value, dict):
        for name, member in value.items():
            yield from _nulls(member, (*path, name))


def _misnamed(kind: type[BaseModel], place: Path) -> tuple[SpecProblem, ...]:
    around, name = schema_at(kind, place[:-1]), str(place[-1])
    if "properties" in around:
        return (
            ()
            if name in around["properties"]
            else (SpecProblem(path_of(place), _unknown(kind, place), "null"),)
        )
    if all(re.search(pattern, name) for pattern in around.get("patternProperties", {})):
        return ()
    return (_bad_name(kind, place, name),)


def _may_be_inherited(detail: ErrorDetails) -> bool:
    """A message's own fields, such as its version, are not inherited; nor is anything in a list."""
    location = detail["loc"]
    return (
        detail["type"] == "missing"
        and len(location) > 1
        and not any(isinstance(step, int) for step in location)
    )


def _is_echo(detail: ErrorDetails, details: list[ErrorDetails]) -> bool:
    """Whether a list is only called too short because pydantic does not count its invalid items."""
    place = detail["loc"]
    return detail["type"] == "too_short" and any(
        other["loc"][: len(place)] == place and other is not detail for other in details
    )


def _copy(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, dict) else value for key, value in data.items()}


def _place(data: dict[str, Any], location: Path) -> Path:
    """The innermost object member on the way to the location: the whole list for a list item, the
    whole object for a missing field.
    """
    node: Any = data
    for depth, step in enumerate(location):
        if not isinstance(node, dict) or step not in node:
            return location[:depth]
        node = node[step]
    return location


def _remove(data: dict[str, Any], place: Path) -> None:
    node: Any = data
    for step in place[:-1]:
        if step not in node:
            return  # removed with an enclosing part
        node = node[step]
    node.pop(place[-1], None)


# ---- Error messages


def _is_option(step: str | int) -> bool:
    return isinstance(step, str) and step.startswith("[") and step != KEY


def _problem(kind: type[BaseModel], detail: ErrorDetails) -> SpecProblem:
    location, given = detail["loc"], detail["input"]
    if location and location[-1] == KEY:
        return _bad_name(kind, location[:-1], given)
    path = path_of(step for step in location if not _is_option(step)) or "message"
    match detail["type"]:
        case "missing":
            return SpecProblem(path, f"is required; must be {describe(schema_at(kind, location))}")
        case "extra_forbidden":
            # The value of an unknown field may be anything, including a secret.
            return SpecProblem(path, _unknown(kind, location), redact("artifact.env", given))
        case "rule":
            return SpecProblem(path, detail["msg"])
        case _:
            return SpecProblem(
                path, f"must be {describe(schema_at(kind, location))}", redact(path, given)
            )


def _bad_name(kind: type[BaseModel], place: Path, given: object) -> SpecProblem:
    path, node = path_of(place[:-1]), schema_at(kind, place[:-1])
    return SpecProblem(
        path,
        f"names must be {node.get('propertyNames', {}).get('x-allowed', 'plain text')}",
        redact(path, given),
    )


def _unknown(kind: type[BaseModel], location: Path) -> str:
    from difflib import get_close_matches

    known = sorted(schema_at(kind, location[:-1]).get("properties", {}))
    given = str(location[-1])[:64]
    longer = [each for each in known if each.startswith(f"{given}_")]  # without its unit
    close = longer or get_close_matches(given, known, n=1)
    guess = f"; did you mean {close[0]}?" if close else ""
    return f"is not a known field{guess} (known: {', '.join(known)})"


@cache
def schema_of(kind: type[BaseModel]) -> dict[str, Any]:
    from rollout.spec.validators import model_of

    return model_of(kind).model_json_schema()


def schema_at(kind: type[BaseModel], location: Path) -> dict[str, Any]:
    """The schema of the value at the location, `{}` if there is none."""
    schema = schema_of(kind)
    node = dereference(schema, schema)
    for step in location:
        if _is_option(step):
            node = dereference({"$ref": f"#/$defs/{str(step)[1:-1]}"}, schema)
            continue
        inner = node.get("items") if isinstance(step, int) else node.get("properties", {}).get(step)
        node = dereference(inner or values_of(node), schema)
    return node


def values_of(node: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a map's values."""
    values = [*node.get("patternProperties", {}).values(), node.get("additionalProperties", {})]
    return values[0] if isinstance(values[0], dict) else {}


def dereference(node: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema behind references and "or null", with the keywords beside the reference."""
    while "$ref" in node or "anyOf" in node:
        rest = {key: value for key, value in node.items() if key not in ("$ref", "anyOf")}
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].removeprefix("#/$defs/")] | rest
        else:
            node = next(option for option in node["anyOf"] if option.get("type") != "null") | rest
    return dict(node)


def describe(node: Mapping[str, Any]) -> str:
    """What a schema allows, in words that follow "must be"."""
    if "x-allowed" in node:
        return str(node["x-allowed"])
    if "enum" in node or "const" in node:
        return " or ".join(f'"{value}"' for value in node.get("enum", [node.get("const")]))
    match node.get("type"):
        case "integer":
            return f"an integer{_range(node)}"
        case "number":
            return f"a number{_range(node)}"
        case "boolean":
            return "true or false"
        case "array":
            return f"a list{_sizes(node.get('minItems'), node.get('maxItems'))}"
        case "object":
            return f"an object{_sizes(None, node.get('maxProperties'))}"
        case _:
            return "a string"


def _range(node: Mapping[str, Any]) -> str:
    if "minimum" in node and "maximum" in node:
        return f" from {node['minimum']} to {node['maximum']}"
    words = {
        "minimum": "of at least",
        "exclusiveMinimum": "above",
        "maximum": "up to",
        "exclusiveMaximum": "below",
    }
    limits = [f"{word} {node[name]}" for name, word in words.items() if name in node]
    return f" {' and '.join(limits)}" if limits else ""


def _sizes(least: int | None, most: int | None) -> str:
    if most is None:
        return ""
    return f" of {least} to {most}" if least else f" of at most {most}"
