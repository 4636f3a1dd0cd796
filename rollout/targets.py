"""What each phase of a rollout asks of the fleet, and which group is judged. Pure.

Called by `advance`, and by a pass before it decides, to see which changes are pending.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from rollout import capacity_lease, moves
from rollout.model import (
    FULL_WEIGHT,
    Baking,
    Desired,
    FleetTarget,
    GroupTarget,
    Observed,
    Release,
    Retiring,
    RollingBack,
    Rollout,
    Settled,
    Stepping,
    Target,
)
from rollout.strategies import strategy_of, swap_of
from rollout.strategies.base import FIRST_GROUP, Step, Strategy, Swap
from rollout.transitions import candidate_of


def target_of(rollout: Rollout, desired: Desired, observed: Observed) -> Target:
    """The target of the present phase. Unlike `advance`, it decides nothing; a pass calls it first
    to see which changes are pending.
    """
    fleet = fleet_of(rollout, observed)
    if rollout.candidate and rollout.stable:
        serving, lease = rollout.serving_group or FIRST_GROUP, rollout.capacity_lease
        groups = capacity_lease.with_floor(fleet.groups, lease, serving, observed)
        fleet = replace(fleet, groups=groups)
    releases = (rollout.stable, rollout.candidate, rollout.previous, desired.release)
    kept = releases if fleet.groups else ()
    templates = frozenset(release.template for release in kept if release)
    traffic = moves.in_both(rollout, fleet)
    if traffic and _is_claimed(rollout):
        traffic = replace(traffic, is_claimed=True)
    return Target(desired.model, fleet.groups, templates, traffic, fleet.is_draining)


def _is_claimed(rollout: Rollout) -> bool:
    """See `TrafficTarget`. A move counts from when the release that moved has settled."""
    if rollout.stable is None:
        return False
    releases = (rollout.stable, rollout.candidate or rollout.stable)
    found = (each.spec.traffic for each in releases)
    routes = {(each.gateway, each.host, each.path) for each in found}
    return len(routes) == 1 and all(each.spec.traffic.is_exposed for each in releases)


def fleet_of(rollout: Rollout, observed: Observed) -> FleetTarget:
    match rollout.phase:
        case Settled():
            stable = rollout.stable
            if stable is None:
                return FleetTarget()
            return strategy_of(stable).steady_target(stable, rollout.serving_group, rollout.kept)
        case Stepping() as at:
            swap, strategy, steps = plan_of(rollout)
            at = replace(at, step=min(at.step, len(steps) - 1))
            return strategy.target(swap, at, observed)
        case Baking(since):
            swap, strategy, steps = plan_of(rollout)
            at = Stepping(len(steps) - 1, since, FULL_WEIGHT, granted=len(steps))
            return strategy.target(swap, at, observed)
        case RollingBack(in_place=in_place, is_drained=is_drained, weight=weight):
            swap, strategy, _ = plan_of(rollout)
            if swap.stable is None:
                return FleetTarget(is_draining=not is_drained)
            return strategy.rollback_target(
                swap, observed, in_place=in_place, is_drained=is_drained, weight=weight
            )
        case Retiring(is_drained=is_drained):
            return FleetTarget(is_draining=not is_drained)
        case _:
            assert_never(rollout.phase)


def plan_of(rollout: Rollout) -> tuple[Swap, Strategy, tuple[Step, ...]]:
    candidate = candidate_of(rollout)
    swap, strategy = swap_of(rollout, candidate), strategy_of(candidate)
    return swap, strategy, strategy.steps(swap)


def watched_release(rollout: Rollout) -> Release | None:
    """The release whose instances are judged now: the candidate, or a stable one after its bake."""
    match rollout.phase:
        case Stepping() | Baking():
            return rollout.candidate
        case Settled() if rollout.watched_since:
            return rollout.stable
        case _:
            return None


def group_in_focus(rollout: Rollout, observed: Observed) -> GroupTarget:
    release = watched_release(rollout) or candidate_of(rollout)
    colour = rollout.serving_group or FIRST_GROUP
    if rollout.candidate:
        colour = strategy_of(release).candidate_group(swap_of(rollout, release))
    return next(group for group in fleet_of(rollout, observed).groups if group.colour == colour)
