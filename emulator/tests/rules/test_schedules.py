from __future__ import annotations

from datetime import UTC, datetime

import pytest

from compute_emulator.rules.schedules import Schedule, schedule_problem, schedule_status


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_a_schedule_is_active_from_its_start_for_its_duration() -> None:
    workday = Schedule("work", "0 8 * * Mon-Fri", 36_000, 5, "Europe/Berlin")
    assert schedule_status(workday, at("2026-01-05T06:59:59")).state == "READY"
    morning = schedule_status(workday, at("2026-01-05T07:00:00"))
    assert (morning.state, morning.changes_at) == ("ACTIVE", at("2026-01-05T17:00:00"))
    assert schedule_status(workday, at("2026-01-05T17:00:00")).state == "READY"
    assert schedule_status(workday, at("2026-01-10T09:00:00")).next_start == at(
        "2026-01-12T07:00:00"
    )


def test_a_time_zone_follows_daylight_saving_time() -> None:
    schedule = Schedule("s", "0 8 * * *", 3600, 1, "Europe/Berlin")
    assert schedule_status(schedule, at("2026-07-01T00:00:00")).next_start == at(
        "2026-07-01T06:00:00"
    )


def test_a_year_limits_the_schedule_which_then_is_obsolete() -> None:
    once = Schedule("once", "0 0 1 6 * 2026-2027", 600, 1)
    assert schedule_status(once, at("2026-07-01T00:00:00")).next_start == at("2027-06-01T00:00:00")
    assert schedule_status(once, at("2027-06-01T00:05:00")).state == "ACTIVE"
    assert schedule_status(once, at("2027-06-01T00:10:00")).state == "OBSOLETE"


def test_a_disabled_schedule_needs_no_vms() -> None:
    assert (
        schedule_status(
            Schedule("s", "* * * * *", 600, 1, is_disabled=True), at("2026-01-01T00:00:00")
        ).state
        == "DISABLED"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        Schedule("s", "61 * * * *", 600, 1),
        Schedule("s", "every day", 600, 1),
        Schedule("s", "0 8 * * *", 299, 1),
        Schedule("s", "0 8 * * *", 600, 1, "Mars/Olympus"),
        Schedule("s", "0 8 * * * someday", 600, 1),
    ],
)
def test_an_invalid_schedule_is_rejected_with_the_reason(wrong: Schedule) -> None:
    assert schedule_problem(wrong)


def test_a_valid_schedule_is_accepted() -> None:
    assert (
        schedule_problem(Schedule("s", "30 6 * * Mon,Tue 2026", 600, 1, "America/New_York")) is None
    )
