"""Gate `health`: a step ends only if each of its instances of the candidate has been healthy for
the step's `hold_seconds`.

Problems that Compute Engine does not solve by itself (configuration, policy, no quota for a single
instance) fail at once; those that may pass (a stock-out, slow starts) fail when the progress
deadline has passed. What the environment took, and what the group cannot add to its size, delays
the verdict and fails nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta

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
from rollout.gates.release_health import FLAP_WINDOW, ReleaseHealth, flaps_of
from rollout.model import Reason
from rollout.spec.defaults import progress_deadline_seconds, startup_seconds

MIN_FLAPS = 3
UNHEALTHY_MAJORITY_SECONDS = 60
"""Longer than Compute Engine may answer with what was true before: three passes that read the same
stale health are not three observations."""
NON_RETRYABLE: frozenset[Reason] = frozenset({"quota", "config", "policy"})


class HealthGate:
    def queries(self, context: GateContext) -> tuple[Query, ...]:
        return ()

    def judge(self, context: GateContext) -> Verdict:
        """The deadline counts from the last improvement, so a slow start is not a failure."""
        health = context.health
        if failure := non_retryable(context) or flapping(context):
            return failure
        if sick := sickness(context):
            return sick
        if health.is_reached and not context.evidence.pending_changes:
            return _judge_hold(context)
        deadline = timedelta(seconds=progress_deadline_seconds(health.release.spec))
        if context.now - context.progress.improved_at < deadline:
            return Waiting(_waiting_for(context))
        verdict = _overdue(context, deadline)
        is_condemned = not isinstance(verdict, Passed | Waiting)
        return Waiting(_waiting_for(context)) if is_condemned and context.is_halted else verdict


# ---- What also fails a bake


def non_retryable(context: GateContext) -> Failed | None:
    """The first problem that no waiting solves. A release that has instances is not judged by those
    that it cannot get.
    """
    health = context.health
    excused = health.has_run or context.is_patient
    final = (each for each in health.problems if each.reason != "quota" or not excused)
    for problem in (*context.evidence.refusals, *final):
        if problem.reason in NON_RETRYABLE:
            return Failed(problem.reason, problem.message)
    return None


def flapping(context: GateContext) -> Failed | None:
    """Instances were healthy and fell more than once each on average, wherever they are now. That
    all fall once together is no flapping: how long they stay down says how bad it is.
    """
    health, flaps = context.health, flaps_of(context.progress, context.now)
    if flaps < max(MIN_FLAPS, health.needed + 1):
        return None
    span = duration(FLAP_WINDOW)
    why = f"release {health.release.version} lost healthy instances {flaps} times within {span}"
    return Failed("unhealthy", why)


def sickness(context: GateContext) -> Failed | Inconclusive | None:
    """Instances that were healthy and fell get twice their start-up time to recover; if most of
    them are down at once, that is too long to wait.
    """
    health, now = context.health, context.now
    lost, silent = health.since("lost"), health.since("silent")
    if span := _too_long(lost, health, now):
        return Failed("unhealthy", f"{health}, for {span}")
    if span := _too_long(silent, health, now):
        return Inconclusive(f"no health data for release {health.release.version} for {span}")
    return None


def _too_long(since: list[datetime], health: ReleaseHealth, now: datetime) -> str:
    """For how long that many have been down; empty if that is not too long yet."""
    if span := majority_down(since, health, now):
        return span
    patience = timedelta(seconds=max(60, 2 * startup_seconds(health.release.spec)))
    return duration(now - since[0]) if since and now - since[0] >= patience else ""


def majority_down(since: list[datetime], health: ReleaseHealth, now: datetime) -> str:
    """For how long most instances have been down, if that is too long; else empty."""
    majority = health.needed // 2 + 1
    if len(since) < majority:
        return ""
    span = now - since[majority - 1]
    return duration(span) if span >= timedelta(seconds=UNHEALTHY_MAJORITY_SECONDS) else ""


# ---- The end of a step


def _judge_hold(context: GateContext, why: str = "") -> Verdict:
    """Passed once enough instances have been healthy for long enough."""
    health, hold = context.health, context.hold
    unproven = health.unproven(hold, context.now) if hold else 0
    if not unproven:
        return Passed(why or str(health))
    proven = health.needed - unproven
    return Waiting(
        f"{health}; {proven} of {health.needed} have been healthy for {duration(hold)}"
        " without a break"
    )


def _overdue(context: GateContext, deadline: timedelta) -> Verdict:
    """Why there was no progress. A candidate that is complete and healthy passes even now: then the
    old release keeps the group from being stable, and waiting would keep the bad one.
    """
    health, evidence, span = context.health, context.evidence, duration(deadline)
    if health.is_well and health.has_taken_over and not evidence.pending_changes:
        return _judge_hold(context, f"{health}; the rest of the group does not become stable")
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
