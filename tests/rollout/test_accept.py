"""What a release or command changes when it is accepted, what it records, and when it changes
nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rollout.accept import accept
from rollout.advance import mark_observed
from rollout.model import (
    Baking,
    Desired,
    Intent,
    Pause,
    Phase,
    Progress,
    Release,
    Retiring,
    RollingBack,
    Rollout,
    Stepping,
    Verb,
)
from rollout.transitions import PhaseChange, begin
from tests.rollout.build import NOON, at, release

ONE, TWO, THREE = release("1"), release("2"), release("3")
STEPPING, BAKING = Stepping(1, NOON), Baking(NOON)
ROLLING_BACK = RollingBack("rolled_back", "unhealthy", "it was unhealthy", NOON)
IN_PROGRESS = (STEPPING, BAKING)
GIVEN, NOW = at(90), at(100)
PAUSED = Pause("paused by ann", at(40))


def command(verb: Verb, version: str = "", goal: Release | None = None, **fields: Any) -> Intent:
    generation = 9 if verb == "rollback" else 0
    return Intent(verb, f"event-{verb}", GIVEN, GIVEN, version, generation, goal, **fields)


def swapping(phase: Phase = STEPPING, **fields: Any) -> Rollout:
    """Release 2 replaces release 1, with everything set that a command may clear."""
    rollout = Rollout(
        phase, ONE, TWO, steps_digest="abc", progress=Progress(1, NOON), failed_digests=("d",)
    )
    return replace(rollout, **fields)


def apply(rollout: Rollout, *commands: Intent, of: Release | None = TWO) -> PhaseChange:
    """The change after `commands`, with `of` as the desired release."""
    published = [_published(each) for each in (ONE, TWO, THREE) if each in (ONE, TWO, of)]
    change = PhaseChange(rollout, Desired("tiny", of, 3, line=tuple(published)))
    for each in commands:
        one = accept(change.rollout, change.desired, each, NOW)
        change = replace(one, transitions=(*change.transitions, *one.transitions))
    return change


def _published(of: Release) -> Intent:
    return Intent("release", of.event_id, NOON, NOON, of.version, of.generation)


def recorded(change: PhaseChange) -> list[tuple[str, str, str, str]]:
    return [(each.release, each.from_, each.to, each.why) for each in change.transitions]


# ---- A release in progress


@pytest.mark.parametrize(("phase", "name"), [(STEPPING, "step_2"), (BAKING, "baking")])
@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "paused on command"),
        ({"requested_by": "ann"}, "paused by ann"),
        ({"reason": "wait for bob"}, "paused on command: wait for bob"),
    ],
)
def test_pause_stops_a_rollout_and_records_who_requested_it_and_why(
    phase: Phase, name: str, fields: dict[str, Any], why: str
) -> None:
    change = apply(swapping(phase, promoted=True), command("pause", **fields))
    assert change.rollout == swapping(phase, promoted=True, paused=Pause(why, NOW))
    assert recorded(change) == [("2", name, "paused", why)]
    assert change.desired.release == TWO


@pytest.mark.parametrize("phase", IN_PROGRESS)
def test_resume_continues_as_if_there_had_been_no_pause(phase: Stepping | Baking) -> None:
    before = swapping(phase, paused=PAUSED, progress=Progress(1, at(10), size=4))
    change = apply(before, command("resume"))
    assert change.rollout.paused is None
    assert change.rollout.phase == replace(phase, since=at(60))
    assert change.rollout.progress == Progress(1, at(70), size=4)
    [(version, origin, to, why)] = recorded(change)
    assert (version, origin, why) == ("2", to, "resumed on command")


def test_a_pause_does_not_count_as_bake_time() -> None:
    baking = swapping(BAKING, paused=Pause("paused by ann", at(100)), last_observed_at=at(1050))
    resume = replace(command("resume"), published_at=at(1099))
    change = accept(baking, apply(baking).desired, resume, at(1100))
    resumed = mark_observed(change.rollout, at(1101))
    assert resumed.phase == Baking(at(1000))


@pytest.mark.parametrize("phase", IN_PROGRESS)
@pytest.mark.parametrize("is_full", [False, True])
def test_promote_ends_a_pause_and_the_hold(phase: Stepping | Baking, is_full: bool) -> None:
    """With `full` also what follows."""
    promote = replace(command("promote", requested_by="ann", is_full=is_full))
    change = apply(swapping(phase, paused=PAUSED), promote)
    rollout = change.rollout
    assert rollout.paused is None
    assert rollout.phase == replace(phase, since=at(60), is_promoted=not is_full)
    assert rollout.promoted is is_full
    [(version, _, to, why)] = recorded(change)
    ended = {"stepping": "the hold of step_2", "baking": "the bake time"}
    name = "stepping" if phase == STEPPING else "baking"
    full, one = "promoted by ann", f"promoted by ann; ends {ended[name]}"
    assert (version, to, why) == ("2", "promoted", full if is_full else one)


def test_promote_does_not_end_a_step_that_began_after_it_was_published() -> None:
    later = swapping(Stepping(2, at(95)))
    change = apply(later, command("promote"))
    assert change.rollout == later
    assert recorded(change)[-1][3].endswith("nothing: step_3 began after it was published")


def test_retry_judges_a_failed_candidate_anew() -> None:
    failed = Pause("3 of 4 instances are unhealthy", at(80), after_failure=True)
    worn = Progress(3, at(10), at(20), "a zone is down", 4, 4, "x@1", "5")
    phase = replace(STEPPING, weight=50, routed_since=at(30))
    change = apply(swapping(phase, paused=failed, progress=worn), command("retry"))
    anew = swapping(
        replace(phase, since=NOW),
        progress=Progress(0, NOW, initial_size=4),
        begun_at=NOW,
        last_observed_at=NOW,
    )
    assert change.rollout == anew
    assert recorded(change) == [("2", "step_2", "step_2", "tried again on command")]
    healthy = apply(swapping(), command("retry"))
    assert healthy.rollout == swapping()
    assert recorded(healthy)[-1][3] == "retry changes nothing: it has not failed"


def test_retry_ends_a_full_promotion_that_can_be_asked_for_again() -> None:
    """It was stopped by the failure, and would end the step that is judged anew at once."""
    failed = Pause("http_errors: 37 of 1,500", at(40), after_failure=True)
    promote = command("promote", is_full=True)
    promoted = apply(swapping(), promote)
    stopped = replace(promoted.rollout, paused=failed)
    anew = accept(stopped, promoted.desired, command("retry"), NOW)
    assert (stopped.promoted, anew.rollout.promoted, anew.rollout.paused) == (True, False, None)
    again = replace(promote, event_id="event-again")
    assert accept(anew.rollout, anew.desired, again, NOW).rollout.promoted


@pytest.mark.parametrize("verb", ["resume", "promote"])
def test_nobody_goes_on_over_a_failure_that_had_not_happened_yet(verb: Verb) -> None:
    failed = Pause("3 of 4 instances are unhealthy", at(95), after_failure=True)
    assert apply(swapping(paused=failed), command(verb)).rollout.paused == failed
    earlier = replace(failed, since=at(80))
    assert apply(swapping(paused=earlier), command(verb)).rollout.paused is None


@pytest.mark.parametrize("verb", ["abort", "rollback"])
@pytest.mark.parametrize("phase", IN_PROGRESS)
def test_abort_and_rollback_return_to_the_stable_release(phase: Phase, verb: Verb) -> None:
    before = swapping(phase, paused=PAUSED, promoted=True)
    change = apply(before, command(verb, reason="wrong weights"))
    done = {"abort": "aborted", "rollback": "rolled back"}[verb]
    why = f"{done} on command: wrong weights"
    back = RollingBack("aborted", "aborted", why, NOW)
    assert change.rollout == swapping(back, progress=None, last_failed="2")
    assert change.desired.release == ONE
    [transition] = change.transitions
    assert (transition.release, transition.to) == ("2", "rolling_back")
    assert transition.why == f"{why}; rolls back to release 1"
    assert (transition.reason, transition.outcome) == ("aborted", None)


@pytest.mark.parametrize("verb", ["abort", "rollback"])
def test_after_the_abort_of_a_first_release_nothing_is_desired(verb: Verb) -> None:
    change = apply(swapping(stable=None), command(verb))
    assert change.desired.release is None
    [transition] = change.transitions
    assert transition.why.endswith("; removes it, since no release served before it")


@pytest.mark.parametrize("verb", ["pause", "promote", "abort"])
def test_a_command_that_names_the_release_in_progress_is_applied(verb: Verb) -> None:
    assert apply(swapping(), command(verb, "2")).rollout != swapping()


@pytest.mark.parametrize("verb", ["pause", "resume", "promote", "abort"])
def test_a_command_that_names_another_release_changes_nothing(verb: Verb) -> None:
    before = swapping(paused=PAUSED)
    change = apply(before, command(verb, "1"))
    assert (change.rollout, change.desired.release) == (before, TWO)
    why = f"{verb} changes nothing: release 1 is not being rolled out"
    assert recorded(change) == [("2", "step_2", "step_2", why)]


@pytest.mark.parametrize(
    ("rollout", "of", "phase", "because"),
    [
        (Rollout(stable=TWO), TWO, "settled", "no release is being rolled out"),
        (swapping(ROLLING_BACK), ONE, "rolling_back", "release 2 is being rolled back"),
        (swapping(Retiring(NOON, "retired")), None, "retiring", "tiny is being retired"),
    ],
)
@pytest.mark.parametrize("verb", ["pause", "promote", "abort", "resume"])
def test_a_command_about_a_rollout_changes_nothing_if_there_is_none(
    verb: Verb, rollout: Rollout, of: Release | None, phase: str, because: str
) -> None:
    version, why = "2", "nothing is paused" if verb == "resume" else because
    change = apply(rollout, command(verb), of=of)
    assert (change.rollout, change.desired.release) == (rollout, of)
    assert recorded(change) == [(version, phase, phase, f"{verb} changes nothing: {why}")]


@pytest.mark.parametrize("verb", ["pause", "resume", "promote"])
def test_the_second_of_two_like_commands_changes_nothing(verb: Verb) -> None:
    again = replace(command(verb), event_id="again")
    once, twice = (
        apply(swapping(paused=PAUSED if verb == "resume" else None), *commands)
        for commands in ((command(verb),), (command(verb), again))
    )
    assert twice.rollout == once.rollout
    assert twice.transitions[-1].why.startswith(f"{verb} changes nothing: ")


# ---- A release that has not begun


def test_a_release_that_has_not_begun_begins_as_commands_say() -> None:
    serving = Rollout(stable=ONE, serving_group="blue")
    pause = replace(command("pause", reason="too early"), event_id="later")
    change = apply(serving, command("promote", is_full=True), pause)
    why = "paused on command: too early"
    assert (change.desired.promoted, change.desired.paused) == (True, why)
    assert recorded(change) == [
        ("2", "desired", "promoted", "promoted on command"),
        ("2", "desired", "paused", why),
    ]
    begun = begin(change.rollout, change.desired, NOW)
    assert (begun.rollout.promoted, begun.rollout.paused) == (True, Pause(why, NOW))


def test_what_was_commanded_about_one_release_is_not_inherited_by_the_next() -> None:
    serving = Rollout(stable=ONE, serving_group="blue", promoted=True)
    begun = begin(serving, Desired("tiny", TWO, 2), NOW).rollout
    assert (begun.promoted, begun.paused) == (False, None)


@pytest.mark.parametrize("verb", ["abort", "rollback"])
def test_a_release_that_is_aborted_before_it_begins_never_does(verb: Verb) -> None:
    change = apply(Rollout(stable=ONE), command(verb))
    assert (change.rollout, change.desired.release) == (Rollout(stable=ONE, last_failed="2"), ONE)
    [transition] = change.transitions
    assert (transition.release, transition.to, transition.outcome) == ("2", "aborted", "aborted")


def test_a_release_that_waits_can_be_aborted_and_the_one_before_it_goes_on() -> None:
    waited_for = release("2", rollout={"on_newer": "wait"})
    before = swapping(candidate=waited_for)
    change = apply(before, command("abort"), of=THREE)
    after = replace(before, last_failed="3")
    assert (change.rollout, change.desired.release) == (after, waited_for)
    assert [each.outcome for each in change.transitions] == ["aborted"]
    again = accept(change.rollout, change.desired, replace(command("abort"), event_id="x"), NOW)
    assert again.rollout == after
    named = replace(command("abort", "2"), event_id="y")
    gone = accept(again.rollout, again.desired, named, NOW)
    assert isinstance(gone.rollout.phase, RollingBack)


def test_the_abort_of_a_newer_release_does_not_save_what_it_superseded() -> None:
    change = apply(swapping(), command("abort"), of=THREE)
    assert change.desired.release == ONE
    assert [(each.release, each.to) for each in change.transitions] == [
        ("3", "aborted"),
        ("2", "rolling_back"),
    ]
    assert change.rollout.phase == RollingBack(
        "superseded", "superseded", "release 3 is newer", NOW
    )


# ---- Rollback


def test_rollback_of_a_settled_model_restores_the_previous_release() -> None:
    change = apply(Rollout(stable=TWO, previous=ONE), command("rollback", goal=ONE))
    assert change.rollout == Rollout(stable=TWO, previous=ONE)
    restored = change.desired.release
    assert restored == replace(
        ONE,
        generation=9,
        force=True,
        released_at=GIVEN,
        sent_at=GIVEN,
        event_id="event-rollback",
        is_restored=True,
    )
    assert recorded(change) == [("1", "settled", "desired", "rolled back on command to release 1")]
    assert begin(change.rollout, change.desired, NOW).rollout.promoted


@pytest.mark.parametrize("rollout", [Rollout(stable=TWO), swapping(), swapping(stable=None)])
def test_rollback_to_a_named_release_makes_that_one_desired(rollout: Rollout) -> None:
    change = apply(rollout, command("rollback", "3", THREE))
    assert change.desired.release
    assert (change.desired.release.version, change.desired.release.is_restored) == ("3", True)
    assert change.transitions[0].why == "rolled back on command to release 3"


@pytest.mark.parametrize(
    ("rollout", "of", "fields", "why"),
    [
        (swapping(ROLLING_BACK), ONE, {}, "release 1 is desired already"),
        (Rollout(stable=TWO), TWO, {}, "no release served before this one"),
        (swapping(Retiring(NOON, "retired")), None, {}, "nothing is desired"),
        (
            Rollout(stable=TWO, previous=ONE),
            TWO,
            {"version": "2", "goal": TWO},
            "release 2 is desired already",
        ),
    ],
)
def test_a_rollback_without_a_goal_changes_nothing_and_says_why(
    rollout: Rollout, of: Release | None, fields: dict[str, Any], why: str
) -> None:
    change = apply(rollout, command("rollback", **fields), of=of)
    assert (change.rollout, change.desired.release) == (rollout, of)
    [(version, phase, to, text)] = recorded(change)
    assert (version, phase, text) == ("2", to, f"rollback changes nothing: {why}")


@pytest.mark.parametrize("version", ["", "1"])
def test_rollback_is_idempotent_before_during_and_after_the_way_back(version: str) -> None:
    goal = command("rollback", version, ONE)
    again = replace(goal, event_id="z", generation=10, goal=TWO if version == "" else ONE)
    first = apply(Rollout(stable=TWO, previous=ONE), goal)
    restored = first.desired.release
    assert restored
    for rollout in (
        first.rollout,
        Rollout(Stepping(0, NOW), TWO, restored, previous=ONE),
        Rollout(stable=restored, previous=TWO),
    ):
        change = accept(rollout, first.desired, again, NOW)
        assert (change.rollout, change.desired.release) == (rollout, restored)


def test_a_newer_release_wins_over_a_rollback_and_returns_to_its_goal_if_aborted() -> None:
    change = apply(Rollout(stable=TWO, previous=ONE), command("rollback", goal=ONE))
    three = replace(THREE, generation=10, released_at=at(92))
    fix = Intent("release", THREE.event_id, at(92), at(92), "3", 10)
    fixed = accept(change.rollout, change.desired, fix, NOW, three)
    assert fixed.desired.release == three
    assert [(each.release, each.to) for each in fixed.transitions] == [
        ("1", "superseded"),
        ("3", "desired"),
    ]
    abort = Intent("abort", "event-9", at(94), at(94))
    back = accept(fixed.rollout, fixed.desired, abort, NOW)
    assert back.desired.release == change.desired.release


# ---- Retire


@pytest.mark.parametrize(
    ("rollout", "of"),
    [
        (swapping(paused=PAUSED, promoted=True), TWO),
        (Rollout(stable=TWO), TWO),
        (swapping(stable=None), TWO),
        (swapping(ROLLING_BACK), ONE),
    ],
)
def test_retire_removes_every_release(rollout: Rollout, of: Release) -> None:
    change = apply(rollout, command("retire", requested_by="ann", reason="unused"), of=of)
    why = "retired by ann: unused"
    retiring = Retiring(NOW, why, is_drained=False)
    assert change.rollout == replace(
        rollout, phase=retiring, paused=None, progress=None, promoted=False
    )
    assert change.desired.release is None
    assert recorded(change)[-1][2:] == ("retiring", why)


def test_retire_of_a_model_without_a_release_changes_nothing() -> None:
    change = apply(Rollout(failed_digests=("d",)), command("retire"), of=None)
    assert change.rollout == Rollout(failed_digests=("d",))
    why = "retire changes nothing: nothing of the model exists"
    assert recorded(change) == [("", "settled", "settled", why)]


@pytest.mark.parametrize("rollout", [Rollout(), swapping()])
def test_retire_supersedes_a_release_that_has_not_begun(rollout: Rollout) -> None:
    change = apply(rollout, command("retire"), of=THREE)
    ended = change.transitions[0]
    assert (ended.release, ended.outcome, ended.why) == ("3", "superseded", "retired on command")
    assert change.desired.release is None


# ---- Approvals


APPROVE = {"approve": {"by": "approvals", "timeout_seconds": 3600}, "hold_seconds": 0}
ASKING = release("2", rollout={"steps": [10, APPROVE, 50, 100]})


def awaiting(since: float = 0, phase: Phase | None = None) -> Rollout:
    return swapping(phase or Stepping(1, at(since)), candidate=ASKING)


def decide(rollout: Rollout, verb: Verb, by: str = "approvals", **fields: Any) -> PhaseChange:
    return apply(rollout, command(verb, approver=by, **fields), of=ASKING)


def test_an_approval_is_saved_with_the_step_and_who_gave_it() -> None:
    change = decide(awaiting(), "approve", requested_by="ann")
    assert change.rollout == awaiting(0, phase=Stepping(1, NOON, approved_by="ann (approvals)"))
    assert recorded(change) == [("2", "step_2", "approved", "approved by ann")]
    again = accept(change.rollout, change.desired, replace(command("approve"), event_id="x"), NOW)
    assert again.rollout == change.rollout


@pytest.mark.parametrize(
    ("rollout", "by", "because"),
    [
        (awaiting(), "others", "step_2 asks for approval by approvals, and this came by others"),
        (
            awaiting(),
            "",
            "step_2 asks for approval by approvals, and this was neither signed nor published on a"
            " topic for approvals",
        ),
        (awaiting(95), "approvals", "step_2 began after it was published"),
        (swapping(Stepping(0, NOON), candidate=ASKING), "approvals", "step_1 asks for no approval"),
        (swapping(BAKING, candidate=ASKING), "approvals", "baking asks for no approval"),
        (Rollout(stable=ONE), "approvals", "release 2 has not begun"),
    ],
)
def test_an_approval_counts_only_for_the_step_that_awaits_it(
    rollout: Rollout, by: str, because: str
) -> None:
    change = decide(rollout, "approve", by)
    assert change.rollout == rollout
    assert recorded(change)[-1][3] == f"approve changes nothing: {because}"


def test_a_rejection_counts_against_an_approval_whichever_comes_first() -> None:
    for phase in (Stepping(1, NOON, approved_by="bob (approvals)"), Stepping(2, at(50)), BAKING):
        change = decide(awaiting(phase=phase), "reject", requested_by="ann")
        back = change.rollout.phase
        assert isinstance(back, RollingBack)
        assert (back.outcome, back.reason, back.why) == (
            "rolled_back",
            "rejected",
            "rejected by ann",
        )
        assert change.rollout.failed_digests == ("d", ASKING.digest)
        late = accept(change.rollout, change.desired, command("approve", approver="approvals"), NOW)
        assert late.rollout == change.rollout
    waiting = decide(Rollout(stable=ONE), "reject")
    [transition] = waiting.transitions
    assert (transition.outcome, transition.reason) == ("rolled_back", "rejected")
    assert waiting.desired.release == ONE


def test_a_rejection_by_somebody_who_may_not_approve_changes_nothing() -> None:
    assert decide(awaiting(), "reject", "others").rollout == awaiting()
    change = apply(swapping(), command("reject", approver="others"))
    assert change.rollout == swapping()
    assert recorded(change)[-1][3].endswith("release 2 asks for no approval; abort it")


def test_promote_replaces_no_approval_and_goes_at_most_up_to_it() -> None:
    change = apply(awaiting(), command("promote"), of=ASKING)
    assert change.rollout == awaiting()
    assert "which promote does not replace" in recorded(change)[-1][3]
    full = apply(Rollout(stable=ONE), command("promote", is_full=True), of=ASKING)
    assert begin(full.rollout, full.desired, NOW).rollout.phase == Stepping(0, NOW)
    restored = replace(ASKING, is_restored=True)
    begun = begin(Rollout(stable=ONE), Desired("tiny", restored, 9), NOW).rollout
    assert begun.phase == Stepping(3, NOW)
