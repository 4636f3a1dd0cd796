"""Gate `bake`: the candidate has everything and must stay healthy for `rollout.bake_seconds`.

What the environment took delays its end, and so do instances that are still starting.
"""

from __future__ import annotations

from datetime import timedelta

from rollout.gates.base import Failed, GateContext, Passed, Query, Verdict, Waiting, duration
from rollout.gates.health import flapping, non_retryable, sickness
from rollout.spec.defaults import progress_deadline_seconds


class BakeGate:
    def queries(self, context: GateContext) -> tuple[Query, ...]:
        return ()

    def judge(self, context: GateContext) -> Verdict:
        health, now = context.health, context.now
        failure = non_retryable(context) or flapping(context) or sickness(context)
        if failure := failure or _never_answered(context):
            return failure
        end = context.since + timedelta(seconds=health.release.spec.rollout.bake_seconds)
        if now < end:
            return Waiting(f"bakes until {end:%Y-%m-%dT%H:%M:%SZ}; {health}")
        if not health.is_well:
            return Waiting(f"bake time is over, but only {health}")
        return Passed(f"baked for {duration(now - context.since)}; {health}")


def _never_answered(context: GateContext) -> Failed | None:
    """Instances that start because the group grew, or was repaired, have the progress deadline."""
    health = context.health
    deadline = timedelta(seconds=progress_deadline_seconds(health.release.spec))
    if context.is_halted or not any(
        context.now - since >= deadline for since in health.since("starting")
    ):
        return None
    return Failed("unhealthy", f"{health}, and the rest did not become so in {duration(deadline)}")
