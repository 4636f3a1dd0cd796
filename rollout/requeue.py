"""When the next pass over a model is due. Pure.

while it waits      5 to 15 s, an eighth of the time the phase has taken
in a step           30 s until the time that the last step took is near, then every 2 s
while it bakes, or  15 s to 5 min, a sixtieth of the time it has taken; 15 s while it is degraded
awaits approval
stalled rollback    1 to 5 min, a sixtieth of the time it has taken
paused              10 min to 6 h, as long as it has been paused; the drift scan sees what happens
frozen              at least 60 s in a rollout, else 10 min; or until the window ends
stable starts       15 s, before a rollout within its group begins
short of capacity   2 min, before a rollout begins
after a change      at once, or after a back-off that doubles while the same change is repeated
not readable        when Compute Engine allows it, spread over the time for which it was not
gates judge         60 s at most
settled             never; every 60 s while a change is refused, the release is watched, or the old
                    group is kept
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import assert_never

from rollout.deferred import dataclass
from rollout.model import Baking, Decision, Retiring, RollingBack, Rollout, Settled, Stepping
from rollout.step_controls import awaited_step

SHORTEST = timedelta(seconds=5)
LONGEST = timedelta(seconds=15)  # for a phase that has taken two minutes, and early in a bake
SELDOM = timedelta(seconds=30)
OFTEN = timedelta(seconds=2)
CLOSE = timedelta(seconds=4)
LONGEST_BAKE = timedelta(minutes=5)  # for a bake that has taken five hours
PAUSED, LONGEST_PAUSED = timedelta(minutes=10), timedelta(hours=6)
FROZEN = timedelta(seconds=60)
RETRY = timedelta(seconds=5)
STALLED = timedelta(seconds=60)
SCARCE = timedelta(minutes=2)
SETTLED_RETRY = timedelta(seconds=60)
WATCH = timedelta(seconds=60)
GATES = timedelta(seconds=60)
"""While gates judge, in whatever phase: a fail acts within a window."""
MOVE_BEYOND = timedelta(seconds=120)
SHORTEST_SPREAD = timedelta(seconds=30)
LONGEST_SPREAD = timedelta(minutes=5)


@dataclass(frozen=True)
class Attempt:
    """What came of a pass's actions. `repeats`: how many passes before this one applied the very
    same plan. `retry_after_seconds`: for each action that is still pending. `is_swap`: all of them
    were applied, and they change nothing but what runs in groups, which takes its time.
    """

    actions: int = 0
    refused: int = 0
    retry_after_seconds: tuple[float, ...] = ()
    repeats: int = 0
    is_swap: bool = False

    @property
    def is_unfinished(self) -> bool:
        return bool(self.retry_after_seconds or self.refused)


def after_decision(
    rollout: Rollout,
    *,
    has_transitions: bool,
    frozen_until: datetime | None = None,
    is_scarce: bool = False,
    now: datetime,
) -> datetime | None:
    """When `advance` wants the next pass; None if the model is settled."""
    if has_transitions:
        return now
    wait = interval(rollout, now)
    if frozen_until:
        return min(frozen_until, now + min(max(wait or PAUSED, FROZEN), PAUSED))
    if is_scarce:
        return now + min(wait or SCARCE, SCARCE)
    return None if wait is None else now + wait


def is_routine(rollout: Rollout) -> bool:
    """Whether the next pass is expected to find nothing to do, unless there is a newer release."""
    match rollout.phase:
        case Settled():
            return rollout.starting_since is None
        case _ if rollout.paused:
            return True
        case Stepping():
            return awaited_step(rollout) is not None
        case Baking() as phase:
            is_degraded = rollout.progress is not None and rollout.progress.is_degraded
            return not (is_degraded or phase.is_promoted or rollout.promoted)
        case RollingBack(stalled=stalled):
            return bool(stalled)
        case Retiring():
            return False
        case _:
            assert_never(rollout.phase)


def interval(rollout: Rollout, now: datetime) -> timedelta | None:
    """How long a rollout waits for its next pass; None if it is settled. Each pass costs API quota,
    and what has taken long may take a little longer.
    """
    present = _interval(rollout, now)
    if present is None or not rollout.gates:
        return present
    return min(present, GATES)


def _interval(rollout: Rollout, now: datetime) -> timedelta | None:
    match rollout.phase:
        case Settled() if rollout.starting_since:
            return LONGEST
        case Settled():
            is_watched = rollout.watched_since or rollout.kept or rollout.moved
            return WATCH if is_watched else None
        case _ if rollout.paused:
            return min(LONGEST_PAUSED, max(PAUSED, now - rollout.paused.since))
        case Stepping(since=since) if not awaited_step(rollout):
            return _until_healthy(rollout, now - since)
        case Baking(since) | Stepping(since=since):
            is_degraded = rollout.progress is not None and rollout.progress.is_degraded
            longest = LONGEST if is_degraded else LONGEST_BAKE
            return min(longest, max(LONGEST, (now - since) / 60))
        case RollingBack(since=since, stalled=stalled) if stalled:
            return min(LONGEST_BAKE, max(STALLED, (now - since) / 60))
        case RollingBack(since=since) | Retiring(since=since):
            return min(LONGEST, max(SHORTEST, (now - since) / 8))
        case _:
            assert_never(rollout.phase)


def _until_healthy(rollout: Rollout, taken: timedelta) -> timedelta:
    """Until the instances of a step may be healthy: seldom before the time that those of the last
    step took, and often about then.
    """
    usual = min(LONGEST, max(SHORTEST, taken / 8))
    if not rollout.step_seconds:
        return usual
    expected = timedelta(seconds=rollout.step_seconds)
    left = expected - CLOSE - taken
    if left > timedelta(0):
        return SELDOM if left > SELDOM * 1.5 else max(SHORTEST, left)
    return OFTEN if taken < expected + CLOSE else usual


def after_failure(
    rollout: Rollout,
    retry_after_seconds: float,
    jitter: float,
    now: datetime,
    *,
    is_spread: bool = False,
) -> datetime:
    """When to try again what could not be read. The longer it could not, the wider the tries of all
    models are spread by `jitter`, from 0 to 1, so that they do not meet at the quota again. With
    `is_spread` they are spread already.
    """
    if is_spread:
        return now + max(RETRY, timedelta(seconds=retry_after_seconds)) + jitter * RETRY
    last = rollout.last_observed_at
    failing = now - last if last else SHORTEST_SPREAD
    spread = min(LONGEST_SPREAD, max(SHORTEST_SPREAD, failing))
    return now + max(RETRY, timedelta(seconds=retry_after_seconds)) + jitter * spread


def after_attempt(decision: Decision, attempt: Attempt, now: datetime) -> datetime | None:
    """When the loop runs the next pass: at once after a change, later if Compute Engine is busy or
    if the same change has been applied before, otherwise when `advance` wants it.
    """
    phase = decision.rollout.phase
    if attempt.repeats and isinstance(phase, RollingBack) and phase.stalled:
        return decision.requeue_at
    back_off = RETRY * 2 ** (attempt.repeats - 1) if attempt.repeats else timedelta(0)
    if attempt.retry_after_seconds:
        longest = timedelta(seconds=max(attempt.retry_after_seconds))
        return now + max(RETRY, back_off, longest)
    if attempt.refused and isinstance(phase, Settled):
        return now + SETTLED_RETRY
    if attempt.is_swap and not attempt.repeats and isinstance(phase, Stepping):
        return now + (interval(decision.rollout, now) or back_off)
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
