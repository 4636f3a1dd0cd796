"""The problems of invalid values, field by field, and what remains without the invalid parts."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from rollout.spec.message import CommandMessage, ReleaseMessage
from rollout.spec.model import Scaling, Sections, Spec
from rollout.spec.problems import MAX_PROBLEMS, Invalid
from rollout.spec.section import at_most
from rollout.spec.validation import (
    MAX_DEPTH,
    dereference,
    describe,
    freeze,
    misplaced_nulls,
    schema_at,
    validate,
    values_of,
)
from rollout.spec.validators import made


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    size: Annotated[int, Field(ge=1, le=9)] = 3
    word: str


class Whole(BaseModel):
    """A small section with every kind of field."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    part: Part = Part(word="x")
    items: tuple[Part, ...] = ()
    plain: dict[str, int] = {}


def problems_of(data: dict[str, Any], partial: bool = False) -> list[str]:
    return [str(problem) for problem in validate(Whole, data, partial).problems]


# ---- Freezing


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


def refusal(value: object) -> str:
    with pytest.raises(Invalid) as refused:
        freeze(value)
    return str(refused.value)


def test_freezing_turns_lists_into_tuples() -> None:
    value = {"a": [1, {"b": [True, None, 0.5, "é"]}], "c": (2,)}
    assert freeze(value) == {"a": (1, {"b": (True, None, 0.5, "é")}), "c": (2,)}


def test_sixteen_levels_of_nesting_are_accepted() -> None:
    assert MAX_DEPTH == 16
    assert freeze(nested(MAX_DEPTH)) == nested(MAX_DEPTH)
    assert refusal(nested(MAX_DEPTH + 1)) == "a.a.a.a: must not be nested deeper than 16 levels"
    deep: Any = 1
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    assert refusal({"a": deep}) == "a[0][0][0]: must not be nested deeper than 16 levels"


@pytest.mark.parametrize(
    ("value", "messages"),
    [
        (b"x", "message: must be JSON, got a bytes"),
        ({"a": [1, {1, 2}]}, "a[1]: must be JSON, got a set"),
        ({1: "x"}, "message: must have strings as names, got 1"),
        ({"a": {None: 1}}, "a: must have strings as names, got null"),
        ("\ud800", "message: must not contain a lone surrogate"),
        ({"a": ["\udfff"]}, "a[0]: must not contain a lone surrogate"),
        ({"a": {"\ud800": 1}}, "a: must not contain a lone surrogate"),
    ],
)
def test_a_value_that_is_not_json_is_refused_with_its_place(value: object, messages: str) -> None:
    assert refusal(value) == messages


# ---- Validation


def test_a_valid_value_has_no_problems() -> None:
    found = validate(Whole, {"name": "a"}, partial=False)
    assert (found.value, found.problems, found.removed) == (Whole(name="a"), (), frozenset())


@pytest.mark.parametrize(
    ("data", "messages", "left", "removed"),
    [
        (
            {"name": "a", "part": {"word": "w", "size": 99}},
            ["part.size: must be an integer from 1 to 9, got 99"],
            3,
            {("part", "size")},
        ),
        ({"name": "a", "part": "w"}, ['part: must be an object, got "w"'], 3, {("part",)}),
        (
            {"name": "a", "part": {"size": 1}},
            ["part.word: is required; must be a string"],
            3,
            {("part",)},
        ),
        (
            {"name": "a", "part": {"word": "w", "size": 4, "wrod": "x"}},
            [
                "part.wrod: is not a known field; did you mean word? (known: size, word), got a"
                " string of 1 characters"
            ],
            4,
            {("part", "wrod")},
        ),
        (
            {"name": "a", "part": {"word": "w", "qq": 5}},
            ["part.qq: is not a known field (known: size, word), got a number"],
            3,
            {("part", "qq")},
        ),
        (
            {
                "name": "a",
                "items": [{"word": "w"}, {"word": 1}, {}],
                "part": {"word": "w", "size": 4},
            },
            ["items: must be a list, got a list of 3"],
            4,
            {("items",)},
        ),
        (
            {
                "name": "a",
                "items": ({"word": "w"}, {"word": 1}, {}),
                "part": {"word": "w", "size": 4},
            },
            [
                "items[1].word: must be a string, got 1",
                "items[2].word: is required; must be a string",
            ],
            4,
            {("items",)},
        ),
        (
            {"name": "a", "plain": {"b": "x"}, "part": {"word": "w", "size": 0}},
            [
                "part.size: must be an integer from 1 to 9, got 0",
                'plain.b: must be an integer, got "x"',
            ],
            3,
            {("plain", "b"), ("part", "size")},
        ),
    ],
)
def test_invalid_parts_are_reported_and_removed(
    data: dict[str, Any], messages: list[str], left: int, removed: set[tuple[str, ...]]
) -> None:
    found = validate(Whole, data, partial=False)
    assert [str(problem) for problem in found.problems] == messages
    assert found.value
    assert (found.value.name, found.value.part.size) == ("a", left)
    assert found.removed == removed


