"""What each command changes, what it says of it, and when it changes nothing."""

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
    Transition,
    Verb,
)
from rollout.transitions import PhaseChange, shift, supersede_pending
from tests.rollout.build import NOON, at, release

ONE, TWO, THREE = release("1"), release("2"), release("3")
STEPPING, BAKING = Stepping(1, NOON), Baking(NOON)
BACK, RETIRING = (
    RollingBack("rolled_back", "unhealthy", "it was sick", NOON),
    Retiring(NOON, "retired"),
)
ON_THE_WAY = (STEPPING, BAKING)
OTHER_PHASES: tuple[Phase, ...] = (Settled(), BACK, RETIRING)
GIVEN, NOW = at(90), at(100)
PAUSED = Pause("paused by ann", at(40))


def command(verb: Verb, **fields: Any) -> Command:
    return Command(verb, f"event-{verb}", GIVEN, **fields)


def desired(of: Release | None = TWO, *commands: Command) -> Desired:
    return Desired("tiny", of, 2, commands)


def swapping(phase: Phase = STEPPING, **fields: Any) -> Rollout:
    """Release 2 on its way over release 1, with everything set that a command may clear."""
    rollout = Rollout(
        phase, ONE, TWO, steps_digest="abc", progress=Progress(1, NOON), failed_digests=("d",)
    )
    return replace(rollout, **fields)


def obeyed(rollout: Rollout, *commands: Command, of: Release | None = TWO) -> PhaseChange:
    found = apply_commands(rollout, desired(of, *commands), NOW)
    assert found.desired.commands == ()
    return found


def told(found: PhaseChange) -> list[tuple[str, str, str, str]]:
    return [(each.release, each.from_, each.to, each.why) for each in found.transitions]


# ---- Pause and resume


@pytest.mark.parametrize(("phase", "name"), [(STEPPING, "step_2"), (BAKING, "baking")])
def test_pause_holds_a_release_on_its_way_and_says_who_asked(phase: Phase, name: str) -> None:
    found = obeyed(
        swapping(phase, promoted=True), command("pause", requested_by="ann", reason="look first")
    )
    why = "paused by ann: look first"
    assert found.rollout == swapping(phase, promoted=True, paused=Pause(why, NOW))
    assert told(found) == [("2", name, "paused", why)]
    assert found.desired == desired()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "paused on command"),
        ({"requested_by": "ann"}, "paused by ann"),
        ({"reason": "look first"}, "paused on command: look first"),
    ],
)
def test_what_is_told_of_a_command_names_who_and_why_where_they_are_known(
    fields: dict[str, str], why: str
) -> None:
    assert told(obeyed(swapping(), command("pause", **fields))) == [("2", "step_2", "paused", why)]


@pytest.mark.parametrize("phase", ON_THE_WAY)
def test_resume_goes_on_as_if_the_pause_had_not_been(phase: Stepping | Baking) -> None:
    found = obeyed(
        swapping(phase, paused=PAUSED, progress=Progress(1, at(10), 1, at(20))), command("resume")
    )
    assert found.rollout.paused is None
    assert found.rollout.phase == replace(phase, since=at(60))
    assert found.rollout.progress == Progress(1, at(70), 1, at(80))
    [(version, before, after, why)] = told(found)
    assert (version, before, why) == ("2", after, "resumed on command")


def test_later_moves_what_runs_and_leaves_what_does_not() -> None:
    span = at(30) - NOON
    assert shift(swapping(progress=None), span) == swapping(Stepping(1, at(30)), progress=None)
    assert shift(swapping(), span).progress == Progress(1, at(30))
    for phase in OTHER_PHASES:
        assert shift(swapping(phase, progress=None), span) == swapping(phase, progress=None)


def test_resume_changes_nothing_where_nothing_is_paused() -> None:
    found = obeyed(swapping(), command("resume"))
    assert found == PhaseChange(swapping(), desired(), found.transitions)
    assert told(found) == [("2", "step_2", "step_2", "resume changes nothing: nothing is paused")]


# ---- Promote and abort


@pytest.mark.parametrize("phase", ON_THE_WAY)
def test_promote_ends_a_pause_and_marks_the_rollout(phase: Phase) -> None:
    found = obeyed(swapping(phase, paused=PAUSED), command("promote", requested_by="ann"))
    assert found.rollout == swapping(phase, promoted=True)
    [(version, _, after, why)] = told(found)
    assert (version, after, why) == ("2", "promoted", "promoted by ann")
    assert found.desired == desired()


