"""Gate `bake`: the candidate has everything and must stay healthy for `rollout.bake_seconds`."""

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
from rollout.gates.health import MAX_FLAPS, non_retryable
from rollout.spec.defaults import startup_seconds

UNHEALTHY_MAJORITY_SECONDS = 60
"""Longer than Compute Engine may answer with what was true before: three passes that read the same
stale health are not three observations."""


class BakeGate:
    def queries(self, context: GateContext) -> tuple[Query, ...]:
        return ()

    def judge(self, context: GateContext) -> Verdict:
        health, progress, now = context.health, context.progress, context.now
        if failure := non_retryable(context):
            return failure
        if progress.flaps >= MAX_FLAPS:
            version, flaps = health.release.version, progress.flaps
            why = f"release {version} lost healthy instances {flaps} times during its bake"
            return Failed("unhealthy", why)
        if progress.degraded_since and (verdict := _degraded(context, progress.degraded_since)):
            return verdict
        end = context.since + timedelta(seconds=health.release.spec.rollout.bake_seconds)
        if now < end:
            return Waiting(f"bakes until {end:%Y-%m-%dT%H:%M:%SZ}; {health}")
        if not health.is_well:
            return Waiting(f"bake time is over, but only {health}")
        return Passed(f"baked for {duration(now - context.since)}; {health}")


def _degraded(context: GateContext, since: datetime) -> Verdict | None:
    """Instances that start because the group grew get their start-up time; if most of them are
    unhealthy at once, that is too long to wait.
    """
    health = context.health
    is_majority = health.healthy * 2 < health.needed
    startup = startup_seconds(health.release.spec)
    patience = UNHEALTHY_MAJORITY_SECONDS if is_majority else max(60, 2 * startup)
    degraded_for = context.now - since
    if degraded_for < timedelta(seconds=patience):
        return None
    span = duration(degraded_for)
    if health.has_no_data:
        return Inconclusive(f"no health data for release {health.release.version} for {span}")
    return Failed("unhealthy", f"{health}, for {span} of its bake time")
