"""Phase `Baking`: the candidate has everything, and must stay healthy. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from rollout import transitions
from rollout.gates import BAKE_GATES
from rollout.gates.base import Passed, Traffic, judge
from rollout.gates.traffic import PROPAGATION
from rollout.judging import context_of, health_of, hold, with_progress
from rollout.model import Baking, Desired, Evidence, Observed, Rollout
from rollout.strategies import has_own_group
from rollout.transitions import PhaseChange

ALWAYS = datetime.min.replace(tzinfo=UTC)


def judge_bake(
    rollout: Rollout,
    desired: Desired,
    phase: Baking,
    observed: Observed,
    evidence: Evidence,
    now: datetime,
) -> PhaseChange:
    health = health_of(rollout, observed)
    rollout, health = with_progress(rollout, health, evidence, now)
    began, traffic = phase.since, None
    if has_own_group(rollout):
        traffic = Traffic("all requests", 0, is_granted=True, routed_since=phase.routed_since)
        began = max(began, (phase.routed_since or now) + PROPAGATION)
    if rollout.promoted or phase.is_promoted:
        began = ALWAYS
    context = context_of(rollout, health, evidence, began, now)
    verdict = judge(BAKE_GATES, replace(context, traffic=traffic))
    if not isinstance(verdict, Passed) or rollout.paused:
        return hold(rollout, desired, verdict, health, now)
    return transitions.succeed(rollout, desired, health, verdict.why, now)
