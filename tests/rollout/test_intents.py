"""Whatever the order of delivery, the line of intents decides: with no pass in between, or with
one.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta

import pytest

from rollout.intents import MAX_LINE, REMEMBERED, base_of, fold
from rollout.model import Intent, Pause, Rollout, Stepping
from rollout.transitions import roll_back
from tests.rollout.build import NOON, at
from tests.rollout.line import ONE, SERVING, TWO, End, Model, intent, line

NAMES = (
    *("release", "pause", "resume", "promote full", "abort"),
    *("rollback", "rollback 1", "rollback 2", "retire"),
)
IN_THREES = ("release", "abort", "rollback", "rollback 1", "retire")


def end_of(delivered: tuple[Intent, ...], passes: int = 0, rollout: Rollout = SERVING) -> End:
    model = Model(rollout)
    for each in delivered:
        model.deliver(each)
        model.run_passes(passes, 0.1)
    return model.end()


def ends(names: tuple[str, ...], seconds_apart: float = 2) -> set[End]:
    """A retirement that a newer release follows is carried out or skipped."""
    published = line(names, seconds_apart)
    found = {
        end_of(delivered, passes)
        for delivered in itertools.permutations(published)
        for passes in (0, 1)
    }
    return {replace(end, serves=None) for end in found} if "retire" in names else found


@pytest.mark.parametrize("seconds_apart", [2, 0])
def test_two_intents_end_alike_in_each_order_of_delivery(seconds_apart: float) -> None:
    """With `seconds_apart` 0 they have one publish time, and the event's id decides."""
    for names in itertools.product(NAMES, repeat=2):
        assert len(ends(names, seconds_apart)) == 1, names


@pytest.mark.parametrize("first", IN_THREES)
def test_three_intents_end_alike_in_each_order_of_delivery(first: str) -> None:
    for others in itertools.product(IN_THREES, repeat=2):
        assert len(ends((first, *others))) == 1, (first, *others)


@pytest.mark.parametrize(
    ("names", "desired", "is_paused"),
    [
        ("release", "3", False),
        ("release, release", "4", False),
        ("release, pause", "3", True),
        ("release, pause, resume", "3", False),
        ("release, pause, promote", "3", False),
        ("release, abort", "2", False),
        ("release, release, abort", "2", False),
        ("pause, resume, promote, release", "6", False),
        ("release, rollback", "2", False),
        ("rollback", "1", False),
        ("rollback, rollback", "1", False),
        ("rollback 1, rollback", "1", False),
        ("rollback, rollback 1", "1", False),
        ("rollback, rollback 2", "2", False),
        ("rollback, release", "4", False),
        ("rollback, release, abort", "1", False),
        ("rollback, release, rollback", "1", False),
        ("release, rollback, rollback", "2", False),
        ("release, abort, abort", "2", False),
        ("rollback, release, abort, abort", "1", False),
        ("retire", None, False),
        ("release, retire", None, False),
        ("retire, release", "4", False),
        ("retire, release, abort", None, False),
        ("retire, rollback", None, False),
        ("retire, rollback 1", "1", False),
    ],
)
@pytest.mark.parametrize("passes", [0, 1])
def test_the_last_word_counts(
    names: str, desired: str | None, is_paused: bool, passes: int
) -> None:
    end = end_of(line(names.split(", ")), passes)
    assert (end.desired, end.is_paused) == (desired, is_paused)


@pytest.mark.parametrize("minutes", [0.7, 3, 70])
@pytest.mark.parametrize("second", ["rollback", "rollback 1"])
@pytest.mark.parametrize("names", ["rollback", "rollback 1", "release, rollback"])
def test_a_second_rollback_never_brings_the_bad_release_back(
    names: str, second: str, minutes: float
) -> None:
    model = Model()
    for each in line(names.split(", ")):
        model.deliver(each)
        model.run_passes(1)
    goal = model.desired.release
    model.run_passes(int(minutes * 6), 10)
    if second == "rollback" or goal == ONE:
        model.deliver(intent(second, 8, model.now))
        assert model.end().serves == (goal and goal.version)


def test_a_command_waits_for_a_release_that_was_published_before_it() -> None:
    published, paused = line(("release", "pause"))
    model = Model()
    model.deliver(paused)
    model.run_passes(100, 30)
    model.deliver(published)
    assert model.end() == End("3", True, "2")


def test_a_skipped_retirement_is_carried_out_when_the_newer_release_fails() -> None:
    retired, published = line(("retire", "release"))
    model = Model()
    model.deliver(published)
    model.run_passes(1)
    model.deliver(retired)
    assert model.rollout.candidate
    failed = roll_back(
        model.rollout, model.desired, "rolled_back", "unhealthy", "it failed", model.now
    )
    model.rollout, model.desired = failed.rollout, failed.desired
    assert model.end() == End(None, False, None)


def test_old_intents_are_forgotten_and_the_newest_decision_is_not() -> None:
    model = Model()
    for each in line(("release", "pause", "resume", "abort")):
        model.deliver(each)
    model.now += 2 * REMEMBERED
    model.deliver(intent("pause", 9, model.now))
    assert [each.verb for each in model.desired.line] == ["release", "pause"]
    model.deliver(intent("rollback", 10, model.now))
    assert model.end() == End("2", False, "2")


def test_a_command_that_arrives_late_is_about_the_release_of_its_time() -> None:
    """Even if that has been rolled out for hours, and a newer one came first."""
    model = Model(SERVING)
    model.deliver(line(("release",))[0])
    model.now += 2 * REMEMBERED
    command = intent("rollback", 8, model.now)
    model.deliver(intent("release", 9, model.now + timedelta(seconds=2)))
    model.deliver(command)
    model.deliver(intent("abort", 10, model.now + timedelta(seconds=4)))
    assert model.end() == End("2", False, "2")


def test_a_line_has_a_bounded_length() -> None:
    model = Model()
    names = ("release", *("pause", "resume") * MAX_LINE)
    for each in line(names, 0.1):
        model.deliver(each)
    assert len(model.desired.line) == MAX_LINE
    assert model.end() == End("3", False, "3")


def test_the_target_of_a_command_is_recorded() -> None:
    model = Model()
    for each in line(("release", "pause")):
        model.deliver(each)
    assert [each.target for each in model.desired.line] == [0, 3]
    assert fold(model.rollout, model.desired).targets == {"event-4": 3}


def test_a_release_inherits_from_the_newest_good_one_before_it() -> None:
    model = Model()
    first, second = line(("release", "release"))
    model.deliver(first)
    model.run_passes(1)
    candidate, later = model.rollout.candidate, at(60)
    assert candidate
    assert isinstance(model.rollout.phase, Stepping)
    key = replace(second, published_at=later).key
    assert base_of(model.rollout, model.desired, key) == candidate
    assert base_of(model.rollout, model.desired, replace(first.key, published_at=at(-1))) == TWO
    failed = replace(model.rollout, paused=Pause("it failed", NOON, after_failure=True))
    assert base_of(failed, model.desired, key) == TWO
    model.deliver(intent("retire", 5, at(50)))
    assert base_of(model.rollout, model.desired, key) is None
