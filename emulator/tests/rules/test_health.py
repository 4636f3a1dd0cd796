from __future__ import annotations

from compute_emulator.rules.health import (
    Check,
    ProbeHistory,
    changes_from_now,
    next_change,
    verdict_and_was_healthy,
    verdict_at,
    verdict_changes,
)

FIVE = Check(interval_seconds=5, healthy_threshold=2, unhealthy_threshold=3)


def test_a_vm_is_unknown_then_unhealthy_until_enough_probes_succeed() -> None:
    answers = ProbeHistory(since=100.0, changes=(130.0,))
    assert list(verdict_changes(answers, FIVE)) == [
        (100.0, "UNKNOWN"),
        (115.0, "UNHEALTHY"),
        (135.0, "HEALTHY"),
    ]
    assert [verdict_at(answers, FIVE, t) for t in (100, 114, 115, 134.9, 135)] == [
        "UNKNOWN",
        "UNKNOWN",
        "UNHEALTHY",
        "UNHEALTHY",
        "HEALTHY",
    ]


def test_a_quick_start_goes_from_unknown_to_healthy() -> None:
    assert list(verdict_changes(ProbeHistory(0.0, (1.0,)), FIVE)) == [
        (0.0, "UNKNOWN"),
        (10.0, "HEALTHY"),
    ]


def test_a_failure_shorter_than_the_threshold_changes_nothing() -> None:
    answers = ProbeHistory(0.0, changes=(1.0, 101.0, 109.0))
    assert list(verdict_changes(answers, FIVE)) == [(0.0, "UNKNOWN"), (10.0, "HEALTHY")]


def test_a_vm_that_dies_is_unhealthy_after_the_threshold_of_failed_probes() -> None:
    answers = ProbeHistory(0.0, changes=(1.0, 101.0))
    assert list(verdict_changes(answers, FIVE))[-1] == (115.0, "UNHEALTHY")
    assert verdict_and_was_healthy(answers, FIVE, 500.0) == ("UNHEALTHY", True)
    assert verdict_and_was_healthy(answers, FIVE, 9.0) == ("UNKNOWN", False)


def test_the_next_change_is_known_in_advance_and_absent_if_none_is_left() -> None:
    answers = ProbeHistory(0.0, changes=(1.0,))
    assert next_change(answers, FIVE, 3.0) == 10.0
    assert next_change(answers, FIVE, 10.0) is None


def test_an_early_result_replaces_the_future_and_keeps_the_past() -> None:
    assert changes_from_now((10.0, 50.0), is_good=False, now=20.0) == (10.0, 20.0)
    assert changes_from_now((10.0, 50.0), is_good=True, now=20.0) == (10.0,)
    assert changes_from_now((10.0, 50.0), is_good=True, now=60.0) == (10.0, 50.0, 60.0)


def test_a_change_at_the_moment_of_a_result_does_not_revert_it() -> None:
    check = Check(interval_seconds=5.0, healthy_threshold=2, unhealthy_threshold=2)
    assert verdict_and_was_healthy(ProbeHistory(0.0, (10.0, 15.0)), check, 15.0) == (
        "HEALTHY",
        True,
    )
    assert verdict_and_was_healthy(ProbeHistory(0.0, (10.0, 15.0)), check, 20.0) == (
        "UNHEALTHY",
        True,
    )
