"""A gate that fails acts in every state that is not final, and is not forgotten by a later pass."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from rollout import analysis, transitions
from rollout.advance import advance
from rollout.gates.burn import History
from rollout.gates.record import GateRecord
from rollout.measurements import Counts, Unmeasured, Windows
from rollout.measurements import WindowMeasured as Window
from rollout.model import (
    FULL_WEIGHT,
    Baking,
    Decision,
    Desired,
    Evidence,
    Frozen,
    GroupView,
    Kept,
    LatchedFailure,
    Observed,
    Pause,
    Phase,
    Progress,
    Release,
    Retiring,
    RollingBack,
    Rollout,
    Settled,
    Stepping,
)
from rollout.strategies import strategy_of, swap_of
from rollout.strategies.base import steps_digest
from tests.rollout.build import at, instances, release

STEPS = [
    {"weight": 25, "hold_seconds": 300},
    {"approve": {"by": "model-approvals"}},
    {"weight": 100, "hold_seconds": 300},
]
EXPOSED = {"path": "/tiny"}
ONE, THREE = release("1", traffic=EXPOSED), release("3", traffic=EXPOSED)
NOW = at(1200)
HISTORY = History(30, 300, 30_000, 3.0)
"""1 % of 1,000 requests were bad in each window."""
FULL = at(600)


def gated(**rollout: Any) -> Release:
    fields = {"strategy": "canary", "steps": STEPS, "gates": {"http_errors": {}}} | rollout
    return release("2", traffic=EXPOSED, rollout=fields)


TWO = gated()


def rolling_out(phase: Phase, candidate: Release = TWO, **changes: Any) -> Rollout:
    """Release 2 takes over from release 1, and its gate has judged everything until now."""
    rollout = Rollout(
        phase,
        ONE,
        candidate,
        progress=Progress(3, at(0)),
        last_observed_at=at(1190),
        serving_group="blue",
        gates=(GateRecord("http_errors", step=0, evaluated_until=at(900), history=HISTORY),),
    )
    steps = strategy_of(candidate).steps(swap_of(rollout, candidate))
    return replace(rollout, steps_digest=steps_digest(steps), **changes)


def watching(candidate: Release = TWO, **changes: Any) -> Rollout:
    """Release 2 serves from the green group, and the blue one is kept for half an hour more."""
    record = GateRecord(
        "http_errors", evaluated_until=at(900), history=HISTORY, full_since=FULL, recent=GOOD
    )
    return Rollout(
        Settled(),
        candidate,
        previous=ONE,
        serving_group="green",
        watched_since=at(700),
        kept=Kept(ONE, "blue", FULL, at(3000)),
        gates=(record,),
        **changes,
    )


GOOD = ((10.0, 1000.0),) * 3
GRANTED = Stepping(0, at(0), 250, at(30), granted=1)
APPROVING = Stepping(1, at(800), 250, at(30), granted=1)
ALL = Stepping(2, at(800), FULL_WEIGHT, at(600), granted=3)
BAKING = Baking(at(800), at(600))


def observed() -> Observed:
    """Both groups are healthy."""
    return Observed(
        (
            GroupView("blue", "us-central1", 4, True, instances(ONE, 4)),
            GroupView("green", "us-central1", 4, True, instances(TWO, 4)),
        )
    )


def answers(candidate: Counts, baseline: Counts | None = None, since: float = 900) -> Evidence:
    """Five windows of one minute, each alike."""
    windows = tuple(
        Window(at(since + 60 * number), at(since + 60 * number + 60), candidate, baseline)
        for number in range(5)
    )
    return Evidence(windows={"http_errors": Windows(windows, "requests_total")})


COMPARED = answers(Counts(100, 1000), Counts(10, 1000))
ALONE = answers(Counts(100, 1000))
GOOD_ALONE = answers(Counts(10, 1000))


def run(
    rollout: Rollout,
    evidence: Evidence,
    of: Release | None = None,
    now: datetime = NOW,
) -> Decision:
    goal = of or rollout.candidate or rollout.stable
    desired = Desired("tiny", goal, goal.generation if goal else 1)
    return advance(rollout, desired, observed(), evidence, now)


PAUSED = Pause("paused by ann", at(1000))


@pytest.mark.parametrize(
    ("rollout", "evidence"),
    [
        (rolling_out(GRANTED), COMPARED),
        (rolling_out(APPROVING), COMPARED),
        (rolling_out(GRANTED, paused=PAUSED), COMPARED),
        (rolling_out(BAKING, paused=PAUSED), ALONE),
        (rolling_out(ALL), ALONE),
        (rolling_out(ALL, promoted=True), ALONE),
        (rolling_out(replace(ALL, is_promoted=True)), ALONE),
        (rolling_out(replace(GRANTED, is_promoted=True)), COMPARED),
        (rolling_out(BAKING), ALONE),
        (rolling_out(replace(BAKING, is_promoted=True)), ALONE),
        (rolling_out(BAKING), replace(ALONE, frozen=Frozen("the weekend", at(9000)))),
        (watching(), ALONE),
        (watching(gated(on_failure="pause")), ALONE),
        (watching(), replace(ALONE, frozen=Frozen("the weekend", at(9000)))),
    ],
)
def test_a_fail_rolls_back(rollout: Rollout, evidence: Evidence) -> None:
    after = run(rollout, evidence)
    phase = after.rollout.phase
    assert isinstance(phase, RollingBack)
    assert (phase.outcome, phase.reason, phase.why[:13]) == ("rolled_back", "gate", "http_errors: ")
    assert after.rollout.stable == ONE
    assert after.rollout.candidate is not None
    assert after.rollout.failed_digests == (after.rollout.candidate.digest,)
    assert after.rollout.failure is not None
    assert [each.to for each in after.transitions] == ["verdict", "rolling_back"]
    target = run(after.rollout, Evidence(), of=after.desired.release).target.traffic
    assert target is not None
    assert {each.colour: each.weight for each in target.weights} == {"blue": 1000, "green": 0}


def test_what_was_good_goes_on() -> None:
    """The same states without the bad requests."""
    for rollout in (rolling_out(ALL), rolling_out(BAKING), watching()):
        after = run(rollout, GOOD_ALONE)
        assert not isinstance(after.rollout.phase, RollingBack)
        assert after.rollout.failure is None


@pytest.mark.parametrize("outcome", ["superseded", "aborted"])
@pytest.mark.parametrize("weight", [250, FULL_WEIGHT])
def test_a_fail_on_another_way_back_is_remembered(outcome: Any, weight: int) -> None:
    back = RollingBack(outcome, outcome, "release 3 is newer", at(1200), is_drained=False)
    rollout = rolling_out(back)
    evidence = COMPARED
    if weight == FULL_WEIGHT:
        (record,) = rollout.gates
        rollout = replace(rollout, gates=(replace(record, full_since=FULL, recent=GOOD),))
        evidence = ALONE
    (query,) = analysis.queries_of(rollout, at(1500))
    assert (query.since, query.until) == (at(900), at(1200))  # no longer than it had requests
    assert (query.baseline is None) == (weight == FULL_WEIGHT)
    after = run(rollout, evidence, of=THREE, now=at(1230))
    phase = after.rollout.phase
    assert isinstance(phase, RollingBack)
    assert (phase.outcome, phase.reason) == ("rolled_back", "gate")
    assert phase.why.startswith("release 3 is newer; http_errors: ")
    assert after.rollout.failed_digests == (TWO.digest,)
    assert after.desired.release == THREE
    assert analysis.queries_of(after.rollout, at(1500)) == ()


def test_a_fail_in_the_pass_in_which_a_newer_release_arrives_is_remembered() -> None:
    superseded = run(rolling_out(BAKING), ALONE, of=THREE)
    assert isinstance(superseded.rollout.phase, RollingBack)
    after = run(superseded.rollout, Evidence(), of=THREE)
    assert isinstance(after.rollout.phase, RollingBack)
    assert (after.rollout.phase.outcome, after.rollout.failed_digests) == (
        "rolled_back",
        (TWO.digest,),
    )


def test_a_release_that_fails_while_it_is_watched_goes_back_before_a_newer_one_begins() -> None:
    after = run(watching(), ALONE, of=THREE)
    assert isinstance(after.rollout.phase, RollingBack)
    assert (after.rollout.stable, after.rollout.candidate) == (ONE, TWO)
    assert after.desired.release == THREE


def test_a_fail_pauses_if_the_release_says_so_and_again_when_it_is_resumed() -> None:
    failed = run(rolling_out(BAKING, gated(on_failure="pause")), ALONE).rollout
    assert failed.paused is not None
    assert failed.paused.after_failure
    assert failed.failure is not None
    resumed = transitions.without_pause(failed, at(1260))
    after = run(resumed, Evidence(), now=at(1260))
    assert after.rollout.paused is not None
    assert after.rollout.paused.why == failed.paused.why


def test_a_release_that_is_tried_again_is_judged_by_what_comes_after() -> None:
    failed = run(rolling_out(BAKING, gated(on_failure="pause")), ALONE).rollout
    desired = Desired("tiny", failed.candidate, 2)
    anew = transitions.judge_anew(failed, desired, "tried again", at(1270)).rollout
    assert anew.failure is None
    (query,) = analysis.queries_of(anew, at(1400))
    assert (query.since, query.until) == (at(1320), at(1380))
    after = run(anew, Evidence(), now=at(1400))
    assert after.rollout.paused is None
    (record,) = after.rollout.gates
    assert (record.history, record.recent) == (HISTORY, ())
    again = run(anew, answers(Counts(100, 1000), since=1320), now=at(1400))
    assert again.rollout.paused is not None


def test_nothing_is_judged_of_a_model_that_retires() -> None:
    rollout = rolling_out(Retiring(at(1190), "retired by ann"), gates=(), failure=None)
    assert analysis.queries_of(rollout, at(1500)) == ()
    after = analysis.update(rollout, ALONE, at(1500))
    assert (after.gates, after.failure) == ((), None)


def test_a_fail_is_latched_whatever_comes_later() -> None:
    """A crash between the two passes loses nothing: the fail is in the document."""
    failed = analysis.update(rolling_out(BAKING), ALONE, NOW)
    assert failed.failure == LatchedFailure("gate", failed.gates[0].why, NOW)
    later = run(failed, answers(Counts(0, 1000), since=1200), now=NOW + timedelta(minutes=5))
    assert isinstance(later.rollout.phase, RollingBack)


# ---- What is logged


def test_a_source_that_fails_and_answers_by_turns_makes_few_entries_and_a_fail_one_at_once() -> (
    None
):
    rollout, entries = watching(), []
    lacking: dict[str, Any] = {"verdict": "inconclusive", "why": "no series", "lacking_since": NOW}
    good: dict[str, Any] = {"verdict": "pass", "why": "10 of 1,000", "lacking_since": None}
    bad: dict[str, Any] = {"verdict": "fail", "why": "100 of 1,000"}
    for minute, fields in enumerate([*[good, lacking] * 15, bad, bad]):
        now = NOW + timedelta(minutes=minute)
        records = tuple(replace(each, **fields) for each in rollout.gates)
        change = transitions.record_verdicts(
            replace(rollout, gates=records), Desired("tiny", TWO, 2), now
        )
        rollout = change.rollout
        entries += [(minute, each.why, each.gates[0].verdict) for each in change.transitions]
    assert entries == [
        (0, "10 of 1,000", "pass"),
        (11, "no series", "inconclusive"),
        (22, "10 of 1,000", "pass"),
        (30, "100 of 1,000", "fail"),
    ]


# ---- How long a release is watched


def test_gates_watch_as_long_as_the_old_group_is_kept() -> None:
    watched = watching(gated(watch_seconds=60))
    kept = run(watched, GOOD_ALONE, now=at(2400)).rollout
    assert kept.watched_since is not None
    late = answers(Counts(100, 1000), since=2400)
    assert isinstance(run(kept, late, now=at(2800)).rollout.phase, RollingBack)
    ended = run(kept, Evidence(), now=at(3001)).rollout
    assert (ended.watched_since, ended.gates) == (None, ())
    assert ended.kept is not None
    assert ended.kept.is_leaving


def test_without_gates_a_watch_ends_when_it_says() -> None:
    watched = watching(gated(watch_seconds=60, gates={}), progress=Progress(3, at(0)))
    ended = run(watched, Evidence(), now=at(2400)).rollout
    assert ended.watched_since is None
    assert ended.kept is not None


def test_a_rolling_release_is_watched_for_the_time_that_it_names() -> None:
    counters = {
        "bad": 'failures_total{release=~"$releases"}',
        "total": 'requests_total{release=~"$releases"}',
    }
    rolled = release("2", rollout={"gates": {"errors": counters}, "watch_seconds": 600})
    record = GateRecord("errors", evaluated_until=at(900), history=HISTORY, full_since=FULL)
    watched = replace(
        watching(rolled), kept=None, serving_group="blue", gates=(record,), watched_since=at(600)
    )
    (query,) = analysis.queries_of(watched, at(1200))
    assert (query.candidate.colour, query.baseline) == ("blue", None)
    bad = Evidence(windows={"errors": ALONE.windows["http_errors"]})
    after = run(watched, bad, now=at(1199))
    assert isinstance(after.rollout.phase, RollingBack)
    ended = run(watched, Evidence(), now=at(1201)).rollout
    assert (ended.watched_since, ended.gates) == (None, ())


@pytest.mark.parametrize(
    ("rollout", "is_watched"),
    [
        ({"watch_seconds": 0}, True),
        ({"watch_seconds": 0, "gates": {}}, False),
        ({"watch_seconds": 60, "gates": {}}, True),
    ],
)
def test_a_release_with_gates_is_watched_while_the_old_group_is_kept(
    rollout: dict[str, Any], is_watched: bool
) -> None:
    candidate = gated(**rollout)
    baking = rolling_out(BAKING, candidate)
    if not candidate.spec.rollout.gates:
        baking = replace(baking, gates=())
    desired = Desired("tiny", candidate, 2)
    done = transitions.succeed(baking, desired, None, "baked", NOW).rollout
    assert (done.watched_since == NOW) == is_watched
    assert bool(done.gates) == (is_watched and bool(candidate.spec.rollout.gates))


def test_people_see_that_a_watched_release_could_not_be_judged_for_long() -> None:
    """It stays: nothing says that it is bad."""
    lack = Evidence(windows={"http_errors": Unmeasured("timeout", "no answer")})
    first = run(watching(), lack)
    assert first.conditions == ()
    later = run(first.rollout, lack, now=NOW + timedelta(minutes=10))
    assert isinstance(later.rollout.phase, Settled)
    assert [(each.type, each.why) for each in later.conditions] == [
        ("Degraded", "http_errors: no answer → error")
    ]
