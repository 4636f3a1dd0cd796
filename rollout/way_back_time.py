"""Estimates how long the way back would take now: until all requests are served by the release that
served before. Pure.

Called by `advance` in every pass. With a second group it is one write of the URL map, and the start
of what the stable release lacks; within one group, as many rounds as the replacement needs:

    second group   queue + write + propagation, and a start if stable lacks healthy instances
    one group      rounds x (start + draining + the group's own time)

It leans to the long side, so that the promise holds. `rollout/spec/way_back.py` has the constants.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from rollout.model import (
    FULL_WEIGHT,
    Baking,
    Colour,
    Observed,
    Release,
    Retiring,
    RollingBack,
    Rollout,
    Settled,
    Stepping,
)
from rollout.spec.defaults import startup_seconds
from rollout.spec.steps import PercentStep
from rollout.spec.way_back import (
    PROPAGATION_SECONDS,
    REPLACEMENT_SECONDS,
    ROUTE_SECONDS,
    round_seconds,
    rounds,
)
from rollout.strategies import has_own_group
from rollout.strategies.base import FIRST_GROUP, Step
from rollout.strategies.rolling import instances_of


def seconds_to_roll_back(rollout: Rollout, observed: Observed, now: datetime) -> int | None:
    """The estimate for the present phase: 0 if nothing has to come back, None if nothing can."""
    phase, stable = rollout.phase, rollout.stable
    if isinstance(phase, Retiring) or stable is None:
        return None
    colour = rollout.serving_group or FIRST_GROUP
    match phase:
        case Settled():
            return _of_settled(rollout, colour, observed)
        case _ if not has_own_group(rollout):
            in_place = isinstance(phase, RollingBack) and phase.in_place
            return _in_place(stable, colour, observed, in_place=in_place)
        case Stepping(weight=0, granted=0):
            return 0
        case Stepping() | Baking():
            return _by_route(stable, colour, observed)
        case RollingBack(is_drained=True):
            return 0
        case RollingBack(weight=0, routed_since=since) if since:
            return max(0, PROPAGATION_SECONDS - round((now - since).total_seconds()))
        case RollingBack():
            return _by_route(stable, colour, observed)


def _of_settled(rollout: Rollout, colour: Colour, observed: Observed) -> int | None:
    """While the stable release is watched, or the group before it is kept."""
    kept, previous = rollout.kept, rollout.previous
    if kept:
        return None if kept.is_leaving else _by_route(kept.release, kept.colour, observed)
    if rollout.watched_since is None or previous is None:
        return None
    return _in_place(previous, colour, observed)


def exceeds_limit(rollout: Rollout, step: Step, observed: Observed) -> str:
    """Why the candidate may not enter a step, or get what it asks for; empty if it may. A person
    who promotes it, or a rollback to it, goes on in spite of the limit.
    """
    candidate, stable, phase = rollout.candidate, rollout.stable, rollout.phase
    is_promoted = rollout.promoted or (isinstance(phase, Stepping) and phase.is_promoted)
    if candidate is None or stable is None or is_promoted:
        return ""
    limit = candidate.spec.rollout.max_seconds_to_roll_back
    seconds = seconds_after(rollout, stable, step, observed)
    if limit is None or seconds <= limit:
        return ""
    return (
        f"the way back from {step.goal} would take {seconds} s, and"
        f" rollout.max_seconds_to_roll_back is {limit}"
    )


def is_short(release: Release, colour: Colour, observed: Observed) -> bool:
    """Whether the release lacks healthy instances for all requests."""
    healthy, needed = healthy_and_needed(release, colour, observed)
    return healthy < needed


def healthy_and_needed(release: Release, colour: Colour, observed: Observed) -> tuple[int, int]:
    """How many instances of the release are healthy in its group, and how many it needs for all
    requests.
    """
    group = observed.group(colour)
    if group is None:
        return 0, max(1, release.spec.scaling.min)
    healthy = sum(each.is_healthy and each.template == release.template for each in group.instances)
    return healthy, group.target_size


def seconds_after(rollout: Rollout, stable: Release, step: Step, observed: Observed) -> int:
    """The estimate once the candidate has what the step asks for."""
    colour = rollout.serving_group or FIRST_GROUP
    if has_own_group(rollout):
        return _by_route(stable, colour, observed)
    group = observed.group(colour)
    size = group.target_size if group else stable.spec.scaling.min
    count = instances_of(step.percent, size) if isinstance(step, PercentStep) else size
    fullest_zone = -(-count // stable.spec.placement.zone_count)
    return rounds(fullest_zone, stable.spec) * round_seconds(stable.spec)


def _by_route(release: Release, colour: Colour, observed: Observed) -> int:
    if not is_short(release, colour, observed):
        return ROUTE_SECONDS
    return ROUTE_SECONDS + REPLACEMENT_SECONDS + startup_seconds(release.spec)


def _in_place(
    release: Release, colour: Colour, observed: Observed, *, in_place: bool = False
) -> int:
    group = observed.group(colour)
    instances = group.instances if group else ()
    zones = Counter(each.zone for each in instances if each.template != release.template)
    fullest_zone = max(zones.values(), default=0)
    return rounds(fullest_zone, release.spec, in_place=in_place) * round_seconds(release.spec)


# ---- Pacing


def weight_to_leave(before: int, healthy: int, needed: int) -> int:
    """Which weight a healthy candidate keeps for now while the stable release has so many of the
    instances that all requests need: 500 of 1000 with 5 of 10. It never rises, and falls in steps
    of a tenth, so that a large group that heals causes few writes.
    """
    if healthy >= needed:
        return 0
    share = FULL_WEIGHT - FULL_WEIGHT * healthy // needed
    return min(before, -(-share // 100) * 100)