@pytest.mark.parametrize("phase", ON_THE_WAY)
def test_abort_turns_back_and_wants_the_stable_release_again(phase: Phase) -> None:
    found = obeyed(
        swapping(phase, paused=PAUSED, promoted=True), command("abort", reason="wrong weights")
    )
    why = "aborted on command: wrong weights"
    assert found.rollout == swapping(RollingBack("aborted", "aborted", why, NOW), progress=None)
    assert found.desired == desired(ONE)
    [(version, _, after, said)] = told(found)
    assert (version, after, said) == ("2", "rolling_back", why)


def test_abort_leaves_a_newer_release_wanted() -> None:
    assert obeyed(swapping(), command("abort"), of=THREE).desired == desired(THREE)


def test_an_aborted_first_release_leaves_nothing_wanted() -> None:
    found = obeyed(swapping(stable=None), command("abort"))
    assert found.desired.release is None
    assert found.rollout.phase == RollingBack("aborted", "aborted", "aborted on command", NOW)


def test_abort_wants_the_stable_release_also_where_nothing_was_wanted() -> None:
    assert obeyed(swapping(), command("abort"), of=None).desired == desired(ONE)


@pytest.mark.parametrize("verb", ["pause", "promote", "abort"])
@pytest.mark.parametrize("phase", OTHER_PHASES)
def test_where_no_release_is_on_its_way_a_command_for_one_changes_nothing(
    verb: Verb, phase: Phase
) -> None:
    before = swapping(phase)
    found = obeyed(before, command(verb))
    assert (found.rollout, found.desired) == (before, desired())
    [(version, came, went, why)] = told(found)
    assert (version, came, why) == ("2", went, f"{verb} changes nothing: no release is on its way")


@pytest.mark.parametrize("verb", ["pause", "promote", "abort"])
def test_a_command_that_names_the_release_on_its_way_is_obeyed(verb: Verb) -> None:
    assert obeyed(swapping(), command(verb, version="2")).rollout != swapping()


@pytest.mark.parametrize("verb", ["pause", "resume", "promote", "abort"])
def test_a_command_that_names_another_release_changes_nothing(verb: Verb) -> None:
    before = swapping(paused=PAUSED)
    found = obeyed(before, command(verb, version="1"))
    assert (found.rollout, found.desired) == (before, desired())
    why = f"{verb} changes nothing: release 1 is not the one on its way"
    assert told(found) == [("2", "step_2", "step_2", why)]


# ---- Rollback


def test_rollback_of_a_settled_model_wants_what_served_before_and_by_one_step() -> None:
    found = obeyed(Rollout(stable=TWO, previous=ONE), command("rollback", requested_by="ann"))
    wanted = replace(ONE, generation=3, force=True, released_at=GIVEN)
    assert found.desired == Desired("tiny", wanted, 3)
    assert found.rollout == Rollout(stable=TWO, previous=ONE, promoted=True)
    assert told(found) == [("1", "settled", "asked", "rolled back by ann to release 1")]


def test_rollback_goes_to_the_release_it_names() -> None:
    found = obeyed(
        Rollout(stable=TWO, previous=ONE), command("rollback", version="3", release=THREE)
    )
    assert found.desired.release == replace(THREE, generation=3, force=True, released_at=GIVEN)
    assert told(found) == [("3", "settled", "asked", "rolled back on command to release 3")]


@pytest.mark.parametrize("fields", [{}, {"version": "1", "release": ONE}])
@pytest.mark.parametrize("phase", ON_THE_WAY)
def test_rollback_in_mid_rollout_is_to_abort(phase: Phase, fields: dict[str, Any]) -> None:
    found = obeyed(swapping(phase), command("rollback", **fields))
    assert found.rollout.phase == RollingBack("aborted", "aborted", "rolled back on command", NOW)
    assert found.desired == desired(ONE)


def test_rollback_of_a_first_release_on_its_way_is_to_abort_it() -> None:
    found = obeyed(swapping(stable=None), command("rollback"))
    assert found.rollout.phase == RollingBack("aborted", "aborted", "rolled back on command", NOW)


@pytest.mark.parametrize("stable", [ONE, None])
def test_rollback_to_a_third_release_in_mid_rollout_lets_the_rollout_give_way_to_it(
    stable: Release | None,
) -> None:
    found = obeyed(swapping(stable=stable), command("rollback", version="3", release=THREE))
    assert found.rollout == swapping(stable=stable)
    assert found.desired == Desired(
        "tiny", replace(THREE, generation=3, force=True, released_at=GIVEN), 3
    )
    assert told(found) == [("3", "step_2", "asked", "rolled back on command to release 3")]


