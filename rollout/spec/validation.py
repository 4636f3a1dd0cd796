"""Checks JSON values against the sections of a spec and says, field by field, what is wrong and
what would be right.

Used by `rollout/spec/message.py` (on a message) and `rollout/resolve.py` (on a merged spec). The
words come from the same JSON Schema that is published, which is made only when there is something
to complain about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rollout.spec.problems import MOST_PROBLEMS, Invalid, SpecProblem, path_of, redact

DEEPEST = 16
KEY = "[key]"  # how pydantic ends the location of a map's key

Model = TypeVar("Model", bound=BaseModel)
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Validated(Generic[Model]):
    """`value` is what is left once the broken parts are taken out; None where nothing is."""

    value: Model | None
    problems: tuple[SpecProblem, ...]
    broken: frozenset[Path]


def freeze(value: object, path: Path = ()) -> Any:
    """The JSON value with tuples for lists, as the sections hold them; `Invalid` for what is not
    JSON or has no UTF-8 form."""
    if len(path) > DEEPEST:
        raise Invalid(
            [SpecProblem(path_of(path[:4]), f"must not be nested deeper than {DEEPEST} levels")]
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
    """Text that has a UTF-8 form; JSON can spell halves of characters (`\\ud800`) that have
    none."""
    if isinstance(value, str):
        if value.isascii():
            return value
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Invalid(
                [SpecProblem(path_of(path) or "message", "must not hold half of a surrogate pair")]
            ) from None
        return value
    raise Invalid(
        [SpecProblem(path_of(path) or "message", "must have texts as names", redact("", value))]
    )


def validate(kind: type[Model], data: Mapping[str, Any], partial: bool) -> Validated[Model]:
    """`data` (already `freeze`) as a model, with everything wrong in it. Partial: what is missing
    may still be inherited, except in lists, which are never merged.

    Whatever is wrong is taken out and the rest checked again, so that rules between fields can
    still be judged on what is sound."""
    try:
        return Validated(kind.model_validate(data), (), frozenset())
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
    faults = (
        detail
        for detail in details
        if not ((partial and _may_be_inherited(detail)) or _is_echo(detail, details))
    )
    problems = tuple(_problem(kind, detail) for detail in islice(faults, MOST_PROBLEMS + 1))
    rest = _copy(data)
    broken: set[Path] = set()
    while details:
        # All places first, then the removals: a place is looked up in what is still whole.
        places = {_place(rest, detail["loc"]) for detail in details}
        if () in places:
            break
        for place in places:
            _remove(rest, place)
        broken |= places
        try:
            return Validated(kind.model_validate(rest), problems, frozenset(broken))
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False)
    return Validated(None, problems, frozenset(broken))


def misplaced_nulls(kind: type[BaseModel], value: object) -> tuple[SpecProblem, ...]:
    """Nulls under names that mean nothing. A merge would lose them before anyone looks, and a
    misspelt name must be told."""
    told = (problem for place in _nulls(value, ()) for problem in _misnamed(kind, place))
    return tuple(islice(told, MOST_PROBLEMS + 1))


def _nulls(value: object, path: Path) -> Iterator[Path]:
    if value is None:
        yield path
    elif isinstance(value, dict):
        for name, member in value.items():
            yield from _nulls(member, (*path, name))


def _misnamed(kind: type[BaseModel], place: Path) -> tuple[SpecProblem, ...]:
    around, name = node_at(kind, place[:-1]), str(place[-1])
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
    """A message's own fields, such as its version, are not; nor is anything in a list."""
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
    """The innermost object member on the way to the location: a list as a whole, and an object that
    lacks something."""
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
            return  # gone with something around it
        node = node[step]
    node.pop(place[-1], None)


# ---- The words


def _problem(kind: type[BaseModel], detail: ErrorDetails) -> SpecProblem:
    location, given = detail["loc"], detail["input"]
    if location and location[-1] == KEY:
        return _bad_name(kind, location[:-1], given)
    path = path_of(location) or "message"
    match detail["type"]:
        case "missing":
            return SpecProblem(path, f"is required; must be {words_of(node_at(kind, location))}")
        case "extra_forbidden":
            # What people write under a name that is not known may be anything, also a secret.
            return SpecProblem(path, _unknown(kind, location), redact("artifact.env", given))
        case "rule":
            return SpecProblem(path, detail["msg"])
        case _:
            return SpecProblem(
                path, f"must be {words_of(node_at(kind, location))}", redact(path, given)
            )


def _bad_name(kind: type[BaseModel], place: Path, given: object) -> SpecProblem:
    path, node = path_of(place[:-1]), node_at(kind, place[:-1])
    return SpecProblem(
        path,
        f"names must be {node.get('propertyNames', {}).get('x-allowed', 'plain text')}",
        redact(path, given),
    )


def _unknown(kind: type[BaseModel], location: Path) -> str:
    from difflib import get_close_matches

    known = sorted(node_at(kind, location[:-1]).get("properties", {}))
    close = get_close_matches(str(location[-1])[:64], known, n=1)
    guess = f"; did you mean {close[0]}?" if close else ""
    return f"is not a field here{guess} (there are {', '.join(known)})"


@cache
def schema_of(kind: type[BaseModel]) -> dict[str, Any]:
    return kind.model_json_schema()


def node_at(kind: type[BaseModel], location: Path) -> dict[str, Any]:
    """The schema of the value at the location, `{}` where there is none."""
    schema = schema_of(kind)
    node = target_of(schema, schema)
    for step in location:
        inner = node.get("items") if isinstance(step, int) else node.get("properties", {}).get(step)
        node = target_of(inner or value_of(node), schema)
    return node


def value_of(node: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a map's values."""
    values = [*node.get("patternProperties", {}).values(), node.get("additionalProperties", {})]
    return values[0] if isinstance(values[0], dict) else {}


def target_of(node: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema behind references and behind "or null"; what is said beside a reference counts
    too."""
    while "$ref" in node or "anyOf" in node:
        rest = {key: value for key, value in node.items() if key not in ("$ref", "anyOf")}
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].removeprefix("#/$defs/")] | rest
        else:
            node = next(option for option in node["anyOf"] if option.get("type") != "null") | rest
    return dict(node)


def words_of(node: Mapping[str, Any]) -> str:
    """What a schema allows, as it stands after "must be"."""
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
            return "a text"


def _range(node: Mapping[str, Any]) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    if "exclusiveMinimum" in node:
        return f" above {node['exclusiveMinimum']}" + (
            f" and up to {high}" if high is not None else ""
        )
    return f" from {low} to {high}" if low is not None and high is not None else ""


def _sizes(least: int | None, most: int | None) -> str:
    if most is None:
        return ""
    return f" of {least} to {most}" if least else f" of at most {most}"
