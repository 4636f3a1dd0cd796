"""How a problem is told: where it is, what was given, and what of that is never repeated."""

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
def test_a_path_names_each_step_and_hides_no_mark(steps: tuple[str | int, ...], path: str) -> None:
    assert path_of(steps) == path


@pytest.mark.parametrize(
    ("value", "told"),
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
def test_a_value_is_shown_where_it_is_short_and_harmless_and_else_told_by_its_kind(
    value: object, told: str
) -> None:
    assert redact("serving.port", value) == told


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
def test_where_a_secret_may_be_neither_text_nor_number_is_shown(path: str) -> None:
    assert redact(path, "hunter2") == "a string of 7 characters"
    assert redact(path, 1234) == redact(path, 12.5) == "a number"
    assert redact(path, True) == "true"


@pytest.mark.parametrize(
    "path", ["artifact.image", "artifacts.env", "my.artifact.env", "artifact.environment", ""]
)
def test_elsewhere_it_is(path: str) -> None:
    assert (redact(path, "hunter2"), redact(path, 1234)) == ('"hunter2"', "1234")


def test_a_problem_says_what_was_given_where_there_is_anything_to_say() -> None:
    assert str(SpecProblem("model", "is required")) == "model: is required"
    assert str(SpecProblem("model", "must be a name", "3")) == "model: must be a name, got 3"
    assert str(SpecProblem("model", "must be a name", "")) == "model: must be a name, got "


def problems(count: int) -> list[SpecProblem]:
    return [SpecProblem(f"x{number}", "is wrong") for number in range(count)]


def test_each_problem_is_told_once_in_the_order_in_which_they_were_found() -> None:
    found = Invalid([*problems(2), *problems(3)])
    assert found.problems == tuple(problems(3))
    assert str(found) == "x0: is wrong; x1: is wrong; x2: is wrong"


def test_what_nobody_would_read_is_cut_and_that_is_told() -> None:
    assert Invalid(problems(MAX_PROBLEMS)).problems == tuple(problems(50))
    more = Invalid(problems(MAX_PROBLEMS + 1)).problems
    assert more == (
        *problems(50),
        SpecProblem("message", "has more problems; fix these first"),
    )
