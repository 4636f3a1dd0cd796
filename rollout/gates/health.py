"""Gate `health`: a step ends only if its instances of the candidate are all there and healthy.

Problems that Compute Engine does not solve by itself (quota, configuration, policy) fail at once;
those that may pass (a stock-out, slow starts) fail when the progress deadline has passed.
"""

from __future__ import annotations

from datetime import timedelta

from rollout.gates.base import (
    Failed,
    GateContext,
    Inconclusive,
    Passed,
    Query,
    Verdict,
    Waiting,
    duration,
)
from rollout.model import Reason
from rollout.spec.defaults import progress_deadline_seconds

MAX_FLAPS = 3
NON_RETRYABLE: frozenset[Reason] = frozenset({"quota", "config", "policy"})


class HealthGate:
    def queries(self, context: GateContext) -> tuple[Query, ...]:
        return ()

    def judge(self, context: GateContext) -> Verdict:
        """The deadline counts from the last improvement, so a slow start is not a failure."""
        health, progress = context.health, context.progress
        if failure := non_retryable(context):
            return failure
        if progress.flaps >= MAX_FLAPS:
            version, flaps = health.release.version, progress.flaps
            why = f"release {version} lost healthy instances {flaps} times in this step"
            return Failed("unhealthy", why)
        if health.is_reached and not context.evidence.pending_changes:
            return Passed(str(health))
        deadline = timedelta(seconds=progress_deadline_seconds(health.release.spec))
        if context.now - progress.improved_at < deadline:
            return Waiting(_waiting_for(context))
        return _overdue(context, deadline)


def non_retryable(context: GateContext) -> Failed | None:
    """The first problem that no waiting solves."""
    for problem in (*context.evidence.refusals, *context.health.problems):
        if problem.reason in NON_RETRYABLE:
            return Failed(problem.reason, problem.message)
    return None


def _overdue(context: GateContext, deadline: timedelta) -> Verdict:
    """Why there was no progress. A candidate that is complete and healthy passes even now: then the
    old release keeps the group from being stable, and waiting would keep the bad one.
    """
    health, evidence, span = context.health, context.evidence, duration(deadline)
    if health.is_well and health.has_replaced_others and not evidence.pending_changes:
        return Passed(f"{health}; the rest of the group does not become stable")
    if health.problems:
        problem = health.problems[0]
        return Failed(problem.reason, f"no instance could be created for {span}: {problem.message}")
    if health.has_no_data:
        return Inconclusive(f"no health data for release {health.release.version} for {span}")
    has_started = any(
        instance.is_settled or instance.action in ("VERIFYING", "RECREATING")
        for instance in health.instances
    )
    if has_started and not health.is_well:
        return Failed("unhealthy", f"{health}, and none became healthy for {span}")
    return Failed("timeout", f"no progress for {span}: {_waiting_for(context)}")


def _waiting_for(context: GateContext) -> str:
    health = context.health
    if health.problems:
        return f"{health}; {health.problems[0].message}"
    if context.evidence.pending_changes:
        return context.evidence.pending_changes[0]
    if health.group is None:
        return "the group does not exist yet"
    return f"{health}; the group is still changing" if health.is_well else str(health)
