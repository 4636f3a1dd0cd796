"""Which conditions hold for a model, and since when. Pure.

Conditions are for people: `Paused`, `Frozen` (the policy lets no rollout begin or go on now),
`CapacityScarce` (a release waits for quota or machines before anything is touched),
`RollbackStalled` (the stable release cannot be restored; a newer release takes over), `Degraded`
(something is wrong and may need a person), `Drifted` (a settled model was repaired),
`ObservationFailed` (the rollout could not be observed for a while).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from rollout import requeue
from rollout.model import Condition, Frozen, RollingBack, Rollout

OBSERVATION_GAP = timedelta(seconds=180)
"""A rollout whose pass is late by this much, because nothing could be read, has an
`ObservationFailed` condition."""


def conditions_of(
    rollout: Rollout, frozen: Frozen | None, scarce: str, warnings: Iterable[str], now: datetime
) -> tuple[Condition, ...]:
    phase, paused = rollout.phase, rollout.paused
    found = [Condition("Paused", paused.why, paused.since)] if paused else []
    if frozen:
        found.append(Condition("Frozen", frozen.why, now))
    if scarce:
        found.append(Condition("CapacityScarce", scarce, now))
    if isinstance(phase, RollingBack) and phase.stalled:
        found.append(Condition("RollbackStalled", phase.stalled, now))
    return (*found, *(Condition("Degraded", why, now) for why in warnings))


def keep_since(
    before: tuple[Condition, ...], after: tuple[Condition, ...]
) -> tuple[Condition, ...]:
    """The conditions in `after`, each with the time since which it holds."""
    since = {(condition.type, condition.why): condition.since for condition in before}
    return tuple(
        replace(each, since=since.get((each.type, each.why), each.since)) for each in after
    )


def observation_failed(
    rollout: Rollout, conditions: Iterable[Condition], why: str, now: datetime
) -> Condition | None:
    """The condition to record now that an observation failed; None if it is too early, or recorded
    already.
    """
    is_recorded = any(condition.type == "ObservationFailed" for condition in conditions)
    last = rollout.last_observed_at
    if is_recorded or last is None:
        return None
    if now - last < OBSERVATION_GAP + (requeue.interval(rollout, last) or timedelta(0)):
        return None
    return Condition("ObservationFailed", why, now)
