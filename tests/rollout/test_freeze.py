"""Freeze windows: when they hold, by whose clock, and which are refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rollout.advance import advance
from rollout.model import Evidence, Frozen, Release, Rollout, Stepping, phase_name
from rollout.policy.freeze import cuts, frozen, load_freezes
from rollout.policy.policy import load_policy
from tests.rollout.build import NOON, at, group, instances
from tests.rollout.swap import HEALTHY_STEP, NOW, ONE, THREE, TWO, desired, serving, swapping

WEEKEND = {"reason": "weekend", "from": "fri 18:00", "to": "mon 08:00"}
YEAR_END = {"reason": "year end", "from": "2026-12-23T18:00", "to": "2027-01-04T08:00"}


def until(window: dict[str, Any], now: str) -> str | None:
    found = frozen(load_freezes([window]), datetime.fromisoformat(now).replace(tzinfo=UTC))
    return f"{found.until:%a %H:%M}" if found else None


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-11-27T17:59", None),  # a Friday
        ("2026-11-27T18:00", "Mon 08:00"),
        ("2026-11-29T12:00", "Mon 08:00"),
        ("2026-11-30T07:59", "Mon 08:00"),
        ("2026-11-30T08:00", None),
    ],
)
def test_a_weekly_window_begins_and_ends_on_the_minute(now: str, expected: str | None) -> None:
    assert until(WEEKEND, now) == expected


def test_a_window_follows_the_clock_of_its_time_zone() -> None:
    berlin = {**WEEKEND, "timezone": "Europe/Berlin"}
    assert until(berlin, "2026-11-27T17:00") == "Mon 07:00"  # an hour ahead of UTC
    # Summer time begins within the window: two hours ahead at its end.
    assert until(berlin, "2026-03-28T12:00") == "Mon 06:00"


def test_a_window_of_dates_happens_once() -> None:
    assert until(YEAR_END, "2026-12-31T00:00") == "Mon 08:00"
    assert until(YEAR_END, "2027-12-31T00:00") is None


def test_the_window_that_ends_last_counts() -> None:
    now = datetime(2026, 12, 26, tzinfo=UTC)  # a Saturday
    found = frozen(load_freezes([WEEKEND, YEAR_END]), now)
    assert found is not None
    assert found.why == "frozen until 2027-01-04 08:00 UTC: year end"


def test_a_rollout_is_cut_by_every_window_before_its_end() -> None:
    """An hour from Friday 17:30 on: 30 minutes, the weekend, a night that follows at once, 30 more;
    without the windows that are over by then, or begin later.
    """
    night = {"reason": "night", "from": "2026-11-30T07:00", "to": "2026-11-30T10:00"}
    later = {"reason": "later", "from": "2026-11-30T10:30", "to": "2026-11-30T11:00"}
    now = datetime(2026, 11, 27, 17, 30, tzinfo=UTC)
    freezes = load_freezes([later, night, WEEKEND, YEAR_END])
    found, end = cuts(freezes, now, timedelta(hours=1))
    assert [str(each) for each in found] == [
        "frozen from 2026-11-27 18:00 to 2026-11-30 08:00 UTC: weekend",
        "frozen from 2026-11-30 07:00 to 2026-11-30 10:00 UTC: night",
    ]
    assert end == datetime(2026, 11, 30, 10, 30, tzinfo=UTC)
    assert cuts(freezes, now, timedelta(minutes=30)) == ((), now + timedelta(minutes=30))
    two_weeks, _ = cuts(load_freezes([WEEKEND]), now, timedelta(days=6))
    assert [f"{each.since:%d}" for each in two_weeks] == ["27", "04"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"from": "friday"}, 'freezes[0].from must be a day and time, such as "fri 18:00"'),
        ({"from": "2026-12-01T00:00"}, "from and to must both be weekly, or both dates"),
        ({"to": "fri 18:00"}, "freezes[0].to must be after from"),
        ({"timezone": "Mars/Base"}, "freezes[0].timezone must be a time zone's name"),
        ({"timezone": 1}, "freezes[0].timezone must be a time zone's name"),
        ({"reason": ""}, "freezes[0].reason must say why"),
        ({"rollbacks": "no"}, "freezes[0].rollbacks must be true or false"),
        ({"until": "x"}, "freezes[0] has unknown fields until"),
    ],
)
def test_an_invalid_window_is_refused_with_its_field(change: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match="settings/policy") as refused:
        load_policy({"freezes": [WEEKEND | change]})
    assert why in str(refused.value)


BACK = replace(THREE, is_restored=True)
"""What a commanded rollback restores."""


@pytest.mark.parametrize(
    ("rollout", "newer", "rollbacks", "phase"),
    [
        (serving(ONE), TWO, False, "settled"),
        (serving(TWO), BACK, False, "step_3"),
        (serving(TWO), BACK, True, "settled"),
        (swapping(Stepping(0, NOON)), THREE, False, "step_1"),
        (swapping(Stepping(0, NOON)), BACK, False, "rolling_back"),
        (swapping(Stepping(0, NOON)), BACK, True, "step_1"),
    ],
    ids=["begin", "roll back", "roll back: frozen too", "newer", "back", "back: frozen too"],
)
def test_a_freeze_keeps_releases_waiting_and_rollbacks_only_if_it_says_so(
    rollout: Rollout, newer: Release, rollbacks: bool, phase: str
) -> None:
    window = Frozen("frozen", at(3600), rollbacks)
    observed = HEALTHY_STEP if rollout.candidate else group(*instances(rollout.stable or ONE, 4))
    decision = advance(rollout, desired(newer), observed, Evidence(frozen=window), NOW)
    assert phase_name(decision.rollout.phase) == phase
    blocked = phase in ("settled", "step_1")
    assert [each.type for each in decision.conditions] == (["Frozen"] if blocked else [])
