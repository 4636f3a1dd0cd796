"""What each strategy's steps ask of the groups: a ladder of steps, and the group targets of one
step.

Called by `advance` alone. A strategy is two pure functions in `STRATEGIES`; a new one also needs
its name in `rollout/spec/model.py`. Invariant: the targets of one step name at most two releases,
and those of the last step name the candidate alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from rollout.model import GroupTarget, GroupView, Observed, Release, Share


@dataclass(frozen=True)
class Step:
    """The candidate's part of the instances, in percent."""

    percent: int


@dataclass(frozen=True)
class Swap:
    """The two releases a step speaks of. No stable release: there is nothing to share with."""

    stable: Release | None
    candidate: Release


@dataclass(frozen=True)
class Strategy:
    steps: Callable[[Swap], tuple[Step, ...]]
    groups: Callable[[Swap, Step, Observed], tuple[GroupTarget, ...]]


def rolling_steps(swap: Swap) -> tuple[Step, ...]:
    """The steps asked for; one step when there is nothing to swap (a first release, or the same
    template as before)."""
    if swap.stable is None or swap.stable.template == swap.candidate.template:
        return (Step(100),)
    return tuple(Step(percent) for percent in swap.candidate.spec.rollout.steps)


def rolling_groups(swap: Swap, step: Step, observed: Observed) -> tuple[GroupTarget, ...]:
    """One group, swapped in place through the two versions of its managed instance group."""
    return (swap_group(swap, step, observed.group("blue")),)


def swap_group(swap: Swap, step: Step, group: GroupView | None) -> GroupTarget:
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


def steps_digest(ladder: tuple[Step, ...]) -> str:
    """A ladder's short hash: a rollout whose stored hash differs starts its ladder again."""
    return hashlib.sha256(repr(ladder).encode()).hexdigest()[:12]


STRATEGIES = {"rolling": Strategy(rolling_steps, rolling_groups)}
