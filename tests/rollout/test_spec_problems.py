"""How a problem is printed: its path, the given value, and which values are never printed."""

from __future__ import annotations

import pytest

from rollout.spec.problems import MAX_PROBLEMS, Invalid, SpecProblem, path_of, redact


@pytest.mark.parametrize(
    ("steps", "path"),
    [
        ((), ""),
        (("model",), "model"),
        (("scaling", "metrics", 0, "name"), "scaling.metrics[0].name"),
        ((3,), "[3]"),
        ((3, "a"), "[3].a"),
        (("a", ""), 'a.""'),
        (("a b",), '"a b"'),
        (("!~",), "!~"),
        (("a", "x" * 64), f"a.{'x' * 64}"),
        (("a", "x" * 65), f'a."{"x" * 40}" and 25 more characters'),
        (("\u202e",), '"\\u202e"'),
    ],
)
def test_a_path_names_each_step_and_escapes_special_characters(
    steps: tuple[str | int, ...], path: str
) -> None:
    assert path_of(steps) == path


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, "an object with 0 fields"),
        ({"a": 1, "b": 2}, "an object with 2 fields"),
        ([1, 2, 3], "a list of 3"),
        ((1,), "a list of 1"),
        ("two\nlines", '"two\\nlines"'),
        ("x" * 80, f'"{"x" * 80}"'),
        ("x" * 81, f'"{"x" * 80}" and 1 more characters'),
        (True, "true"),
        (None, "null"),
        (7, "7"),
        (2**128 - 1, "340282366920938463463374607431768211455"),
        (2**128, "a number of more than 38 digits"),
        (-(2**128), "a number of more than 38 digits"),
        (0.5, "0.5"),
        (b"x", "a bytes"),
        ("eu.gcr.io/p/tiny:1", '"eu.gcr.io/p/tiny:1"'),
        ("ann@example.com", '"ann@example.com"'),
        ("ann:secret@example.com/x", "a string of 24 characters"),
        ("https://ann:secret@example.com", "a string of 30 characters"),
        ("https://example.com/a:b@c@d", "a string of 27 characters"),
    ],
)
def test_a_short_harmless_value_is_printed_others_by_type_and_size(
    value: object, text: str
) -> None:
    assert redact("serving.port", value) == text


@pytest.mark.parametrize(
    "path",
    [
        "artifact",
        "artifact.env",
        "artifact.env.TOKEN",
        "artifact.secrets.TOKEN",
        "artifact.args",
        "artifact.args[1]",
        "artifact.startup_script",
        "artifact.weights",
        "artifact[0]",
    ],
)
def test_values_of_fields_that_may_hold_secrets_are_not_printed(path: str) -> None:
    assert redact(path, "hunter2") == "a string of 7 characters"
    assert redact(path, 1234) == redact(path, 12.5) == "a number"
    assert redact(path, True) == "true"


@pytest.mark.parametrize(
    "path", ["artifact.image", "artifacts.env", "my.artifact.env", "artifact.environment", ""]
)
def test_values_of_other_fields_are_printed(path: str) -> None:
    assert (redact(path, "hunter2"), redact(path, 1234)) == ('"hunter2"', "1234")


def test_a_problem_includes_the_given_value_if_there_is_one() -> None:
    assert str(SpecProblem("model", "is required")) == "model: is required"
    assert str(SpecProblem("model", "must be a name", "3")) == "model: must be a name, got 3"
    assert str(SpecProblem("model", "must be a name", "")) == "model: must be a name, got "


def problems(count: int) -> list[SpecProblem]:
    return [SpecProblem(f"x{number}", "is wrong") for number in range(count)]


def test_each_problem_is_reported_once_in_order() -> None:
    found = Invalid([*problems(2), *problems(3)])
    assert found.problems == tuple(problems(3))
    assert str(found) == "x0: is wrong; x1: is wrong; x2: is wrong"


def test_the_number_of_problems_is_limited_and_the_limit_reported() -> None:
    assert Invalid(problems(MAX_PROBLEMS)).problems == tuple(problems(50))
    more = Invalid(problems(MAX_PROBLEMS + 1)).problems
    assert more == (
        *problems(50),
        SpecProblem("message", "has more problems; fix these first"),
    )
