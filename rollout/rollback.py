"""Judges the way back: whether a rollback is over, stalled, or needs another way. Pure.

Called by `advance` in phase `RollingBack`. A rollback ends in one of these ways, and is never
silent about what it waits for:

    none of the candidate left, stable complete and healthy    ends
    none left, but stable cannot get all its instances         ends after the deadline, and says so
    no room for another instance                               replaces in place, and says so
    no progress until the deadline                             `RollbackStalled`: goes on, and
                                                               a newer release takes over
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from rollout.deferred import dataclass
from rollout.gates.base import duration
from rollout.gates.release_health import observe_release
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
from rollout.spec.defaults import progress_deadline_seconds, startup_seconds

NO_ROOM: frozenset[Reason] = frozenset({"quota", "stock-out"})
CANNOT_START: frozenset[Reason] = frozenset({"config", "policy"})
SHORTEST_PATIENCE_SECONDS = 120


@dataclass(frozen=True)
class WayBack:
    """What is observed of a rollback.

    `release` is the one whose deadlines apply, and `healthy` how many of its instances are healthy.
    `leaving` are the instances that are not on it, `remaining` how much has yet to leave or to
    become healthy, and `missing` says what. `problems` are why its instances could not be created,
    `refusals` why changes were refused. `has_other_group`: the candidate's own group exists.
    """

    release: Release
    healthy: int
    leaving: tuple[Instance, ...]
    remaining: int
    missing: str
    problems: tuple[Problem, ...] = ()
    refusals: tuple[Problem, ...] = ()
    pending_changes: tuple[str, ...] = ()
    has_other_group: bool = False

    @property
    def is_done(self) -> bool:
        return not self.waiting_for

    @property
    def reasons(self) -> tuple[Problem, ...]:
        return (*self.problems, *self.refusals)

    @property
    def waiting_for(self) -> str:
        """What has yet to happen and why it has not; empty if the rollback is over."""
        if not self.missing:
            return self.pending_changes[0] if self.pending_changes else ""
        return f"{self.missing}: {self.reasons[0].message}" if self.reasons else self.missing


def observe_return(
    stable: Release, target: GroupTarget, observed: Observed, evidence: Evidence
) -> WayBack:
    """The way back to a stable release."""
    group = observed.group(target.colour)
    instances = group.instances if group else ()
    health = observe_release(target, stable, group)
    leaving = tuple(each for each in instances if each.template != stable.template)
    missing = ""
    if leaving:
        left = "1 instance is" if len(leaving) == 1 else f"{len(leaving)} instances are"
        missing = f"{left} not on release {stable.version} yet"
    elif not health.is_reached:
        missing = f"{health}; the group is not stable yet"
    others = [each for each in observed.groups if each.colour != target.colour]
    if others and not missing:
        missing = f"the {others[0].colour} group still exists"
    return WayBack(
        stable,
        health.healthy,
        leaving,
        len(leaving)
        + max(0, health.needed - health.healthy)
        + sum(1 + len(group.instances) for group in others),
        missing,
        health.problems,
        evidence.refusals,
        evidence.pending_changes,
        bool(others),
    )


def observe_removal(candidate: Release, observed: Observed, evidence: Evidence) -> WayBack:
    """The way back of a first release: all that is the model's goes."""
    instances = tuple(each for group in observed.groups for each in group.instances)
    names = [f"the {group.colour} group" for group in observed.groups] + [*observed.leftovers]
    verb = "exists" if len(names) == 1 else "exist"
    return WayBack(
        candidate,
        0,
        instances,
        len(instances) + len(names),
        f"{', '.join(names[:3])} still {verb}" if names else "",
        refusals=evidence.refusals,
        pending_changes=evidence.pending_changes,
    )


def update(phase: RollingBack, way: WayBack, now: datetime) -> RollingBack:
    """The phase with its progress: it changes only if less remains than ever before. What makes
    progress is not stalled any more.
    """
    if phase.remaining is not None and way.remaining >= phase.remaining:
        return phase
    return replace(phase, remaining=way.remaining, improved_at=now, stalled="")


def lacks_room(phase: RollingBack, way: WayBack, now: datetime) -> Problem | None:
    """Why the way back must replace the candidate's instances in place: Compute Engine has no room
    for more. While some of them are healthy they are worth waiting for, until the deadline; and as
    long as no other serves, they are not given up for capacity that may be gone when they are.
    """
    if phase.in_place or not way.leaving:
        return None
    problem = next((each for each in way.reasons if each.reason in NO_ROOM), None)
    if problem is None or not any(each.health == "healthy" for each in way.leaving):
        return problem
    is_last_resort = problem.reason == "stock-out" and not way.healthy
    return problem if _is_overdue(phase, way, now) and not is_last_resort else None


def stalled_because(
    phase: RollingBack, way: WayBack, now: datetime, *, is_waited_for: bool
) -> Problem | None:
    """Why the rollback does not get on by itself; None while it may.

    Without progress it may until the deadline. If a newer release waits for it (`is_waited_for`),
    or if Compute Engine says that the stable release cannot start at all, it may for twice the
    release's start-up time; with both, no longer.
    """
    cannot_start = any(each.reason in CANNOT_START for each in way.problems)
    patience = _deadline(way)
    if cannot_start or is_waited_for:
        startup = max(SHORTEST_PATIENCE_SECONDS, 2 * startup_seconds(way.release.spec))
        patience = min(patience, timedelta(seconds=startup))
    if cannot_start and is_waited_for:
        patience = timedelta(0)
    if _idle(phase, now) < patience:
        return None
    first = way.reasons[0] if way.reasons else Problem("timeout", "ROLLBACK_STALLED", "")
    span = f"no progress for {duration(patience)}: " if patience else ""
    return replace(first, message=f"{span}{way.waiting_for}")


def ends_short(phase: RollingBack, way: WayBack, now: datetime) -> bool:
    """Whether the rollback ends with fewer instances than it should have: all that exist are on the
    stable release, some are healthy, and the rest could not be created until the deadline. The
    group goes on trying.
    """
    is_clear = not (way.leaving or way.has_other_group or way.pending_changes)
    has_no_room = any(problem.reason in NO_ROOM for problem in way.reasons)
    return is_clear and has_no_room and way.healthy > 0 and _is_overdue(phase, way, now)


def _is_overdue(phase: RollingBack, way: WayBack, now: datetime) -> bool:
    return _idle(phase, now) >= _deadline(way)


def _idle(phase: RollingBack, now: datetime) -> timedelta:
    """For how long the rollback has made no progress."""
    return now - (phase.improved_at or phase.since)


def _deadline(way: WayBack) -> timedelta:
    """The release's own deadline, which counts from the last progress of the rollback."""
    return timedelta(seconds=progress_deadline_seconds(way.release.spec))
