"""What strategies with a second group have in common: requests move to it, instances do not. Pure.

The candidate runs in the group that does not serve, with its own template, autoscaler, checks and
backend service. While both groups exist, both are in the route, at weight 0 if need be: the load
balancer probes only what is in a route. Extended by `canary.py` and `blue_green.py`.

    step       the candidate's capacity, of the demand     the route, once that is healthy
    percent    so much                                     as before
    preview    as before                                   and the preview's requests
    match      as before                                   and the cohort's requests
    mirror     as before, and so much                      and copies, during this step
    weight     so much                                     so much of the requests
    approve    as before                                   as before
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rollout.model import (
    FULL_WEIGHT,
    Cohort,
    Colour,
    Demand,
    FleetTarget,
    GroupTarget,
    Kept,
    Mirror,
    Observed,
    Release,
    Stepping,
    TrafficTarget,
    TrafficWeight,
)
from rollout.sizing import present_instances, size_for
from rollout.spec.compatibility import cannot_share_group
from rollout.spec.steps import (
    PREVIEW_HEADER,
    MatchStep,
    MirrorStep,
    PercentStep,
    PreviewStep,
    WeightStep,
    default_steps,
)
from rollout.strategies.base import FIRST_GROUP, Step, Swap
from rollout.strategies.rolling import Rolling, steady_group

OTHER: dict[Colour, Colour] = {"blue": "green", "green": "blue"}
IN_PLACE = Rolling()


class SecondGroup:
    def steps(self, swap: Swap) -> tuple[Step, ...]:
        """The spec's steps; a single one in place if there is nothing to compare."""
        rollout = swap.candidate.spec.rollout
        steps = rollout.steps or default_steps(rollout.strategy)
        if _is_in_place(swap):
            return (PercentStep(percent=100, hold_seconds=steps[0].hold_seconds),)
        return steps

    def candidate_group(self, swap: Swap) -> Colour:
        if _is_in_place(swap):
            return IN_PLACE.candidate_group(swap)
        return OTHER[swap.serving or FIRST_GROUP]

    def capacity(self, steps: tuple[Step, ...], at: Stepping) -> int:
        """Which part of the demand the candidate can take in this step, from 0 to `FULL_WEIGHT`; a
        mirror's copies are on top.
        """
        parts = (_part_of(step) for step in steps[: at.step + 1])
        return max(at.weight, *parts) + _mirrored(steps[at.step])

    def target(self, swap: Swap, at: Stepping, observed: Observed) -> FleetTarget:
        """Both groups. The stable one keeps its size; the candidate's has the capacity of the step,
        whatever has been granted so far.
        """
        stable, colour = swap.stable, self.candidate_group(swap)
        if stable is None or _is_in_place(swap):
            return IN_PLACE.target(swap, at, observed)
        steps = self.steps(swap)
        candidate = _sized(swap, stable, colour, self.capacity(steps, at), observed)
        fleet = _split(stable, swap.serving or FIRST_GROUP, candidate, at.weight)
        if fleet.traffic is None or at.weight == FULL_WEIGHT:
            return fleet
        cohorts = tuple(dict.fromkeys(_cohorts(swap.candidate, colour, steps[: at.granted])))
        copies = _mirrored(steps[at.step]) if at.is_granted else 0
        mirror = Mirror(colour, copies) if copies else None
        return replace(fleet, traffic=replace(fleet.traffic, cohorts=cohorts, mirror=mirror))

    def rollback_target(
        self,
        swap: Swap,
        observed: Observed,
        *,
        in_place: bool,
        is_drained: bool = True,
        weight: int = 0,
    ) -> FleetTarget:
        """All requests to the stable release, as far as it can take them, and the candidate's group
        as it is until it has drained.
        """
        stable, colour = swap.stable, self.candidate_group(swap)
        if stable is None or _is_in_place(swap):
            return IN_PLACE.rollback_target(swap, observed, in_place=in_place)
        serving = swap.serving or FIRST_GROUP
        if is_drained or observed.group(colour) is None:
            fleet = IN_PLACE.steady_target(stable, serving)
            return replace(fleet, groups=tuple(_without_scale_in(group) for group in fleet.groups))
        return _split(stable, serving, steady_group(swap.candidate, colour), weight)

    def steady_target(
        self, release: Release, serving: Colour | None, kept: Kept | None = None
    ) -> FleetTarget:
        fleet = IN_PLACE.steady_target(release, serving)
        if kept is None or kept.is_leaving or fleet.traffic is None:
            return fleet
        warm = _without_scale_in(steady_group(kept.release, kept.colour))
        weights = (*fleet.traffic.weights, TrafficWeight(kept.colour, 0))
        return FleetTarget((*fleet.groups, warm), replace(fleet.traffic, weights=weights))


def _part_of(step: Step) -> int:
    """Which part of the demand a step asks for, beside the copies of a mirror."""
    match step:
        case PercentStep(percent=percent):
            return percent * FULL_WEIGHT // 100
        case WeightStep():
            return step.per_mille
        case _:
            return 0


def _mirrored(step: Step) -> int:
    return step.per_mille if isinstance(step, MirrorStep) else 0


def _cohorts(candidate: Release, colour: Colour, steps: tuple[Step, ...]) -> Iterator[Cohort]:
    """The requests that go to the candidate whatever its weight."""
    for step in steps:
        match step:
            case PreviewStep():
                host = candidate.spec.traffic.preview_host or ""
                yield Cohort(colour, PREVIEW_HEADER, candidate.version, host)
            case MatchStep(match=match):
                yield Cohort(colour, match.header, match.value)


def _is_in_place(swap: Swap) -> bool:
    """Whether a second group has nothing to show: nothing serves yet, or the instances stay as they
    are.
    """
    stable, candidate = swap.stable, swap.candidate
    if stable is None:
        return True
    is_same = stable.template == candidate.template
    return is_same and not cannot_share_group(stable.spec, candidate.spec)


def _split(stable: Release, serving: Colour, candidate: GroupTarget, weight: int) -> FleetTarget:
    settings = candidate.settings if weight == FULL_WEIGHT else stable
    weights = (
        TrafficWeight(serving, FULL_WEIGHT - weight),
        TrafficWeight(candidate.colour, weight),
    )
    groups = (steady_group(stable, serving), replace(candidate, keeps_unhealthy=True))
    return FleetTarget(
        tuple(_without_scale_in(group) for group in groups), TrafficTarget(settings, weights)
    )


def _sized(
    swap: Swap, stable: Release, colour: Colour, weight: int, observed: Observed
) -> GroupTarget:
    """The candidate's group with the instances that a weight needs, within the wider of the two
    releases' bounds.
    """
    target = steady_group(swap.candidate, colour)
    serving = observed.group(swap.serving or FIRST_GROUP)
    demand = swap.demand or Demand(present_instances(serving, None, 0, stable.spec.scaling.min))
    capacity = size_for(weight, demand, stable, swap.candidate)
    most = max(stable.spec.scaling.max, target.max)
    if capacity is None:
        return replace(target, min=max(1, target.min), max=most, basis=None)
    cap = f", at most scaling.max ({most})" if capacity.instances > most else ""
    least = min(most, max(1, target.min, capacity.instances))
    return replace(target, min=least, max=most, basis=f"{capacity.basis}{cap}")


def _without_scale_in(group: GroupTarget) -> GroupTarget:
    return replace(group, may_scale_in=False)
