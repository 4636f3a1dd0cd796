"""What each strategy's steps ask of the groups: a ladder of steps, and the group targets of one
step.

Called by `advance` alone. A strategy is two pure functions in `STRATEGIES`; a new one also needs
its name in `rollout/spec/model.py`. Invariant: the targets of one step name at most two releases,
and those of the last step name the candidate alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from rollout.model import GroupTarget, GroupView, Observed, Release, Share
from rollout.spec.model import PercentStep


@dataclass(frozen=True)
class Swap:
    """The two releases a step speaks of. No stable release: there is nothing to share with."""

    stable: Release | None
    candidate: Release


@dataclass(frozen=True)
class Strategy:
    steps: Callable[[Swap], tuple[PercentStep, ...]]
    groups: Callable[[Swap, PercentStep, Observed], tuple[GroupTarget, ...]]


def rolling_steps(swap: Swap) -> tuple[PercentStep, ...]:
    """The steps asked for; one step when there is nothing to swap (a first release, or the same
    template as before)."""
    if swap.stable is None or swap.stable.template == swap.candidate.template:
        return (PercentStep(percent=100),)
    return swap.candidate.spec.rollout.steps


def rolling_groups(swap: Swap, step: PercentStep, observed: Observed) -> tuple[GroupTarget, ...]:
    """One group, swapped in place through the two versions of its managed instance group."""
    return (swap_group(swap, step, observed.group("blue")),)


def swap_group(swap: Swap, step: PercentStep, group: GroupView | None) -> GroupTarget:
    """The group in mid-swap: it may grow but not shrink, within the wider of the two releases'
    bounds, and keeps the stable release's settings until the candidate has everything. It holds at
    least one instance, since an empty group proves nothing."""
    stable, candidate = swap.stable, swap.candidate
    if stable is None or step.percent == 100 or stable.template == candidate.template:
        target = steady_group(candidate)
    else:
        count = instances_of(step.percent, group.target_size if group else stable.spec.scaling.min)
        target = replace(steady_group(stable), shares=(Share(stable), Share(candidate, count)))
    both = [release.spec.scaling for release in (stable, candidate) if release]
    rollout = candidate.spec.rollout
    return replace(
        target,
        min=max(1, *(scaling.min for scaling in both)),
        max=max(scaling.max for scaling in both),
        may_scale_in=False,
        surge=rollout.surge or 0,
        unavailable=rollout.unavailable,
    )


def steady_group(release: Release) -> GroupTarget:
    """The group as it should be with no rollout under way: one release, its own bounds, free to
    scale in."""
    spec = release.spec
    return GroupTarget(
        colour="blue",
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

    A count and not a percentage is asked of the group, because the direction of Compute Engine's
    own rounding is not documented: 10 % of 3 is 1, 50 % of 3 is 2, 10 % of 25 is 3."""
    return max(1, min(size, -(-percent * size // 100)))


def steps_digest(ladder: tuple[PercentStep, ...]) -> str:
    """A ladder's short hash: a rollout whose stored hash differs starts its ladder again."""
    return hashlib.sha256(json.dumps([step.model_dump() for step in ladder]).encode()).hexdigest()[
        :12
    ]


STRATEGIES = {"rolling": Strategy(rolling_steps, rolling_groups)}