def test_nothing_remains_of_a_value_without_its_required_field() -> None:
    found = validate(Whole, {"part": {"word": "w"}}, partial=False)
    assert (found.value, [str(problem) for problem in found.problems]) == (
        None,
        ["name: is required; must be a string"],
    )


def test_validation_does_not_change_the_value() -> None:
    data = {"name": "a", "part": {"word": "w", "size": 99}}
    validate(Whole, data, partial=False)
    assert data == {"name": "a", "part": {"word": "w", "size": 99}}


def test_missing_fields_may_be_inherited_except_in_lists_and_the_messages_own() -> None:
    assert problems_of({"name": "a", "part": {"size": 1}}, partial=True) == []
    assert problems_of({"part": {"size": 1}}, partial=True) == [
        "name: is required; must be a string"
    ]
    assert problems_of({"name": "a", "items": ({},)}, partial=True) == [
        "items[0].word: is required; must be a string"
    ]
    assert problems_of({"name": "a", "part": {"size": 0}}, partial=True) == [
        "part.size: must be an integer from 1 to 9, got 0"
    ]


def test_the_number_of_problems_is_limited() -> None:
    many = {"name": "a", "plain": {f"b{number}": "x" for number in range(MAX_PROBLEMS + 30)}}
    assert len(problems_of(many)) == MAX_PROBLEMS + 1
    nulls = {"name": "a", "part": {f"b{number}": None for number in range(MAX_PROBLEMS + 30)}}
    assert len(misplaced_nulls(Whole, nulls)) == MAX_PROBLEMS + 1


# ---- Nulls under unknown names


@pytest.mark.parametrize(
    ("value", "messages"),
    [
        ({"name": None, "part": None}, []),
        ({"part": {"size": None}}, []),
        (
            {"parts": None},
            [
                "parts: is not a known field; did you mean part? (known: items, name, part,"
                " plain), got null"
            ],
        ),
        ({"part": {"qq": None}}, ["part.qq: is not a known field (known: size, word), got null"]),
        ({"plain": {"anything": None}}, []),
        ({"items": [{"qq": None}]}, []),
    ],
)
def test_a_null_under_an_unknown_name_is_reported(value: object, messages: list[str]) -> None:
    assert [str(problem) for problem in misplaced_nulls(Whole, value)] == messages


def test_a_null_in_a_map_needs_a_valid_name() -> None:
    env = {"artifact": {"env": {"GOOD": None, "1BAD": None}}}
    assert [str(problem) for problem in misplaced_nulls(ReleaseMessage, env)] == [
        "artifact.env: names must be letters, digits and _, not starting with a digit, got a string"
        " of 4 characters"
    ]
    schedule = {"scaling": {"schedules": {"Day": None}}}
    assert [str(problem) for problem in misplaced_nulls(ReleaseMessage, schedule)] == [
        "scaling.schedules: names must be 1 to 63 lower-case letters, digits and hyphens, starting"
        ' with a letter, got "Day"'
    ]


def test_an_invalid_name_is_reported_at_its_map() -> None:
    found = validate(Sections, {"machine": {"labels": {"Team": "a", "ok": "b"}}}, partial=True)
    assert [str(problem) for problem in found.problems] == [
        "machine.labels: names must be 1 to 63 lower-case letters, digits, _ and -, starting with a"
        ' letter, got "Team"'
    ]
    assert found.value
    assert found.value.machine.labels == {"ok": "b"}


