"""What is shown of a state, without any store."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from console.answers import (
    Ending,
    Goal,
    ModelSettles,
    ReleaseEnds,
    RolloutPauses,
    answer_in,
    ending_of,
    goal_of,
)
from console.views import EntryView, entry_view, is_over, status_view, why_view
from rollout.gates.record import GateRecord
from rollout.model import (
    Baking,
    Condition,
    Desired,
    Kept,
    Pause,
    Phase,
    Progress,
    Rollout,
    Settled,
    Stepping,
)
from rollout.spec.message import CommandGiven, ReleaseRequested
from rollout.state import ModelState
from tests.rollout.build import NOON, at, release

CANARY = {
    "strategy": "canary",
    "steps": [
        {"weight": 5, "hold_seconds": 600},
        {"approve": {"by": "model-approvals", "timeout_seconds": 3600}},
        {"weight": 100},
    ],
    "bake_seconds": 1800,
    "watch_seconds": 900,
}
STABLE, CANDIDATE = release("1", rollout=CANARY), release("2", rollout=CANARY)


def state(phase: Phase, **fields: object) -> ModelState:
    rollout = Rollout(phase, STABLE, CANDIDATE, serving_group="blue")
    return ModelState(Desired("tiny", CANDIDATE, 2), replace(rollout, **fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("phase", "until", "what"),
    [
        (Stepping(0, at(0), 50, at(60), 1), at(60 + 600), "the step ends at the earliest"),
        (Stepping(0, at(0), 0, None, 0), None, ""),
        (Stepping(1, at(0), 50, at(0), 2), at(3600), "then rollback, if nobody approves it"),
        (Baking(at(0)), at(1800), "the bake ends at the earliest"),
    ],
)
def test_what_is_waited_for_has_a_time(phase: Phase, until: object, what: str) -> None:
    view = status_view(state(phase))
    assert view.until_what == what
    if until is None or what.startswith("the step"):
        assert (view.until is None) == (until is None)
    else:
        assert view.until == until


def test_a_paused_rollout_waits_for_a_person_and_no_time() -> None:
    view = status_view(state(Baking(at(0)), paused=Pause("paused by ann", at(9))))
    assert (view.paused, view.until) == ("paused by ann", None)


def test_the_watch_and_the_keep_of_the_old_group_have_their_ends() -> None:
    settled = state(Settled(), stable=CANDIDATE, candidate=None, watched_since=at(0))
    assert status_view(settled).until == at(900)
    kept = replace(settled.rollout, kept=Kept(STABLE, "blue", at(0), at(7200)))
    assert status_view(replace(settled, rollout=kept)).until == at(7200)


def test_healthy_instances_are_those_whose_clocks_say_so() -> None:
    clocks = "healthy@1767268800:x7k2,9f3d lost@1767268860:q0p1"
    progress = Progress(3, NOON, clocks=clocks, needed=4)
    view = status_view(state(Stepping(0, at(0), 50, at(0), 1), progress=progress))
    assert (view.healthy, view.needed, view.weight_percent) == (2, 4, 5.0)


def test_gates_and_conditions_are_shown_with_their_sentences() -> None:
    gates = (GateRecord("http_errors", "fail", "3 times the errors", step=0),)
    found = state(Stepping(0, at(0), 50, at(0), 1), gates=gates)
    view = status_view(replace(found, conditions=(Condition("Degraded", "no quota", NOON),)))
    assert [(each.gate, each.verdict, each.why, each.step) for each in view.gates] == [
        ("http_errors", "fail", "3 times the errors", 1)
    ]
    assert [(each.type, each.why) for each in view.conditions] == [("Degraded", "no quota")]


def test_a_rollout_is_over_when_nothing_is_under_way_or_pending() -> None:
    settled = Rollout(Settled(), STABLE)
    assert is_over(ModelState(Desired("tiny", STABLE, 1), settled))
    assert not is_over(ModelState(Desired("tiny", CANDIDATE, 2), settled)), "it is about to begin"
    assert not is_over(state(Baking(at(0))))
    assert is_over(ModelState(Desired("tiny")))


# ---- Decisions and answers


def entry(release: str, from_: str, to: str, why: str = "", **fields: object) -> EntryView:
    data = {"at": NOON, "model": "tiny", "release": release, "from": from_, "to": to, "why": why}
    return entry_view("00000001-0", data | {"event_id": "e"} | fields)


def test_the_decisive_reason_is_the_last_one_and_no_empty_command() -> None:
    entries = (
        entry("3", "published", "desired"),
        entry("3", "step_1", "step_2", evidence=["3 of 3"]),
        entry("3", "step_2", "rolling_back", "unhealthy", reason="unhealthy", evidence=["0 of 3"]),
        entry("3", "rolling_back", "rolled_back", "it failed", reason="unhealthy"),
        entry("3", "settled", "settled", "resume changes nothing: nothing is paused"),
        entry("4", "published", "desired"),
    )
    view = why_view("tiny", "3", entries)
    assert view
    assert (view.state, view.reason, view.why) == ("rolled_back", "unhealthy", "it failed")
    assert view.observed == ("0 of 3",)
    assert len(view.decisions) == 5
    assert why_view("tiny", "9", entries) is None


RELEASE, PAUSE = ReleaseRequested("tiny", "3"), CommandGiven("tiny", "pause")


@pytest.mark.parametrize(
    ("request_", "entries", "kind"),
    [
        (RELEASE, [entry("3", "published", "desired")], "accepted"),
        (RELEASE, [entry("3", "published", "unchanged")], "unchanged"),
        (RELEASE, [entry("3", "published", "superseded", outcome="superseded")], "superseded"),
        (RELEASE, [entry("2", "step_1", "rolling_back"), entry("3", "x", "desired")], "accepted"),
        (PAUSE, [entry("3", "step_1", "paused")], "accepted"),
        (PAUSE, [entry("3", "step_1", "step_1", "pause changes nothing: x")], "unchanged"),
        (PAUSE, [], "accepted"),
        (
            PAUSE,
            [entry("3", "step_1", "step_1", "pause changes nothing", event_id="other")],
            "accepted",
        ),
    ],
)
def test_the_log_has_the_answer(
    request_: ReleaseRequested | CommandGiven, entries: list[EntryView], kind: str
) -> None:
    assert answer_in(entries, request_, "e").kind == kind


@pytest.mark.parametrize(
    ("goal", "phase", "ending"),
    [
        (ReleaseEnds("2", "event-2"), Stepping(0, at(0)), None),
        (ModelSettles(), Stepping(0, at(0)), None),
        (RolloutPauses(), Stepping(0, at(0)), None),
    ],
)
def test_nothing_ends_before_it_has_ended(goal: Goal, phase: Phase, ending: Ending | None) -> None:
    assert ending_of(goal, state(phase), {"attempts": [{"event_id": "another"}]}) == ending


def test_what_the_same_version_did_before_is_not_its_end() -> None:
    before = {"event_id": "first", "outcome": "rolled_back", "why": "unhealthy"}
    now = {"event_id": "second", "outcome": "succeeded", "why": "baked"}
    goal = ReleaseEnds("2", "second")
    assert ending_of(goal, state(Baking(at(0))), {"attempts": [before]}) is None
    ended = ending_of(goal, state(Baking(at(0))), {"attempts": [before, now]})
    assert ended == Ending("succeeded", "baked", is_good=True)


def test_a_command_that_lets_a_rollout_go_on_is_followed_to_the_rollouts_end() -> None:
    promote, abort = CommandGiven("tiny", "promote"), CommandGiven("tiny", "abort")
    accepted = answer_in([entry("2", "step_1", "promoted")], promote, "e")
    of_2 = {"event_id": "event-2"}
    assert goal_of(promote, accepted, "e", of_2) == ReleaseEnds("2", "event-2")
    assert goal_of(abort, accepted, "e", of_2) == ModelSettles()
    assert goal_of(PAUSE, accepted, "e", of_2) == RolloutPauses()


def test_a_rollback_ends_with_the_release_that_it_restores() -> None:
    back = CommandGiven("tiny", "rollback")
    restored = answer_in([entry("1", "settled", "desired")], back, "e")
    assert goal_of(back, restored, "e", {"event_id": "e"}) == ReleaseEnds("1", "e")
    aborted = answer_in([entry("2", "step_1", "rolling_back")], back, "e")
    assert goal_of(back, aborted, "e", {"event_id": "event-2"}) == ModelSettles()


def test_times_are_shown_as_they_are_stored() -> None:
    found = status_view(replace(state(Baking(at(0))), requeue_at=at(30)))
    assert found.next_pass == NOON + timedelta(seconds=30)
