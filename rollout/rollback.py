"""Judges the way back: whether a rollback is over, stalled, or needs another way. Pure.

Called by `advance` in phase `RollingBack`. A rollback ends in one of these ways, and is never
silent about what it waits for:

    none of the candidate left, stable complete and healthy        ends
    none left, but stable cannot get all its instances             ends after the deadline, degraded
    no room for another instance                                   replaces in place, and says so
    no progress until the deadline, or stable cannot start at all  `RollbackStalled`, and a newer
                                                                   release takes over
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rollout.gates.base import duration
from rollout.gates.release_health import ReleaseHealth, observe_release
from rollout.model import (
    Evidence,
    GroupTarget,
    Instance,
    Observed,
    Problem,
    Reason,
    Release,
    RollingBack,
)

NO_ROOM: frozenset[Reason] = frozenset({"quota", "stock-out"})
CANNOT_START: frozenset[Reason] = frozenset({"config", "policy"})


@dataclass(frozen=True)
class WayBack:
    """What is observed of a rollback. `leaving` are the instances that are not on the stable
    release; `problems` are why instances of the stable release could not be created.
    """

    health: ReleaseHealth
    leaving: tuple[Instance, ...]
    problems: tuple[Problem, ...]
    pending_changes: tuple[str, ...]

    @property
    def remaining(self) -> int:
        """How many instances have yet to leave or to become healthy. It falls to 0."""
        return len(self.leaving) + max(0, self.health.needed - self.health.healthy)

    @property
    def is_done(self) -> bool:
        return not self.leaving and self.health.is_reached and not self.pending_changes

    @property
    def waiting_for(self) -> str:
        version, count = self.health.release.version, len(self.leaving)
        if self.leaving:
            left = "1 instance is" if count == 1 else f"{count} instances are"
            return self._explained(f"{left} not on release {version} yet")
        if not self.health.is_reached:
            return self._explained(f"{self.health}; the group is not stable yet")
        return self.pending_changes[0] if self.pending_changes else ""

    def _explained(self, why: str) -> str:
        return f"{why}: {self.problems[0].message}" if self.problems else why


def observe_rollback(
    stable: Release, target: GroupTarget, observed: Observed, evidence: Evidence
) -> WayBack:
    group = observed.group(target.colour)
    instances = group.instances if group else ()
    health = observe_release(target, stable, group)
    return WayBack(
        health=health,
        leaving=tuple(each for each in instances if each.template != stable.template),
        problems=(*health.problems, *evidence.refusals),
        pending_changes=evidence.pending_changes,
    )


def update(phase: RollingBack, way: WayBack, now: datetime) -> RollingBack:
    """The phase with its progress: it changes only if fewer instances remain than ever before."""
    if phase.remaining is not None and way.remaining >= phase.remaining:
        return phase
    return replace(phase, remaining=way.remaining, improved_at=now)


def lacks_room(phase: RollingBack, way: WayBack, now: datetime) -> Problem | None:
    """Why the way back must replace the candidate's instances in place: Compute Engine has no room
    for more. While some of them are healthy they are worth waiting for, until the deadline.
    """
    if phase.in_place or not way.leaving:
        return None
    problem = next((each for each in way.problems if each.reason in NO_ROOM), None)
    serves = any(each.health == "healthy" for each in way.leaving)
    return None if serves and not _is_overdue(phase, way, now) else problem


def stalled_because(
    phase: RollingBack, way: WayBack, now: datetime, *, is_waited_for: bool
) -> Problem | None:
    """Why the rollback does not get on by itself; None while it may. With a newer release waiting
    for it (`is_waited_for`), it has twice the stable release's start-up time to make progress
    instead of the whole deadline.
    """
    deadline = _deadline(way)
    if is_waited_for:
        startup_seconds = way.health.release.spec.serving.startup_seconds
        deadline = min(deadline, timedelta(seconds=max(120, 2 * startup_seconds)))
    is_overdue = now - (phase.improved_at or phase.since) >= deadline
    for problem in way.problems:
        if problem.reason in CANNOT_START or is_overdue:
            return replace(problem, message=f"{way.health}: {problem.message}")
    if not is_overdue:
        return None
    why = f"no progress for {duration(deadline)}: {way.waiting_for}"
    return Problem("timeout", "ROLLBACK_STALLED", why)


def ends_short(phase: RollingBack, way: WayBack, now: datetime) -> bool:
    """Whether the rollback ends with fewer instances than it should have: all that exist are on the
    stable release, some are healthy, and the rest could not be created until the deadline. The
    group goes on trying.
    """
    is_clear = not way.leaving and not way.pending_changes
    has_no_room = any(problem.reason in NO_ROOM for problem in way.problems)
    return is_clear and has_no_room and way.health.healthy > 0 and _is_overdue(phase, way, now)


def _is_overdue(phase: RollingBack, way: WayBack, now: datetime) -> bool:
    return now - (phase.improved_at or phase.since) >= _deadline(way)


def _deadline(way: WayBack) -> timedelta:
    """The stable release's own deadline, which counts from the last progress of the rollback."""
    return timedelta(seconds=way.health.release.spec.rollout.progress_deadline_seconds)
