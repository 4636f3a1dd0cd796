"""Gate `watch`: after its bake a release stays watched for `rollout.watch_seconds`.

It fails only if the fleet falls sick by the release's own fault: most of it is down, or too many
instances keep falling. What few instances do, and missing data, takes nothing back.
"""

from __future__ import annotations

from datetime import timedelta

from rollout.gates.base import Failed, GateContext, Passed, Query, Verdict, Waiting
from rollout.gates.health import flapping, majority_down


class WatchGate:
    def queries(self, context: GateContext) -> tuple[Query, ...]:
        return ()

    def judge(self, context: GateContext) -> Verdict:
        health, now = context.health, context.now
        if span := majority_down(health.since("lost"), health, now):
            return Failed("unhealthy", f"{health}, for {span}")
        if failure := flapping(context):
            return failure
        end = context.since + timedelta(seconds=health.release.spec.rollout.watch_seconds)
        if now < end:
            return Waiting(f"watched until {end:%Y-%m-%dT%H:%M:%SZ}")
        return Passed(str(health))
