"""Messages around the published schema, near misses of each field and random ones: refused with the
field's name, or valid.
"""

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
    VALIDATOR,
    all_near_misses,
    fields,
    legal,
)

SECTIONS = sorted({str(path[0]) for schema in (RELEASE, COMMAND) for path, _ in fields(schema)})
AT_RANDOM = settings(
    max_examples=scaled(60, 20_000),
    deadline=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def test_the_base_messages_are_valid() -> None:
    for message in (FULL, ROLLBACK):
        VALIDATOR.validate(message)
    request = parse(FULL)
    assert isinstance(request, ReleaseRequested)
    assert resolve(request, None)
    assert len(list(fields())) > 90


@pytest.mark.parametrize("section", SECTIONS)
def test_a_near_miss_is_refused_with_the_name_of_the_field(section: str) -> None:
    """What the schema rejects is refused. What it accepts may still break a rule that a schema
    cannot express.
    """
    wrong = []
    for path, message in all_near_misses():
        if path[0] != section:
            continue
        why = Intake().deliver(message).why
        if not _is_named(path, why) and not VALIDATOR.is_valid(message):
            wrong.append((path, why[:200] or "was accepted"))
    assert not wrong


def _is_named(path: tuple[Any, ...], why: str) -> bool:
    """Whether the reason names the field or its section, or the whole message if it is too large or
    not text.
    """
    names = [str(step) for step in path if isinstance(step, str)]
    return names[0] in why or why.startswith(
        ("message: must be at most", "message: must not contain", "message: must contain")
    )


@AT_RANDOM
@given(legal(RELEASE))
def test_a_release_generated_from_the_schema_is_accepted_or_refused(message: Any) -> None:
    _check_agreement(message)


@AT_RANDOM
@given(legal(COMMAND))
def test_a_command_generated_from_the_schema_is_accepted_or_refused(message: Any) -> None:
    _check_agreement(message)


@AT_RANDOM
@given(legal(RELEASE, with_junk=False))
def test_a_second_release_is_accepted_or_refused(message: dict[str, Any]) -> None:
    intake = Intake()
    intake.deliver(SMALL)
    intake.deliver(message | {"model": "tiny", "version": "2"})


def _check_agreement(message: Any) -> None:
    """The function refuses what the parser refuses, with the same reason; what it accepts, the
    schema accepts.
    """
    why, refusal = Intake().deliver(message).why, _refusal(json.dumps(message).encode())
    if why.startswith("base: there is no release"):
        return  # known only to the function, and found before the spec is resolved
    if refusal:
        assert why == refusal
    else:
        VALIDATOR.validate(message)
        assert not why or why.startswith("model: there is no model")


def _refusal(data: bytes) -> str:
    try:
        request = parse(decode_json(data))
        if isinstance(request, ReleaseRequested):
            resolve(request, None)
    except Invalid as invalid:
        return str(invalid)
    return ""
