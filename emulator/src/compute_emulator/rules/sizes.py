"""Fixed and percent sizes, the surge and unavailable budgets, and the split of a group over its
versions.

Used by the updater and by the validation of groups. Everything here is arithmetic on numbers of
VMs. Source: Compute API reference, regionInstanceGroupManagers (updatePolicy.maxSurge,
maxUnavailable, versions[].targetSize).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

PERCENT_NEEDS = 10  # VMs a group must have before a percentage is accepted


@dataclass(frozen=True)
class Size:
    """A number of VMs, or a percentage of the group. Exactly one of the two is set."""

    fixed: int | None = None
    percent: int | None = None


def rounded_up(size: Size, base: int) -> int:
    """VMs that a budget allows. 25 % of 10 is 3: a budget rounds up, so that a small one still
    makes progress.
    """
    if size.percent is not None:
        return math.ceil(size.percent * base / 100)
    return size.fixed or 0


def version_size(size: Size, target_size: int) -> int:
    """VMs that a version asks for, at most the group's size: 15 % of 10 is 2 (half up), fixed 5
    of 3 is 3.
    """
    if size.percent is not None:
        return min(target_size, (size.percent * target_size + 50) // 100)
    return min(target_size, size.fixed or 0)


def split(sizes: Sequence[Size | None], target_size: int) -> tuple[int, ...]:
    """VMs per version. The version without a size gets the rest."""
    sized = [None if size is None else version_size(size, target_size) for size in sizes]
    left = max(0, target_size - sum(n for n in sized if n is not None))
    return tuple(left if n is None else n for n in sized)


def budget_problem(field: str, size: Size, target_size: int, zones: int) -> str | None:
    """Why a regional group rejects this maxSurge or maxUnavailable. `field` is `maxSurge` or
    `maxUnavailable`.
    """
    path = f"resource.updatePolicy.{field}"
    if size.fixed is not None and 0 < size.fixed < zones:
        return (
            f"Invalid value for field '{path}.fixed': '{size.fixed}'. Fixed updatePolicy.{field}"
            " for regional managed instance group has to be either 0 or at least equal to the"
            " number of zones."
        )
    if size.fixed is not None and size.fixed < 0:
        return (
            f"Invalid value for field '{path}.fixed': '{size.fixed}'. Must be greater than or equal"
            " to 0."
        )
    if size.percent is None:
        return None
    if not 0 <= size.percent <= 100:
        return (
            f"Invalid value for field '{path}.percent': '{size.percent}'. Must be between 0 and"
            " 100."
        )
    if size.percent and target_size < PERCENT_NEEDS:
        return (
            f"Invalid value for field '{path}.percent': '{size.percent}'. Percent"
            f" updatePolicy.{field} for regional managed instance group requires a target size of"
            f" at least {PERCENT_NEEDS}."
        )
    return None


def budgets_problem(
    surge: Size, unavailable: Size, target_size: int, zones: int, recreate: bool
) -> str | None:
    """Why the two budgets together are rejected, or None."""
    problem = budget_problem("maxSurge", surge, target_size, zones)
    problem = problem or budget_problem("maxUnavailable", unavailable, target_size, zones)
    if problem:
        return problem
    has_surge = bool(surge.fixed or surge.percent)
    if recreate and has_surge:
        text = (
            f'{{ "percent": {surge.percent}}}' if surge.percent else f'{{ "fixed": {surge.fixed}}}'
        )
        return (
            f"Invalid value for field 'resource.updatePolicy.maxSurge': '{text}'. maxSurge must be"
            " equal to 0 when replacement method is set to RECREATE"
        )
    if not has_surge and not (unavailable.fixed or unavailable.percent):
        return (
            "Invalid value for field 'resource.updatePolicy': ''. Either maxSurge or maxUnavailable"
            " must be greater than 0."
        )
    return None


def versions_problem(names: Sequence[str | None], sizes: Sequence[Size | None]) -> str | None:
    """Why this list of versions is rejected: at most two, unique names, exactly one without a
    target size.
    """
    if len(sizes) > 2:
        return "Invalid value for field 'resource.versions': ''. At most 2 versions are allowed."
    given = [name for name in names if name]
    if len(set(given)) < len(given):
        return (
            f"Invalid value for field 'resource.versions[1].name': '{given[-1]}'. Version names"
            " must be unique."
        )
    if sum(size is None for size in sizes) != 1:
        return (
            "Invalid value for field 'resource.versions': ''. Exactly one version must leave"
            " targetSize unset; it takes the remaining instances."
        )
    return None