def test_rollback_displaces_a_release_that_never_began() -> None:
    found = obeyed(Rollout(stable=TWO, previous=ONE), command("rollback"), of=THREE)
    why = "rolled back on command to release 1"
    assert told(found) == [
        ("3", "desired", "supersede_pending", why),
        ("1", "settled", "asked", why),
    ]


@pytest.mark.parametrize(
    ("rollout", "fields", "why"),
    [
        (swapping(BACK), {}, "it goes back already"),
        (Rollout(stable=TWO), {}, "no release served before this one"),
        (swapping(RETIRING, previous=ONE), {}, "the model is being retired"),
        (swapping(RETIRING), {"version": "3", "release": THREE}, "the model is being retired"),
        (
            Rollout(stable=TWO, previous=ONE),
            {"version": "2", "release": TWO},
            "release 2 serves already",
        ),
        (swapping(BACK), {"version": "1", "release": ONE}, "release 1 serves already"),
    ],
)
def test_a_rollback_to_nowhere_changes_nothing_and_says_why(
    rollout: Rollout, fields: dict[str, Any], why: str
) -> None:
    found = obeyed(rollout, command("rollback", **fields))
    assert (found.rollout, found.desired) == (rollout, desired())
    [(version, came, went, said)] = told(found)
    assert (version, came, said) == ("2", went, f"rollback changes nothing: {why}")


def test_a_rollback_to_a_named_release_is_taken_while_another_goes_back() -> None:
    found = obeyed(swapping(BACK), command("rollback", version="3", release=THREE))
    assert found.desired.release == replace(THREE, generation=3, force=True, released_at=GIVEN)
    assert not found.rollout.promoted


# ---- Retire


@pytest.mark.parametrize(
    "rollout", [swapping(paused=PAUSED, promoted=True), Rollout(stable=TWO), swapping(stable=None)]
)
def test_retire_removes_whatever_there_is(rollout: Rollout) -> None:
    found = obeyed(rollout, command("retire", requested_by="ann", reason="unused"))
    why = "retired by ann: unused"
    assert found.rollout == replace(
        rollout, phase=Retiring(NOW, why), paused=None, progress=None, promoted=False
    )
    assert found.desired == desired(None)
    [(version, _, after, said)] = told(found)
    assert (version, after, said) == ("2", "retiring", why)


def test_retire_names_a_version_in_vain_since_it_is_about_the_model() -> None:
    assert isinstance(
        obeyed(Rollout(stable=TWO), command("retire", version="9")).rollout.phase, Retiring
    )


def test_retiring_nothing_leaves_nothing_wanted() -> None:
    found = obeyed(Rollout(failed_digests=("d",)), command("retire"), of=None)
    assert (found.rollout, found.desired) == (Rollout(failed_digests=("d",)), desired(None))
    assert told(found) == [
        ("", "settled", "settled", "retire changes nothing: nothing of the model exists")
    ]


def test_a_release_that_waits_for_its_first_turn_ends_superseded_when_its_model_is_retired() -> (
    None
):
    found = obeyed(Rollout(), command("retire", requested_by="ann"), of=TWO)
    assert (found.rollout, found.desired) == (Rollout(), desired(None))
    assert told(found) == [
        ("2", "desired", "supersede_pending", "retired by ann"),
        ("", "settled", "settled", "retire changes nothing: nothing of the model exists"),
    ]
    assert [each.outcome for each in found.transitions] == ["supersede_pending", None]


# ---- Several, and what they displace


def test_commands_are_obeyed_in_order_and_each_is_told() -> None:
    found = obeyed(
        swapping(), command("pause"), command("resume"), command("abort"), command("promote")
    )
    assert [each.to for each in found.transitions] == [
        "paused",
        "step_2",
        "rolling_back",
        "rolling_back",
    ]
    assert isinstance(found.rollout.phase, RollingBack)


def test_without_commands_nothing_is_told() -> None:
    assert obeyed(swapping()) == PhaseChange(swapping(), desired())


@pytest.mark.parametrize(
    ("waiting", "is_told"), [(None, False), (ONE, False), (TWO, False), (THREE, True)]
)
def test_only_what_never_began_is_displaced(waiting: Release | None, is_told: bool) -> None:
    end = Transition("3", "desired", "supersede_pending", "because", "superseded", "superseded")
    assert supersede_pending(swapping(), desired(waiting), "because") == ((end,) if is_told else ())


def test_where_nothing_began_whatever_is_wanted_is_displaced() -> None:
    assert [each.release for each in supersede_pending(Rollout(), desired(ONE), "because")] == ["1"]
