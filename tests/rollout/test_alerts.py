"""Which alerts fail a release: incidents of policies it names that began during its rollout."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rollout.alerts import Alert, fail
from rollout.model import (
    Baking,
    Desired,
    LatchedFailure,
    Outcome,
    Pause,
    Phase,
    Retiring,
    RollingBack,
    Rollout,
    Settled,
    Stepping,
)
from tests.rollout.build import NOON, at, release

ID = "1234567890123456789"
ALERT = Alert(
    incident="0.abc",
    policy="tiny: error budget",
    policy_id=ID,
    is_open=True,
    started_at=at(60),
    summary="5 % of requests fail",
    url="https://console.cloud.google.com/monitoring/alerting/alerts/0.abc",
)
ONE, TWO = release("1"), release("2", rollout={"abort_on_alerts": [ALERT.policy]})
ROLLOUT = Rollout(Stepping(1, at(30)), stable=ONE, candidate=TWO, begun_at=NOON)
DESIRED = Desired("tiny", TWO)


def failure(rollout: Rollout = ROLLOUT, alert: Alert = ALERT) -> LatchedFailure | None:
    change = fail(rollout, DESIRED, alert, at(90))
    return change.rollout.failure if change else None


def test_an_open_incident_of_a_named_policy_fails_the_release_and_says_so() -> None:
    change = fail(ROLLOUT, DESIRED, ALERT, at(90))
    assert change
    why = (
        "alert policy tiny: error budget: incident 0.abc is open since 2026-01-01T12:01:00Z:"
        " 5 % of requests fail"
    )
    assert change.rollout == replace(ROLLOUT, failure=LatchedFailure("alert", why, at(90)))
    assert change.desired == DESIRED
    (entry,) = change.transitions
    assert (entry.release, entry.from_, entry.to, entry.why) == ("2", "step_2", "alerted", why)
    assert (entry.reason, entry.outcome, entry.evidence) == ("alert", None, (ALERT.url,))


@pytest.mark.parametrize(
    "named", [ALERT.policy, ID, f"projects/p/alertPolicies/{ID}", f"projects/7/alertPolicies/{ID}"]
)
def test_a_policy_is_named_by_its_display_name_or_its_id(named: str) -> None:
    candidate = release("2", rollout={"abort_on_alerts": ["another", named]})
    assert failure(replace(ROLLOUT, candidate=candidate))


@pytest.mark.parametrize(
    "named",
    [
        "tiny",
        "tiny: error",
        "Tiny: error budget",
        ID[:-1],
        "projects/p/alertPolicies/1",
        "alertPolicies/",
    ],
)
def test_another_policy_changes_nothing(named: str) -> None:
    candidate = release("2", rollout={"abort_on_alerts": [named]})
    assert failure(replace(ROLLOUT, candidate=candidate)) is None
    without_id = replace(ALERT, policy_id="")
    assert failure(replace(ROLLOUT, candidate=candidate), without_id) is None


@pytest.mark.parametrize(
    "changes",
    [{"is_open": False}, {"started_at": NOON}, {"started_at": at(-1)}],
    ids=["closed", "as old as the rollout", "older than the rollout"],
)
def test_an_incident_that_is_closed_or_older_changes_nothing(changes: dict[str, Any]) -> None:
    assert failure(alert=replace(ALERT, **changes)) is None


def test_a_release_that_names_no_policy_or_has_failed_already_is_left_alone() -> None:
    assert failure(replace(ROLLOUT, candidate=release("2"))) is None
    assert (
        fail(replace(ROLLOUT, failure=LatchedFailure("gate", "x", NOON)), DESIRED, ALERT, at(90))
        is None
    )


def rolling_back(outcome: Outcome) -> RollingBack:
    return RollingBack(outcome, "aborted", "", at(30))


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        (Stepping(0, NOON), True),
        (Baking(NOON), True),
        (rolling_back("superseded"), True),
        (rolling_back("aborted"), True),
        (rolling_back("rolled_back"), False),
        (Retiring(NOON, ""), False),
        (Settled(), False),
    ],
    ids=lambda value: str(value)[:24],
)
def test_it_counts_in_each_phase_in_which_the_candidate_has_requests(
    phase: Phase, expected: bool
) -> None:
    assert (failure(replace(ROLLOUT, phase=phase)) is not None) == expected
    paused = replace(ROLLOUT, phase=phase, paused=Pause("by ann", NOON))
    assert (failure(paused) is not None) == expected


def test_it_counts_after_promotion_as_long_as_the_release_is_watched() -> None:
    settled = replace(ROLLOUT, phase=Settled(), stable=TWO, candidate=None, previous=ONE)
    assert failure(settled) is None
    assert failure(replace(settled, watched_since=at(50)))


def test_what_a_rollback_restores_is_not_failed_by_the_alert_of_what_it_replaces() -> None:
    assert failure(replace(ROLLOUT, candidate=replace(TWO, is_restored=True))) is None


def test_a_rollout_that_began_before_this_was_recorded_counts_from_its_release() -> None:
    unrecorded = replace(ROLLOUT, begun_at=None)
    assert failure(unrecorded)
    assert failure(unrecorded, replace(ALERT, started_at=NOON)) is None
