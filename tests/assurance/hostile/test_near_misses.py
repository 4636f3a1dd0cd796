"""Messages around the published schema: just beside it field by field, and at random. Refused with
the field's name, or legal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from rollout.spec.message import Invalid, ReleaseRequested, decode_json, parse, resolve
from tests.assurance.hostile.intake import SMALL, Intake, scaled
from tests.assurance.hostile.shapes import (
    COMMAND,
    FULL,
    RELEASE,
    ROLLBACK,
    SAYS,
    all_misses,
    fields,
    legal,
)

SECTIONS = sorted({str(path[0]) for path, _ in all_misses()})
AT_RANDOM = settings(
    max_examples=scaled(60, 20_000),
    deadline=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def test_the_messages_to_miss_are_legal_themselves() -> None:
    for message in (FULL, ROLLBACK):
        SAYS.validate(message)
    asked = parse(FULL)
    assert isinstance(asked, ReleaseRequested)
    assert resolve(asked, None)
    assert len(list(fields())) > 90


@pytest.mark.parametrize("section", SECTIONS)
def test_what_is_just_beside_a_field_is_refused_by_the_name_of_the_field(section: str) -> None:
    """The schema decides: what it does not take is refused. What it takes may break a rule that no
    schema can tell."""
    wrong = []
    for path, message in all_misses():
        if path[0] != section:
            continue
        why = Intake().take(message).why
        if not SAYS.is_valid(message) and not _is_named(path, why):
            wrong.append((path, why[:200] or "was accepted"))
    assert not wrong


def _is_named(path: tuple[Any, ...], why: str) -> bool:
    """The reason names the field, or what is above it; a message that is too large or no text at
    all is named as a whole."""
    names = [str(step) for step in path if isinstance(step, str)]
    return names[0] in why or why.startswith(
        ("message: must be at most", "message: must not contain", "message: must contain")
    )


@AT_RANDOM
@given(legal(RELEASE))
def test_a_release_made_from_the_schema_is_taken_or_refused(message: Any) -> None:
    _same_mind(message)


@AT_RANDOM
@given(legal(COMMAND))
def test_a_command_made_from_the_schema_is_taken_or_refused(message: Any) -> None:
    _same_mind(message)


@AT_RANDOM
@given(legal(RELEASE, is_mad=False))
def test_a_second_release_over_a_first_is_taken_or_refused(message: dict[str, Any]) -> None:
    intake = Intake()
    intake.take(SMALL)
    intake.take(message | {"model": "tiny", "version": "2"})


def _same_mind(message: Any) -> None:
    """The function refuses what the parser does, in its words; and what it takes, the schema
    takes."""
    why, refusal = Intake().take(message).why, _refusal(json.dumps(message).encode())
    if refusal:
        assert why == refusal
    else:
        SAYS.validate(message)
        assert not why or why.startswith("model: there is no model")


def _refusal(data: bytes) -> str:
    try:
        asked = parse(decode_json(data))
        if isinstance(asked, ReleaseRequested):
            resolve(asked, None)
    except Invalid as invalid:
        return str(invalid)
    return ""
