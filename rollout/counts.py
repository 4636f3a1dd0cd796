"""Counts a model's instances and its share of requests by release, for people to read. Pure.

Called by each pass with what it observed. Nothing is decided by these counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rollout.deferred import dataclass
from rollout.model import (
    Desired,
    GroupTarget,
    GroupView,
    Instance,
    Observed,
    Release,
    Rollout,
    Target,
    TrafficWeight,
)


@dataclass(frozen=True)
class ReleaseCount:
    """How many instances of a release are healthy, how many there are, and how many it needs now.
    `per_mille`: its part of the requests. Those to a group with two releases are split as the
    group's healthy instances are, or all of them if none is healthy.
    """

    release: str
    healthy: int
    all: int
    needed: int
    per_mille: int = 0


@dataclass(frozen=True)
class Counts:
    at: datetime
    releases: tuple[ReleaseCount, ...] = ()


def releases_of(desired: Desired, *rollouts: Rollout) -> dict[str, Release]:
    """The releases that may have instances, by template: that of two with the same one which
    serves.
    """
    found: dict[str, Release] = {}
    for each in rollouts:
        kept = each.kept.release if each.kept else None
        for release in (each.stable, each.candidate, each.previous, kept, desired.release):
            if release:
                found.setdefault(release.template, release)
    return found


def count(
    releases: dict[str, Release],
    observed: Observed,
    target: Target,
    weights: Sequence[TrafficWeight],
    now: datetime,
) -> Counts:
    """`weights`: those of the route as observed; empty if the model has none. A release without
    instances is left out unless it needs some.
    """
    targets = {each.colour: each for each in target.groups}
    per_mille = {each.colour: each.weight for each in weights}
    found: dict[str, ReleaseCount] = {}
    for template, release in releases.items():
        healthy = total = needed = part = 0
        for group in observed.groups:
            own = [each for each in group.instances if each.template == template]
            well = sum(each.is_healthy for each in own)
            healthy, total = healthy + well, total + len(own)
            part += round(per_mille.get(group.colour, 0) * _share(own, group.instances))
        for colour, group_target in targets.items():
            needed += _needed(release, group_target, observed.group(colour))
        if total or needed:
            found[template] = ReleaseCount(release.version, healthy, total, needed, part)
    return Counts(now, tuple(found.values()))


def _share(own: Sequence[Instance], members: Sequence[Instance]) -> float:
    well = sum(each.is_healthy for each in members)
    if well:
        return sum(each.is_healthy for each in own) / well
    return len(own) / len(members) if members else 0.0


def _needed(release: Release, target: GroupTarget, group: GroupView | None) -> int:
    size = group.target_size if group else target.min
    counted = sum(each.count or 0 for each in target.shares)
    return sum(
        max(0, size - counted) if each.count is None else each.count
        for each in target.shares
        if each.release.template == release.template
    )
