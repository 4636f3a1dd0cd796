"""A swap from release 1 to release 2 and what is observed of it, for the tests of its phases."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from rollout.advance import advance
from rollout.model import (
    Decision,
    Desired,
    Evidence,
    Observed,
    Phase,
    Problem,
    Progress,
    Release,
    Rollout,
)
from rollout.strategies.base import steps_digest
from tests.rollout.build import NOON, at, group, instances, release, step

ONE, TWO, THREE = release("1"), release("2"), release("3")
NOTHING, NO_EVIDENCE = Observed(), Evidence()
STEPS_DIGEST = steps_digest((step(10), step(50), step(100)))
SINGLE_STEP_DIGEST = steps_digest((step(100),))
REFUSALS = Evidence(
    (Problem("stock-out", "CODE", "none left"), Problem("timeout", "CODE", "too slow"))
)
NOW = at(10)


def desired(of: Release | None) -> Desired:
    return Desired("tiny", of, of.generation if of else 1)


def serving(of: Release, **fields: Any) -> Rollout:
    """A settled model whose release `of` serves from the blue group."""
    return replace(Rollout(stable=of, serving_group="blue"), **fields)


def swapping(phase: Phase, healthy: int = 0, **fields: Any) -> Rollout:
    """Release 2 replaces release 1 in the blue group; last observed at noon."""
    rollout = Rollout(
        phase,
        ONE,
        TWO,
        steps_digest=STEPS_DIGEST,
        progress=Progress(healthy, NOON),
        last_observed_at=NOON,
        serving_group="blue",
    )
    return replace(rollout, **fields)


def run_pass(
    rollout: Rollout,
    of: Release | None,
    observed: Observed,
    evidence: Evidence = NO_EVIDENCE,
    now: datetime = NOW,
) -> Decision:
    """The decision of one pass with `of` as the desired release. What it lends is in
    `test_capacity_lease.py`.
    """
    decision = advance(rollout, desired(of), observed, evidence, now)
    return replace(decision, rollout=replace(decision.rollout, capacity_lease=None))


def mixed(old: int, new: int, unhealthy: int = 0) -> Observed:
    """A group with healthy instances of releases 1 and 2, and unhealthy ones of release 2."""
    return group(
        *instances(ONE, old),
        *instances(TWO, new),
        *instances(TWO, unhealthy, "unhealthy", start=new),
    )


HEALTHY_STEP, HEALTHY_BAKE = mixed(3, 1), mixed(0, 4)