# ---- Descriptions


def test_a_schema_is_found_through_sections_lists_and_maps() -> None:
    assert schema_at(Spec, ())["type"] == "object"
    assert schema_at(Spec, ("scaling", "max"))["maximum"] == 2000
    assert schema_at(Spec, ("scaling", "metrics", 0, "type"))["enum"] == [
        "gauge",
        "delta_per_second",
        "delta_per_minute",
    ]
    assert schema_at(Spec, ("scaling", "schedules", "day", "duration_seconds"))["minimum"] == 300
    assert schema_at(Spec, ("artifact", "env", "A"))["maxLength"] == 8192
    assert schema_at(Spec, ("scaling", "nothing")) == {}
    assert schema_at(CommandMessage, ("version",))["x-allowed"].startswith("1 to 63 letters")


def test_keywords_beside_a_reference_are_kept() -> None:
    schema = {"$defs": {"Inner": {"type": "integer", "description": "inner", "minimum": 1}}}
    either = {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/Inner"}], "description": "outer"}
    assert dereference(either, schema) == {"type": "integer", "description": "outer", "minimum": 1}
    assert dereference({"$ref": "#/$defs/Inner", "minimum": 5}, schema)["minimum"] == 5
    plain = {"type": "string"}
    assert dereference(plain, schema) == plain
    assert dereference(plain, schema) is not plain


@pytest.mark.parametrize(
    ("node", "values"),
    [
        (
            {"patternProperties": {"^a$": {"type": "string"}}, "additionalProperties": False},
            {"type": "string"},
        ),
        ({"additionalProperties": {"type": "integer"}}, {"type": "integer"}),
        ({"additionalProperties": False}, {}),
        ({"additionalProperties": True}, {}),
        ({}, {}),
    ],
)
def test_the_schema_of_a_maps_values_is_found(node: dict[str, Any], values: dict[str, Any]) -> None:
    assert values_of(node) == values


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"x-allowed": "a name", "enum": ["a"]}, "a name"),
        ({"enum": ["a", "b"]}, '"a" or "b"'),
        ({"const": "a"}, '"a"'),
        ({"type": "integer"}, "an integer"),
        ({"type": "integer", "minimum": 0, "maximum": 0}, "an integer from 0 to 0"),
        ({"type": "integer", "minimum": 1}, "an integer of at least 1"),
        ({"type": "integer", "maximum": 1}, "an integer up to 1"),
        ({"type": "number", "minimum": 0.5, "maximum": 2}, "a number from 0.5 to 2"),
        ({"type": "number", "exclusiveMinimum": 0}, "a number above 0"),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 0}, "a number above 0 and up to 0"),
        (
            {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
            "a number of at least 0 and below 1",
        ),
        ({"type": "boolean"}, "true or false"),
        ({"type": "array"}, "a list"),
        ({"type": "array", "maxItems": 5}, "a list of at most 5"),
        ({"type": "array", "minItems": 1, "maxItems": 5}, "a list of 1 to 5"),
        ({"type": "array", "minItems": 1}, "a list"),
        ({"type": "object"}, "an object"),
        ({"type": "object", "maxProperties": 3}, "an object of at most 3"),
        ({"type": "string"}, "a string"),
        ({}, "a string"),
    ],
)
def test_a_schema_is_described_in_words(node: dict[str, Any], words: str) -> None:
    assert describe(node) == words


def test_a_nested_section_is_described() -> None:
    assert describe(schema_at(Scaling, ("cpu", "target"))) == "a number above 0 and up to 1"


# ---- Limits


def test_the_size_is_checked_before_the_items() -> None:
    count: Any = made(at_most(2)).func
    for full in ([object(), object()], (1, 2), {"a": 1, "b": 2}):
        assert count(full) == (tuple(full) if isinstance(full, list) else full)
    for over in ([1, 2, 3], (1, 2, 3), {"a": 1, "b": 2, "c": 3}):
        with pytest.raises(ValueError, match=r"^too many$"):
            count(over)


@pytest.mark.parametrize("value", ["a long text", 12345, None, {1, 2, 3}])
def test_a_limit_applies_only_to_lists_and_maps(value: object) -> None:
    count: Any = made(at_most(2)).func
    assert count(value) is value
