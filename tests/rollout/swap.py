"""A swap from release 1 to release 2 and what is seen of it, for the tests of its phases."""

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
NOTHING, CALM = Observed(), Evidence()
LADDER = steps_digest((step(10), step(50), step(100)))
ONE_STEP = steps_digest((step(100),))
REFUSED = Evidence(
    (Problem("stock-out", "CODE", "none left"), Problem("timeout", "CODE", "too slow"))
)
NOW = at(10)


def desired(of: Release | None) -> Desired:
    return Desired("tiny", of, of.generation if of else 1)


def on_its_way(phase: Phase, healthy: int = 0, **fields: Any) -> Rollout:
    """Release 2 over release 1, looked at a moment ago."""
    rollout = Rollout(
        phase, ONE, TWO, steps=LADDER, progress=Progress(healthy, NOON), last_observed_at=NOON
    )
    return replace(rollout, **fields)


def looked(
    rollout: Rollout,
    of: Release | None,
    seen: Observed,
    evidence: Evidence = CALM,
    now: datetime = NOW,
) -> Decision:
    return advance(rollout, desired(of), seen, evidence, now)


def both(old: int, new: int, sick: int = 0) -> Observed:
    return group(
        *instances(ONE, old), *instances(TWO, new), *instances(TWO, sick, "unhealthy", start=new)
    )


HEALTHY_STEP, HEALTHY_BAKE = both(3, 1), both(0, 4)
