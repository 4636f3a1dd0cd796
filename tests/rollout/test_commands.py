"""What each command changes, what it records, and when it changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rollout.commands import apply_commands
from rollout.model import (
    Baking,
    Command,
    Desired,
    Pause,
    Phase,
    Progress,
    Release,
    Retiring,
    RollingBack,
    Rollout,
    Settled,
    Stepping,
    Verb,
)
from rollout.transitions import PhaseChange
from tests.rollout.build import NOON, at, release

ONE, TWO, THREE = release("1"), release("2"), release("3")
STEPPING, BAKING = Stepping(1, NOON), Baking(NOON)
ROLLING_BACK = RollingBack("rolled_back", "unhealthy", "it was unhealthy", NOON)
RETIRING = Retiring(NOON, "retired")
IN_PROGRESS = (STEPPING, BAKING)
OTHER_PHASES: tuple[Phase, ...] = (Settled(), ROLLING_BACK, RETIRING)
GIVEN, NOW = at(90), at(100)
PAUSED = Pause("paused by ann", at(40))


def command(verb: Verb, **fields: Any) -> Command:
    return Command(verb, f"event-{verb}", GIVEN, **fields)


def desired(of: Release | None = TWO, *commands: Command) -> Desired:
    return Desired("tiny", of, 2, commands)


def swapping(phase: Phase = STEPPING, **fields: Any) -> Rollout:
    """Release 2 replaces release 1, with everything set that a command may clear."""
    rollout = Rollout(
        phase, ONE, TWO, steps_digest="abc", progress=Progress(1, NOON), failed_digests=("d",)
    )
    return replace(rollout, **fields)


def apply(rollout: Rollout, *commands: Command, of: Release | None = TWO) -> PhaseChange:
    """The change after `commands`, with `of` as the desired release."""
    change = apply_commands(rollout, desired(of, *commands), NOW)
    assert change.desired.commands == ()
    return change


def recorded(change: PhaseChange) -> list[tuple[str, str, str, str]]:
    return [(each.release, each.from_, each.to, each.why) for each in change.transitions]


def requested_again(of: Release) -> Release:
    """The release as a rollback command makes it the desired one."""
    return replace(of, generation=3, force=True, released_at=GIVEN)


# ---- Pause and resume


@pytest.mark.parametrize(("phase", "name"), [(STEPPING, "step_2"), (BAKING, "baking")])
def test_pause_stops_a_rollout_and_records_who_requested_it(phase: Phase, name: str) -> None:
    change = apply(
        swapping(phase, promoted=True), command("pause", requested_by="ann", reason="wait for bob")
    )
    why = "paused by ann: wait for bob"
    assert change.rollout == swapping(phase, promoted=True, paused=Pause(why, NOW))
    assert recorded(change) == [("2", name, "paused", why)]
    assert (change.desired, change.waiting_for) == (desired(), why)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "paused on command"),
        ({"requested_by": "ann"}, "paused by ann"),
        ({"reason": "wait for bob"}, "paused on command: wait for bob"),
    ],
)
def test_a_command_is_recorded_with_its_author_and_reason_if_given(
    fields: dict[str, str], why: str
) -> None:
    change = apply(swapping(), command("pause", **fields))
    assert recorded(change) == [("2", "step_2", "paused", why)]


@pytest.mark.parametrize("phase", IN_PROGRESS)
def test_resume_continues_as_if_there_had_been_no_pause(phase: Stepping | Baking) -> None:
    change = apply(
        swapping(phase, paused=PAUSED, progress=Progress(1, at(10), 1, at(20))), command("resume")
    )
    assert change.rollout.paused is None
    assert change.rollout.phase == replace(phase, since=at(60))
    assert change.rollout.progress == Progress(1, at(70), 1, at(80))
    [(version, before, after, why)] = recorded(change)
    assert (version, before, why) == ("2", after, "resumed on command")


def test_resume_changes_nothing_if_nothing_is_paused() -> None:
    change = apply(swapping(), command("resume"))
    assert change == PhaseChange(swapping(), desired(), change.transitions)
    why = "resume changes nothing: nothing is paused"
    assert recorded(change) == [("2", "step_2", "step_2", why)]


# ---- Promote and abort


@pytest.mark.parametrize("phase", IN_PROGRESS)
def test_promote_ends_a_pause_and_marks_the_rollout(phase: Phase) -> None:
    change = apply(swapping(phase, paused=PAUSED), command("promote", requested_by="ann"))
    assert change.rollout == swapping(phase, promoted=True)
    [(version, _, after, why)] = recorded(change)
    assert (version, after, why) == ("2", "promoted", "promoted by ann")
    assert change.desired == desired()


@pytest.mark.parametrize("phase", IN_PROGRESS)
def test_abort_rolls_back_and_makes_the_stable_release_the_desired_one(phase: Phase) -> None:
    change = apply(
        swapping(phase, paused=PAUSED, promoted=True), command("abort", reason="wrong weights")
    )
    why = "aborted on command: wrong weights"
    assert change.rollout == swapping(RollingBack("aborted", "aborted", why, NOW), progress=None)
    assert change.desired == desired(ONE)
    [transition] = change.transitions
    assert (transition.release, transition.to) == ("2", "rolling_back")
    assert transition.why == f"{why}; rolls back to release 1"
    assert (transition.reason, transition.outcome) == ("aborted", None)


def test_abort_keeps_a_newer_release_desired() -> None:
    assert apply(swapping(), command("abort"), of=THREE).desired == desired(THREE)


def test_after_the_abort_of_a_first_release_nothing_is_desired() -> None:
    change = apply(swapping(stable=None), command("abort"))
    assert change.desired.release is None
    assert change.rollout.phase == RollingBack("aborted", "aborted", "aborted on command", NOW)
    why = "aborted on command; removes it, since no release served before it"
    assert recorded(change) == [("2", "step_2", "rolling_back", why)]


def test_abort_makes_the_stable_release_desired_even_if_nothing_was() -> None:
    assert apply(swapping(), command("abort"), of=None).desired == desired(ONE)


@pytest.mark.parametrize("verb", ["pause", "promote", "abort"])
@pytest.mark.parametrize("phase", OTHER_PHASES)
def test_a_command_for_a_rollout_changes_nothing_if_there_is_none(verb: Verb, phase: Phase) -> None:
    before = swapping(phase)
    change = apply(before, command(verb))
    assert (change.rollout, change.desired) == (before, desired())
    [(version, from_, to, why)] = recorded(change)
    assert (version, from_) == ("2", to)
    assert why == f"{verb} changes nothing: no release is being rolled out"


@pytest.mark.parametrize("verb", ["pause", "resume", "promote", "abort"])
def test_a_command_for_a_rollout_leaves_a_settled_model_alone(verb: Verb) -> None:
    change = apply(Rollout(stable=TWO), command(verb))
    assert (change.rollout, change.desired) == (Rollout(stable=TWO), desired())
    [(version, from_, to, why)] = recorded(change)
    assert (version, from_, to) == ("2", "settled", "settled")
    assert why.startswith(f"{verb} changes nothing: ")


@pytest.mark.parametrize("verb", ["pause", "promote", "abort"])
def test_a_command_that_names_the_candidate_is_applied(verb: Verb) -> None:
    assert apply(swapping(), command(verb, version="2")).rollout != swapping()


@pytest.mark.parametrize("verb", ["pause", "resume", "promote", "abort"])
def test_a_command_that_names_another_release_changes_nothing(verb: Verb) -> None:
    before = swapping(paused=PAUSED)
    change = apply(before, command(verb, version="1"))
    assert (change.rollout, change.desired) == (before, desired())
    why = f"{verb} changes nothing: release 1 is not being rolled out"
    assert recorded(change) == [("2", "step_2", "step_2", why)]


# ---- Rollback


def test_rollback_of_a_settled_model_requests_the_previous_release_in_one_step() -> None:
    change = apply(Rollout(stable=TWO, previous=ONE), command("rollback", requested_by="ann"))
    assert change.desired == Desired("tiny", requested_again(ONE), 3)
    assert change.rollout == Rollout(stable=TWO, previous=ONE, promoted=True)
    assert recorded(change) == [("1", "settled", "desired", "rolled back by ann to release 1")]


def test_rollback_requests_the_release_it_names() -> None:
    change = apply(
        Rollout(stable=TWO, previous=ONE), command("rollback", version="3", release=THREE)
    )
    assert change.desired.release == requested_again(THREE)
    why = "rolled back on command to release 3"
    assert recorded(change) == [("3", "settled", "desired", why)]


@pytest.mark.parametrize("fields", [{}, {"version": "1", "release": ONE}])
@pytest.mark.parametrize("phase", IN_PROGRESS)
def test_rollback_to_the_stable_release_during_a_rollout_aborts_it(
    phase: Phase, fields: dict[str, Any]
) -> None:
    change = apply(swapping(phase), command("rollback", **fields))
    assert change.rollout.phase == RollingBack("aborted", "aborted", "rolled back on command", NOW)
    assert change.desired == desired(ONE)


def test_rollback_during_the_rollout_of_a_first_release_aborts_it() -> None:
    change = apply(swapping(stable=None), command("rollback"))
    assert change.rollout.phase == RollingBack("aborted", "aborted", "rolled back on command", NOW)


@pytest.mark.parametrize("stable", [ONE, None])
def test_rollback_to_a_third_release_during_a_rollout_makes_that_release_the_newer_one(
    stable: Release | None,
) -> None:
    change = apply(swapping(stable=stable), command("rollback", version="3", release=THREE))
    assert change.rollout == swapping(stable=stable)
    assert change.desired == Desired("tiny", requested_again(THREE), 3)
    why = "rolled back on command to release 3"
    assert recorded(change) == [("3", "step_2", "desired", why)]


def test_rollback_supersedes_a_release_whose_rollout_never_began() -> None:
    change = apply(Rollout(stable=TWO, previous=ONE), command("rollback"), of=THREE)
    why = "rolled back on command to release 1"
    assert recorded(change) == [
        ("3", "desired", "superseded", why),
        ("1", "settled", "desired", why),
    ]


@pytest.mark.parametrize(
    ("rollout", "fields", "why"),
    [
        (swapping(ROLLING_BACK), {}, "it is being rolled back already"),
        (Rollout(stable=TWO), {}, "no release served before this one"),
        (swapping(RETIRING, previous=ONE), {}, "the model is being retired"),
        (swapping(RETIRING), {"version": "3", "release": THREE}, "the model is being retired"),
        (
            Rollout(stable=TWO, previous=ONE),
            {"version": "2", "release": TWO},
            "release 2 serves already",
        ),
        (swapping(ROLLING_BACK), {"version": "1", "release": ONE}, "release 1 serves already"),
    ],
)
def test_a_rollback_without_a_goal_changes_nothing_and_says_why(
    rollout: Rollout, fields: dict[str, Any], why: str
) -> None:
    change = apply(rollout, command("rollback", **fields))
    assert (change.rollout, change.desired) == (rollout, desired())
    [(version, from_, to, text)] = recorded(change)
    assert (version, from_, text) == ("2", to, f"rollback changes nothing: {why}")


def test_a_rollback_to_a_named_release_is_applied_while_another_is_rolled_back() -> None:
    change = apply(swapping(ROLLING_BACK), command("rollback", version="3", release=THREE))
    assert change.desired.release == requested_again(THREE)
    assert not change.rollout.promoted


# ---- Retire


@pytest.mark.parametrize(
    "rollout", [swapping(paused=PAUSED, promoted=True), Rollout(stable=TWO), swapping(stable=None)]
)
def test_retire_removes_every_release(rollout: Rollout) -> None:
    change = apply(rollout, command("retire", requested_by="ann", reason="unused"))
    why = "retired by ann: unused"
    assert change.rollout == replace(
        rollout, phase=Retiring(NOW, why), paused=None, progress=None, promoted=False
    )
    assert change.desired == desired(None)
    [(version, _, to, text)] = recorded(change)
    assert (version, to, text) == ("2", "retiring", why)


def test_retire_is_about_the_model_whatever_version_it_names() -> None:
    change = apply(Rollout(stable=TWO), command("retire", version="9"))
    assert isinstance(change.rollout.phase, Retiring)


def test_retire_of_a_model_without_a_release_changes_nothing() -> None:
    change = apply(Rollout(failed_digests=("d",)), command("retire"), of=None)
    assert (change.rollout, change.desired) == (Rollout(failed_digests=("d",)), desired(None))
    why = "retire changes nothing: nothing of the model exists"
    assert recorded(change) == [("", "settled", "settled", why)]


def test_retire_supersedes_a_first_release_whose_rollout_never_began() -> None:
    change = apply(Rollout(), command("retire", requested_by="ann"), of=TWO)
    assert (change.rollout, change.desired) == (Rollout(), desired(None))
    assert recorded(change) == [
        ("2", "desired", "superseded", "retired by ann"),
        ("", "settled", "settled", "retire changes nothing: nothing of the model exists"),
    ]
    assert [each.outcome for each in change.transitions] == ["superseded", None]


def test_retire_during_a_rollout_supersedes_a_newer_release() -> None:
    change = apply(swapping(), command("retire"), of=THREE)
    assert [(each.release, each.outcome) for each in change.transitions] == [
        ("3", "superseded"),
        ("2", None),
    ]


# ---- Several commands


def test_commands_are_applied_in_order_and_each_is_recorded() -> None:
    change = apply(
        swapping(), command("pause"), command("resume"), command("abort"), command("promote")
    )
    assert [each.to for each in change.transitions] == [
        "paused",
        "step_2",
        "rolling_back",
        "rolling_back",
    ]
    assert isinstance(change.rollout.phase, RollingBack)


def test_without_commands_nothing_changes() -> None:
    assert apply(swapping()) == PhaseChange(swapping(), desired())
