"""Which gates are put to a source, about which windows, and what a step needs of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rollout import analysis, baseline
from rollout.gates.base import Failed, Inconclusive, Passed, Verdict, Waiting, judge
from rollout.gates.burn import History
from rollout.gates.metrics import MetricsGate
from rollout.gates.record import GateRecord, VerdictKind
from rollout.judging import context_of, health_of
from rollout.measurements import (
    Counts,
    CountSource,
    Delayed,
    GateQuery,
    Subject,
    Unmeasured,
    VerdictRequest,
    WindowAnswer,
    WindowMeasured,
    Windows,
)
from rollout.model import (
    Baking,
    Desired,
    Evidence,
    LatchedFailure,
    Observed,
    Phase,
    Release,
    RollingBack,
    Rollout,
    Settled,
    Stepping,
)
from rollout.phases.settled import judge_settled
from tests.rollout.build import at, release

STEPS = [{"weight": each, "hold_seconds": 300} for each in (5, 25, 100)]
BUCKETS = 'seconds_bucket{release=~"$releases"}'
APPROVAL = {"approve": {"by": "model-approvals"}}
ONE = release("1", traffic={"path": "/tiny"})
ROUTED = at(30)


def gated(steps: list[Any] = STEPS, **rollout: Any) -> Release:
    fields = {"strategy": "canary", "steps": steps, "gates": {"http_errors": {}}} | rollout
    return release("2", rollout=fields)


GREEN = Subject("green", "2", gated().template)
BLUE = Subject("blue", "1", ONE.template)


def stepping(
    step: int = 0, weight: int = 50, *, candidate: Release | None = None, **changes: Any
) -> Rollout:
    """A canary whose present step has been in the route since `ROUTED`."""
    phase = Stepping(step, at(0), weight, ROUTED, granted=step + 1)
    rollout = Rollout(phase, stable=ONE, candidate=candidate or gated(), serving_group="blue")
    return replace(rollout, **changes)


def queries(rollout: Rollout, seconds: float) -> tuple[GateQuery, ...]:
    return analysis.queries_of(rollout, at(seconds))


# ---- What is asked

LATER = (GateRecord("http_errors", evaluated_until=at(180)),)
"""All requests have reached the candidate since 150 s after noon."""


def test_windows_begin_after_the_warm_up_and_are_whole() -> None:
    assert queries(stepping(), 179) == ()  # routed at 30 s, warm at 90 s: from 120 s on
    (query,) = queries(stepping(), 315)
    assert query == GateQuery(
        "http_errors", CountSource(), GREEN, BLUE, at(120), at(300), 60, at(315)
    )


def test_windows_go_on_where_the_last_ones_ended_and_never_too_many_at_once() -> None:
    records = (GateRecord("http_errors", evaluated_until=at(240)),)
    (query,) = queries(stepping(gates=records), 310)
    assert (query.since, query.until) == (at(240), at(300))
    (query,) = queries(stepping(gates=records), 86_400)
    assert query.until == at(240) + analysis.MOST_WINDOWS * timedelta(seconds=60)


def test_the_oldest_windows_come_first_and_gates_that_lack_numbers_alternate() -> None:
    gates = {name: {"histogram": BUCKETS, "slower_than_seconds": 1} for name in "abcde"}
    until, lacking = (240, 180, 120, 120, 180), (None, None, at(0), at(0), None)
    records = tuple(
        GateRecord(name, evaluated_until=at(end), lacking_since=since)
        for name, end, since in zip(gates, until, lacking, strict=True)
    )
    rollout = stepping(candidate=gated(gates=gates), gates=records)
    found = [[each.gate for each in queries(rollout, seconds)] for seconds in (300, 360, 420)]
    assert found == [[*"bea", *order] for order in ("dc", "cd", "dc")]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"phase": Stepping(0, at(0), 0, None)}, None),
        ({"phase": Stepping(0, at(0), 50, None, granted=1)}, None),  # not in the route yet
        ({"phase": Stepping(1, at(0), 50, ROUTED, granted=1)}, BLUE),
        ({"phase": Stepping(2, at(0), 1000, ROUTED, granted=3)}, BLUE),  # late, of before
        ({"phase": Stepping(2, at(0), 1000, ROUTED, granted=3), "gates": LATER}, "alone"),
        ({"phase": Baking(at(0), ROUTED), "gates": LATER}, "alone"),
        ({"phase": RollingBack("superseded", "superseded", "", at(0))}, None),
        ({"candidate": replace(gated(), is_restored=True)}, None),
        ({"candidate": gated(gates={})}, None),
        ({"candidate": gated(gates={"http_errors": {"dry_run": True}})}, BLUE),
    ],
)
def test_a_release_is_compared_while_both_have_requests(
    changes: dict[str, Any], expected: Subject | str | None
) -> None:
    found = [each.baseline or "alone" for each in queries(stepping(**changes), 600)]
    assert found == ([expected] if expected else [])


def test_a_job_is_asked_about_each_routed_step_and_a_preview_too() -> None:
    steps = [{"preview": True, "hold_seconds": 300}, {"weight": 100, "hold_seconds": 0}]
    url = "https://jobs.example.com/evaluate"
    candidate = gated(steps, strategy="blue_green", gates={"http_errors": {}, "job": {"url": url}})
    rollout = stepping(weight=0, candidate=candidate)
    assert queries(rollout, 600) == ()
    assert analysis.verdict_requests(rollout, "tiny", at(600)) == (
        VerdictRequest("job", url, "tiny", "2", 2, "1", "step_1", 0.0, at(120), at(600)),
    )


@pytest.mark.parametrize("name", ["http_errors", "job"])
def test_a_gate_that_has_failed_needs_no_more_windows(name: str) -> None:
    """Nor is one that only records, whose release goes on."""
    url = {"url": "https://jobs.example.com/evaluate", "dry_run": True}
    candidate = gated(gates={"http_errors": {"dry_run": True}, "job": url})
    failed = GateRecord(name, "fail", evaluated_until=at(240))
    rollout = stepping(candidate=candidate, gates=(failed,))
    requests = analysis.verdict_requests(rollout, "tiny", at(600))
    found = {each.gate for each in queries(rollout, 600)} | {each.gate for each in requests}
    assert found == {"http_errors", "job"} - {name}


# ---- What a step needs


def verdict(
    rollout: Rollout, seconds: float, answered: VerdictKind = "inconclusive", **record: Any
) -> Verdict:
    """What the gates of the release say of the step, `seconds` after noon."""
    phase = rollout.phase
    step = {"step": phase.step if isinstance(phase, Stepping) else -1}
    records = tuple(
        GateRecord(
            **{"gate": name, "verdict": answered, "why": f"{name} → {answered}"} | step | record
        )
        for name in (rollout.candidate or ONE).spec.rollout.gates
    )
    rollout = replace(rollout, gates=records)
    health = health_of(rollout, Observed())
    context = context_of(rollout, health, Evidence(), at(0), at(seconds))
    results = analysis.results_of(rollout, timedelta(seconds=300))
    return judge((MetricsGate(),), replace(context, results=results))


DUE = 30 + 120 + 300
EVALUATED = {"evaluated_until": at(DUE)}


@pytest.mark.parametrize(
    ("rollout", "seconds", "record", "expected"),
    [
        ({}, DUE + 60, {"answered": "pass"}, Passed),
        ({}, DUE + 60, {"answered": "pass", "step": -1}, Waiting),  # of the step before
        ({}, DUE - 60, {}, Waiting),
        ({}, DUE + 60, EVALUATED, Waiting),
        ({}, DUE + 3600, EVALUATED, Inconclusive),
        ({}, DUE + 3600, {}, Inconclusive),
        ({"analysis": {"on_inconclusive": "pause"}}, DUE + 60, EVALUATED, Inconclusive),
        ({"analysis": {"on_inconclusive": "pause"}}, DUE + 60, {}, Waiting),  # not all judged
        ({"analysis": {"on_inconclusive": "rollback"}}, DUE + 60, EVALUATED, Failed),
        ({"gates": {"http_errors": {"on_inconclusive": "rollback"}}}, DUE + 60, EVALUATED, Failed),
        ({"gates": {"http_errors": {"dry_run": True}}}, DUE + 60, EVALUATED, Passed),
        ({}, DUE, {"answered": "error", "lacking_since": at(0)}, Waiting),
        (
            {"analysis": {"on_inconclusive": "rollback"}},
            DUE + 60,
            {"evaluated_until": at(DUE + 60), "lacking_since": at(DUE)},
            Waiting,  # a window without numbers takes nothing back
        ),
        ({}, 600, {"answered": "error", "lacking_since": at(0)}, Inconclusive),
        ({"analysis": {"max_errors": 2}}, 120, {"answered": "error", "lacking_since": at(0)}, None),
    ],
)
def test_a_step_ends_when_each_gate_has_passed(
    rollout: dict[str, Any], seconds: float, record: dict[str, Any], expected: type[Verdict] | None
) -> None:
    found = verdict(stepping(candidate=gated(**rollout)), seconds, **record)
    assert isinstance(found, expected or Inconclusive)


@pytest.mark.parametrize(
    ("seconds", "answered", "expected"),
    [
        (DUE + 60, "pass", Passed),
        (DUE - 60, "inconclusive", Waiting),
        (DUE + 60, "inconclusive", Waiting),
        (DUE + 3600, "inconclusive", Inconclusive),
    ],
)
def test_a_bake_ends_when_each_comparison_has_passed(
    seconds: float, answered: VerdictKind, expected: type[Verdict]
) -> None:
    baking = stepping(phase=Baking(at(60), ROUTED), candidate=gated(bake_seconds=300))
    assert isinstance(verdict(baking, seconds, answered, step=2, **EVALUATED), expected)


@pytest.mark.parametrize(
    "rollout",
    [
        stepping(2, 1000),  # nothing to compare with any more
        stepping(1, 50, candidate=gated([STEPS[0], APPROVAL, STEPS[2]])),
        stepping(1, 50, candidate=gated([STEPS[0], {"percent": 50}, STEPS[2]])),
        stepping(promoted=True),
        stepping(phase=Stepping(0, at(0), 50, ROUTED, granted=1, is_promoted=True)),
        stepping(phase=Stepping(1, at(0), 50, ROUTED, granted=1)),  # its weight is not granted yet
        stepping(phase=Baking(at(0), ROUTED, is_promoted=True)),
    ],
)
def test_some_steps_need_no_comparison(rollout: Rollout) -> None:
    assert verdict(rollout, 600) == Passed("")


@pytest.mark.parametrize(
    "phase", [Stepping(0, at(0), 50, ROUTED, granted=1), Baking(at(0), ROUTED)]
)
def test_a_failure_that_is_latched_fails_whatever_is_said_later(phase: Phase) -> None:
    failure = LatchedFailure("gate", "http_errors: 37 of 1,500", at(60))
    rollout = stepping(phase=phase, failure=failure, promoted=True)
    assert verdict(rollout, 600, "pass") == Failed("gate", failure.why)


# ---- What answers do


def windows(bad: float, minutes: int = 4) -> Windows:
    return Windows(
        tuple(
            WindowMeasured(
                at(60 * minute), at(60 * minute + 60), Counts(bad, 1000), Counts(10, 1000)
            )
            for minute in range(3, 3 + minutes)
        ),
        "requests_total",
    )


@pytest.mark.parametrize("is_dry", [False, True])
def test_a_fail_is_latched_unless_the_gate_only_records(is_dry: bool) -> None:
    rollout = stepping(candidate=gated(gates={"http_errors": {"dry_run": is_dry}}))
    evidence = Evidence(windows={"http_errors": windows(60)})
    after = analysis.update(rollout, evidence, at(600))
    assert after.gates[0].verdict == "fail"
    assert (after.failure is None) == is_dry
    if after.failure:
        assert after.failure == LatchedFailure("gate", after.gates[0].why, at(600))
        good = Evidence(windows={"http_errors": windows(10)})
        assert analysis.update(after, good, at(900)).failure == after.failure


@pytest.mark.parametrize(
    ("gates", "steps", "threshold"),
    [
        ({"http_errors": {}}, STEPS, 400),  # two steps compare, and half is for after them
        ({"http_errors": {}}, STEPS[1:], 200),
        ({"http_errors": {}, "slow": {"slower_than_seconds": 1, "histogram": None}}, STEPS, 400),
        ({"http_errors": {}, "b": {"bad": "x", "total": "x"}}, STEPS, 800),
        ({"http_errors": {}, "b": {"bad": "x", "total": "x", "dry_run": True}}, STEPS, 400),
        ({"http_errors": {}, "limit": {"query": "up", "min": 1}}, STEPS, 400),
    ],
)
def test_alpha_is_shared_among_gates_and_steps(
    gates: dict[str, Any], steps: list[Any], threshold: float
) -> None:
    selector = 'requests_total{release=~"$releases"}'
    for gate in gates.values():
        if "bad" in gate:
            gate.update(bad=selector, total=selector)
        if "histogram" in gate:
            gate.update(dry_run=True, histogram='seconds_bucket{release=~"$releases"}')
    weight = round(10 * steps[0]["weight"])
    rollout = stepping(0, weight, candidate=gated(steps, gates=gates))
    after = analysis.update(rollout, Evidence(windows={"http_errors": windows(60)}), at(600))
    record = next(each for each in after.gates if each.gate == "http_errors")
    assert record.threshold == pytest.approx(threshold)


def test_the_last_step_of_a_swap_has_its_part_of_alpha() -> None:
    """It replaces the instances of the stable release, so until its end both are compared."""
    selector = 'requests_total{template=~"$templates"}'
    gates = {"errors": {"bad": selector, "total": selector}}
    candidate = gated([{"percent": 50}, {"percent": 100}], strategy="rolling", gates=gates)
    rollout = Rollout(Stepping(0, at(0)), stable=ONE, candidate=candidate, serving_group="blue")
    after = analysis.update(rollout, Evidence(windows={"errors": windows(60)}), at(600))
    assert after.gates[0].threshold == pytest.approx(400)


# ---- Before it begins


def beginning(answer: WindowAnswer | None, seconds: float = 120) -> tuple[str, str]:
    """What becomes of a release whose gate hears this about the stable one, so long after it was
    published.
    """
    rollout = Rollout(Settled(), stable=ONE, serving_group="blue")
    before = {} if answer is None else {"http_errors": answer}
    desired = Desired("tiny", gated(), 2)
    change = judge_settled(rollout, desired, Observed(), Evidence(before=before), at(seconds))
    if isinstance(change.rollout.phase, Stepping):
        return "begins", ""
    if change.is_delayed:
        return "delayed", change.waiting_for
    (refused,) = change.transitions
    assert (refused.outcome, refused.reason) == ("refused", "gate")
    assert change.desired.release == ONE
    return "refused", refused.why


def stable(counts: Counts | Unmeasured) -> Windows:
    return Windows((WindowMeasured(at(-60), at(0), counts),), "requests_total")


@pytest.mark.parametrize(
    ("answer", "expected", "why"),
    [
        (stable(Counts(0, 5)), "begins", ""),
        (stable(Counts(0, 0)), "refused", "no request reached release 1 in the last 30 min"),
        (stable(Unmeasured("no-series", "no series")), "refused", "no series"),
        (stable(Unmeasured("reset", "began anew")), "delayed", "began anew"),
        (Unmeasured("no-series", "no such metric"), "refused", "no such metric"),
        (Unmeasured("labels", "it has le, job"), "refused", "it has le, job"),
        (Unmeasured("edge", "it has 0.1, 0.5"), "refused", "it has 0.1, 0.5"),
        (Unmeasured("timeout", "no answer"), "delayed", "no answer"),
        (Delayed(at(60), "arrive by 12:01"), "delayed", "arrive by 12:01"),
        (Windows((), "requests_total"), "delayed", "no window is over"),
    ],
)
def test_a_release_does_not_begin_without_numbers_of_the_stable_one(
    answer: WindowAnswer, expected: str, why: str
) -> None:
    outcome, answered = beginning(answer)
    assert (outcome, why in answered) == (expected, True)
    assert not answered or answered.startswith("gate http_errors has nothing to compare with")


def test_a_release_is_not_refused_by_what_a_source_says_once() -> None:
    lack = Unmeasured("no-series", "no such metric")
    assert [beginning(lack, seconds)[0] for seconds in (1, 89, 90)] == [
        "delayed",
        "delayed",
        "refused",
    ]


def test_a_gate_that_only_records_keeps_no_release_from_beginning() -> None:
    rollout = Rollout(Settled(), stable=ONE, serving_group="blue")
    candidate = gated(gates={"http_errors": {"dry_run": True}})
    lack = Evidence(before={"http_errors": Unmeasured("no-series", "no such metric")})
    desired = Desired("tiny", candidate, 2)
    change = judge_settled(rollout, desired, Observed(), lack, at(0))
    assert isinstance(change.rollout.phase, Stepping)


def test_a_release_begins_with_what_the_stable_one_had() -> None:
    rollout = Rollout(Settled(), stable=ONE, serving_group="blue")
    desired = Desired("tiny", gated(), 2)
    (query,) = baseline.queries_before(rollout, desired, at(0))
    assert (query.candidate, query.until - query.since) == (BLUE, timedelta(minutes=30))
    reset, nothing = Unmeasured("reset", "began anew"), Counts(0, 0)
    found: tuple[Counts | Unmeasured, ...] = (Counts(10, 1000), reset, Counts(20, 1000), nothing)
    minutes = tuple(
        WindowMeasured(at(60 * minute), at(60 * minute + 60), each)
        for minute, each in enumerate(found)
    )
    evidence = Evidence(before={"http_errors": Windows(minutes, "requests_total")})
    change = judge_settled(rollout, desired, Observed(), evidence, at(0))
    assert change.rollout.gates == (
        GateRecord("http_errors", history=History(2, 30, 2000, 0.1 + 0.4)),
    )
