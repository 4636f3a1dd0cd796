"""When the next pass over a model is due. Pure.

while it waits      5 to 15 s, an eighth of the time the phase has taken; 60 s while paused
after a change      at once, or after a back-off that doubles while the same change is repeated
settled             never, unless a change was refused (60 s)
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from rollout.model import Baking, Decision, Retiring, RollingBack, Rollout, Settled, Stepping

SHORTEST = timedelta(seconds=5)
LONGEST = timedelta(seconds=15)  # for a phase that has taken two minutes, and while baking
PAUSED = timedelta(seconds=60)
RETRY = timedelta(seconds=5)
SETTLED_RETRY = timedelta(seconds=60)
MOVE_BEYOND = timedelta(seconds=120)


@dataclass(frozen=True)
class Attempt:
    """What came of a pass's actions. `repeats`: how many passes before this one applied the very
    same plan. `retry_after_seconds`: for each action that is still pending.
    """

    actions: int = 0
    refused: int = 0
    retry_after_seconds: tuple[float, ...] = ()
    repeats: int = 0


def after_decision(rollout: Rollout, *, has_transitions: bool, now: datetime) -> datetime | None:
    """When `advance` wants the next pass; None if the model is settled."""
    if has_transitions:
        return now
    match rollout.phase:
        case Settled():
            return None
        case _ if rollout.paused:
            return now + PAUSED
        case Baking():
            return now + LONGEST
        case Stepping() | RollingBack() | Retiring():
            # Each pass costs API quota, and what has taken long may take a little longer.
            return now + min(LONGEST, max(SHORTEST, (now - rollout.phase.since) / 8))
        case _:
            assert_never(rollout.phase)


def after_attempt(decision: Decision, attempt: Attempt, now: datetime) -> datetime | None:
    """When the loop runs the next pass: at once after a change, later if Compute Engine is busy or
    if the same change has been applied before, otherwise when `advance` wants it.
    """
    back_off = RETRY * 2 ** (attempt.repeats - 1) if attempt.repeats else timedelta(0)
    if attempt.retry_after_seconds:
        longest = timedelta(seconds=max(attempt.retry_after_seconds))
        return now + max(RETRY, back_off, longest)
    if attempt.refused and isinstance(decision.rollout.phase, Settled):
        return now + SETTLED_RETRY
    if attempt.actions:
        return now + back_off
    return now if decision.transitions else decision.requeue_at


def merge(stored: datetime | None, requested: datetime | None, now: datetime) -> datetime | None:
    """The `requeue_at` to store. A time that has passed stays, so that the model is due at every
    tick without another write; it moves only if the next pass is far off.
    """
    if requested is None:
        return None
    if stored is None or requested - now > MOVE_BEYOND:
        return requested
    return min(stored, requested)
