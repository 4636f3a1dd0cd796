"""Gate `requests`: a step ends only when the candidate has got the step's `min_requests`.

A hold without requests shows nothing. Counted is what came after the step's route reached every
front end. If requests cannot be counted the step goes on, and after the progress deadline a person
is asked: it never passes.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from rollout.gates.base import (
    GateContext,
    Inconclusive,
    Passed,
    Query,
    RequestGoal,
    Verdict,
    Waiting,
    duration,
)
from rollout.measurements import Answer, CounterReset, Delayed, Measured, RequestCount, Unmeasured
from rollout.model import Evidence
from rollout.spec.defaults import progress_deadline_seconds


class RequestsGate:
    def queries(self, context: GateContext) -> tuple[Query, ...]:
        goal = context.requests
        if goal is None or context.now < goal.due:
            return ()
        return (RequestCount("step", goal.since, context.now),)

    def judge(self, context: GateContext) -> Verdict:
        goal = context.requests
        if goal is None:
            return Passed("")
        needs = f"of {goal.at_least} requests have reached the candidate"
        match answer_for(goal, context.evidence):
            case Measured(requests=count, is_estimate=is_estimate):
                about = "about " if is_estimate else ""
                return _judge_count(goal, count, f"{about}{count:.0f} {needs}")
            case CounterReset(at_least=count, why=why):
                return _judge_count(goal, count, f"at least {count:.0f} {needs}; {why}")
            case Delayed(why=why):
                return Waiting(f"the candidate needs {goal.at_least} requests; {why}")
            case Unmeasured(why=why):
                return _without_number(context, goal, why)
            case None:
                return Waiting(f"the candidate needs {goal.at_least} requests")


def answer_for(goal: RequestGoal, evidence: Evidence) -> Answer | None:
    """None: it was not asked in this pass."""
    return evidence.answers(RequestCount("step", goal.since, goal.since)).get(goal.colour)


def unmeasured_since(
    before: datetime | None, answer: Answer | None, now: datetime
) -> datetime | None:
    """Since when there has been no number; None if there is one, or will be."""
    if answer is None:
        return before
    return (before or now) if isinstance(answer, Unmeasured) else None


def _judge_count(goal: RequestGoal, count: float, why: str) -> Verdict:
    return Passed(why) if count >= goal.at_least else Waiting(why)


def _without_number(context: GateContext, goal: RequestGoal, why: str) -> Verdict:
    deadline = timedelta(seconds=progress_deadline_seconds(context.health.release.spec))
    span = context.now - (goal.unmeasured_since or context.now)
    if span < deadline:
        return Waiting(f"requests cannot be counted: {why}")
    return Inconclusive(f"requests could not be counted for {duration(span)}: {why}")
