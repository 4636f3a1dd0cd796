"""The gate `requests`: what each answer of a source of metrics does to a step."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from rollout.gates.base import GateContext, Inconclusive, Passed, RequestGoal, Verdict, Waiting
from rollout.gates.release_health import observe_release
from rollout.gates.requests import RequestsGate, answer_for, unmeasured_since
from rollout.measurements import Answer, CounterReset, Delayed, Measured, RequestCount, Unmeasured
from rollout.model import Evidence, Measurement, Progress
from rollout.strategies.rolling import steady_group
from tests.rollout.build import NOON, at, group, instances, release

TWO = release("2", rollout={"progress_deadline_seconds": 900})
GOAL = RequestGoal(200, "green", NOON, at(60), None)
LATE = Unmeasured("timeout", "it did not answer")


def context(
    goal: RequestGoal | None, answer: Answer | None = None, seconds: float = 60
) -> GateContext:
    [view] = group(*instances(TWO, 4)).groups
    health = observe_release(steady_group(TWO, "blue"), TWO, view)
    other = Measured(10**6, NOON, at(60))
    measured = Measurement(
        RequestCount("step", NOON, at(59)), (("blue", other), ("green", answer or other))
    )
    evidence = Evidence(measurements=(measured,) if answer else ())
    return GateContext(health, Progress(4, NOON), evidence, NOON, at(seconds), requests=goal)


def judge(goal: RequestGoal | None, answer: Answer | None = None, seconds: float = 60) -> Verdict:
    return RequestsGate().judge(context(goal, answer, seconds))


def test_a_step_without_a_minimum_asks_nothing_and_passes() -> None:
    assert RequestsGate().queries(context(None)) == ()
    assert judge(None) == Passed("")


def test_it_asks_once_the_hold_is_over() -> None:
    assert RequestsGate().queries(context(GOAL, seconds=59)) == ()
    query = RequestCount("step", NOON, at(60))
    assert RequestsGate().queries(context(GOAL, seconds=60)) == (query,)


def test_what_was_not_asked_does_not_pass() -> None:
    assert judge(GOAL) == Waiting("the candidate needs 200 requests")
    since = replace(GOAL, since=at(1))  # the route was restored in between
    assert judge(since, Measured(300, NOON, at(60))) == Waiting("the candidate needs 200 requests")


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Measured(199, NOON, at(60)), Waiting("199 of 200 requests have reached the candidate")),
        (Measured(200, NOON, at(60)), Passed("200 of 200 requests have reached the candidate")),
        (
            Measured(200, NOON, at(60), is_estimate=True),
            Passed("about 200 of 200 requests have reached the candidate"),
        ),
        (
            CounterReset(199, "a counter began anew"),
            Waiting(
                "at least 199 of 200 requests have reached the candidate; a counter began anew"
            ),
        ),
        (
            CounterReset(200, "a counter began anew"),
            Passed("at least 200 of 200 requests have reached the candidate; a counter began anew"),
        ),
        (
            Delayed(at(300), "they arrive by 12:05:00Z"),
            Waiting("the candidate needs 200 requests; they arrive by 12:05:00Z"),
        ),
        (LATE, Waiting("requests cannot be counted: it did not answer")),
    ],
)
def test_a_step_passes_by_a_number_alone(answer: Answer, verdict: Verdict) -> None:
    assert judge(GOAL, answer) == verdict


@pytest.mark.parametrize(
    ("since", "kind"), [(None, Waiting), (at(101), Waiting), (at(100), Inconclusive)]
)
def test_after_the_deadline_a_person_must_pass(since: datetime | None, kind: type[Verdict]) -> None:
    verdict = judge(replace(GOAL, unmeasured_since=since), LATE, seconds=1000)
    assert isinstance(verdict, kind)
    assert "it did not answer" in verdict.why


def test_the_deadline_counts_from_the_first_lack_in_a_row() -> None:
    number = Measured(1, NOON, at(60))
    assert unmeasured_since(None, LATE, at(5)) == at(5)
    assert unmeasured_since(at(5), LATE, at(9)) == at(5)
    assert unmeasured_since(at(5), number, at(9)) is None
    assert unmeasured_since(at(5), Delayed(at(300), ""), at(9)) is None
    assert unmeasured_since(at(5), None, at(9)) == at(5)  # it was not asked


def test_the_answer_is_that_of_the_candidates_group() -> None:
    number = Measured(7, NOON, at(60))
    assert answer_for(GOAL, context(GOAL, number).evidence) == number
