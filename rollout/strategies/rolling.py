"""Strategy `rolling`: replaces the instances of one group step by step through its two versions.

The group that serves the stable release runs the candidate too, so traffic follows the instances
and the route never changes. Called through `rollout/strategies/__init__.py`.
"""

from __future__ import annotations

from dataclasses import replace

from rollout.model import Colour, FleetTarget, GroupTarget, Kept, Observed, Release, Share, Stepping
from rollout.spec.steps import PercentStep, default_steps
from rollout.strategies.base import FIRST_GROUP, Step, Swap, all_traffic_to

EVERYTHING = PercentStep.model_construct(percent=100, hold_seconds=0)


class Rolling:
    def steps(self, swap: Swap) -> tuple[Step, ...]:
        """The spec's steps. A single step if there is nothing to swap (a first release, or the same
        template as before), or if the group is balanced: Compute Engine does not support two
        versions in a group of that shape. Instances that stay as they are need no hold.
        """
        stable, candidate = swap.stable, swap.candidate
        if stable and stable.template == candidate.template:
            return (EVERYTHING,)
        steps = candidate.spec.rollout.steps or default_steps("rolling")
        if stable is None or "balanced" in (
            stable.spec.placement.target_shape,
            candidate.spec.placement.target_shape,
        ):
            return (PercentStep(percent=100, hold_seconds=steps[0].hold_seconds),)
        return steps

    def candidate_group(self, swap: Swap) -> Colour:
        return swap.serving or FIRST_GROUP

    def target(self, swap: Swap, at: Stepping, observed: Observed) -> FleetTarget:
        return _fleet(swap_group(swap, _moving_step(self.steps(swap), at.step), observed))

    def rollback_target(
        self,
        swap: Swap,
        observed: Observed,
        *,
        in_place: bool,
        is_drained: bool = True,
        weight: int = 0,
    ) -> FleetTarget:
        if swap.stable is None:
            return FleetTarget()
        back = swap_group(Swap(None, swap.stable, swap.serving), EVERYTHING, observed)
        return _fleet(_in_place(back) if in_place or swap.is_replaced_in_place else back)

    def steady_target(
        self, release: Release, serving: Colour | None, kept: Kept | None = None
    ) -> FleetTarget:
        return _fleet(steady_group(release, serving or FIRST_GROUP))


def _moving_step(steps: tuple[Step, ...], step: int) -> Step:
    """The last step up to this one that moves instances: an approval leaves them as they are."""
    return next(each for each in reversed(steps[: step + 1]) if isinstance(each, PercentStep))


def _fleet(group: GroupTarget) -> FleetTarget:
    return FleetTarget((group,), all_traffic_to(group.colour, group.settings))


def swap_group(swap: Swap, step: Step, observed: Observed) -> GroupTarget:
    """The group during a swap.

    It may grow but not shrink, within the wider of the two releases' bounds, and keeps the stable
    release's settings until the candidate has everything. It has at least one instance, because an
    empty group proves nothing. With `stable_kept` the stable release has at most so many instances,
    and the candidate the rest, which is also all growth and all that another release has left.
    """
    stable, candidate, colour = swap.stable, swap.candidate, swap.serving or FIRST_GROUP
    percent = step.percent if isinstance(step, PercentStep) else 100
    if stable is None or percent == 100 or stable.template == candidate.template:
        target = steady_group(candidate, colour)
    else:
        group = observed.group(colour)
        size = group.target_size if group else stable.spec.scaling.min
        count = instances_of(percent, size)
        shares: tuple[Share, ...] = (Share(stable), Share(candidate, count))
        if swap.stable_kept is not None:
            kept = max(0, min(swap.stable_kept, size - count))
            shares = (Share(stable, kept), Share(candidate))[0 if kept else 1 :]
        target = replace(steady_group(shares[0].release, colour), shares=shares)
    scaling = [release.spec.scaling for release in (stable, candidate) if release]
    rollout = candidate.spec.rollout
    target = replace(
        target,
        min=max(1, *(bounds.min for bounds in scaling)),
        max=max(bounds.max for bounds in scaling),
        may_scale_in=False,
        surge=rollout.surge or 0,
        unavailable=rollout.unavailable,
    )
    return _in_place(target) if swap.is_replaced_in_place else target


def _in_place(group: GroupTarget) -> GroupTarget:
    """The group without an instance more than it has."""
    return replace(group, surge=0, unavailable=max(1, group.unavailable))


def steady_group(release: Release, colour: Colour) -> GroupTarget:
    """The group with no rollout in progress: one release, its own bounds, free to scale in."""
    spec = release.spec
    return GroupTarget(
        colour=colour,
        shares=(Share(release),),
        settings=release,
        min=spec.scaling.min,
        max=spec.scaling.max,
        may_scale_in=True,
        surge=spec.rollout.surge or 0,
        unavailable=spec.rollout.unavailable,
    )


def instances_of(percent: int, size: int) -> int:
    """How many of `size` instances are `percent` of them: rounded up, at least one, at most all.

    The group gets a count and not a percentage, because the direction of Compute Engine's own
    rounding is not documented: 10 % of 3 is 1, 50 % of 3 is 2, 10 % of 25 is 3.
    """
    return max(1, min(size, -(-percent * size // 100)))
