"""Reads Compute Engine for one loop, as little as possible: a project has 1,500 reads a minute.

Called by `handlers/reconcile/loop.py`. The cache is one frozen value that is handed from pass to
pass and is never older than the loop, which is a minute.

    the first pass, and when a release ends      everything, and what may be left over   about 20
    when a release begins                        the same by lists, see `reads`          4 to 13
    the first passes after a wait, if nothing was to change at the last full read        4
    if one of them showed something to do        what the rollout's plan needs           about 9
    after a change                               volatile reads, and what was changed    about 6
    after a pass with nothing to do              groups and health only                  3
    if that showed something to do               the rest of the volatile reads          3
    within the same instant                      nothing                                 none
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field, replace
from datetime import datetime
from typing import Literal

from infra.compute.client import Compute
from infra.compute.inventory import list_owned
from infra.fleet import reads
from infra.fleet.model import Key, ReadSet, Snapshot, merge_snapshots
from infra.fleet.reads import Scope
from rollout.deferred import dataclass

NOTHING = Snapshot({})
NO_READS = ReadSet(())
Beginning = Literal["none", "blank", "next"]
"""A release is about to begin: the first one ever of its model, or the next one."""


@dataclass(frozen=True)
class SnapshotCache:
    """The last snapshot. `stale` are resources that a pass tried to change since; `fresh`: what
    was read in this very instant; `is_partial`: the last read covered groups and health only;
    `is_light`: so did every read before; `is_swept`: it covered everything, lists of leftovers
    included; `is_noop`: the last decision found nothing to do. `complete_at`: when everything was
    last read, by these passes or by those before a wait. `is_assumed`: some of it was concluded
    from lists.
    """

    snapshot: Snapshot = NOTHING
    stale: frozenset[Key] = field(default_factory=frozenset)
    fresh: ReadSet = NO_READS
    is_partial: bool = False
    is_swept: bool = False
    is_light: bool = False
    is_noop: bool = False
    complete_at: datetime | None = None
    is_assumed: bool = False

    @property
    def is_fresh(self) -> bool:
        return bool(self.fresh.keys)


def invalidate(cache: SnapshotCache, keys: Iterable[Key]) -> SnapshotCache:
    """Marks resources as stale that a pass tried to change, whether it succeeded or not."""
    changed = frozenset(keys)
    return replace(cache, stale=cache.stale | changed, fresh=NO_READS if changed else cache.fresh)


def age(cache: SnapshotCache) -> SnapshotCache:
    """Time has passed: what was read may have changed."""
    return replace(cache, fresh=NO_READS)


def observe_lightly(
    compute: Compute,
    scope: Scope,
    cache: SnapshotCache,
    complete_at: datetime,
    *,
    with_stale: bool = False,
) -> SnapshotCache:
    """Groups and health only, for a pass that expects nothing to do. It plans nothing.
    `with_stale`: and what was changed, because a release ends once that is observed.
    """
    backends = Snapshot(reads.usual_backends(compute.project, scope))
    light = reads.light_reads(scope)
    if with_stale:
        light = replace(light, keys=tuple(dict.fromkeys((*light.keys, *sorted(cache.stale)))))
    snapshot = merge_snapshots(cache.snapshot, compute.observe(light, backends))
    return SnapshotCache(
        snapshot,
        cache.stale - {*light.keys},
        light,
        is_partial=True,
        is_light=True,
        complete_at=complete_at,
    )


def observe(
    compute: Compute,
    scope: Scope,
    cache: SnapshotCache,
    now: datetime,
    complete_at: datetime | None = None,
    beginning: Beginning = "none",
) -> SnapshotCache:
    """The cache with everything that a target of the releases in scope could need. `complete_at`:
    when a pass before a wait read everything, so that now only what a rollout's plan needs is
    read. `beginning`: whether a release is about to begin. Raises `Unavailable`.
    """
    if not scope.releases:
        return SnapshotCache(list_owned(compute, scope.model), is_swept=True, complete_at=now)
    read_set, is_partial = next_reads(scope, cache, is_lean=complete_at is not None)
    if read_set is None:
        return _with_unused_parts(compute, scope, cache)
    is_first = beginning != "none" and not cache.snapshot.bodies
    if read_set.leftovers_of and (is_first or cache.is_fresh):
        return _sweep(compute, scope, cache, now, is_blank=is_first and beginning == "blank")
    if read_set.leftovers_of:
        snapshot = compute.observe(read_set)
        return SnapshotCache(snapshot, fresh=read_set, is_swept=True, complete_at=now)
    found = SnapshotCache(
        merge_snapshots(cache.snapshot, compute.observe(read_set, cache.snapshot)),
        cache.stale if is_partial else frozenset(),
        reads.union(read_set, cache.fresh),
        is_partial=is_partial,
        complete_at=cache.complete_at or complete_at,
        is_assumed=cache.is_assumed,
    )
    return found if is_partial else _with_unused_parts(compute, scope, found)


def _with_unused_parts(compute: Compute, scope: Scope, cache: SnapshotCache) -> SnapshotCache:
    """The cache with what is not in use yet of what else was not read, see `reads.unused_parts`."""
    unused = reads.unused_parts(scope, cache.snapshot)
    if not unused.keys:
        return cache
    snapshot = merge_snapshots(cache.snapshot, compute.observe(unused))
    return replace(cache, snapshot=snapshot, fresh=reads.union(cache.fresh, unused))


def _sweep(
    compute: Compute, scope: Scope, cache: SnapshotCache, now: datetime, *, is_blank: bool
) -> SnapshotCache:
    """Everything, with half of the reads: what the lists show is not read one by one, and neither
    is what cannot exist according to them. What is fresh is not read again.
    """
    fresh = Snapshot(
        {key: cache.snapshot.bodies[key] for key in cache.fresh.keys},
        {key: cache.snapshot.instances[key] for key in cache.fresh.groups},
        {key: cache.snapshot.health.get(key, ()) for key in cache.fresh.healths},
    )
    first = reads.first_reads(scope, cache.fresh, is_blank=is_blank)
    found = merge_snapshots(fresh, compute.observe(first, fresh))
    further, absent = reads.further_reads(scope, found, is_blank=is_blank)
    found = merge_snapshots(found, compute.observe(further, found))
    return SnapshotCache(
        replace(found, bodies={**dict.fromkeys(absent), **found.bodies}),
        fresh=reads.union(reads.union(first, further), cache.fresh),
        complete_at=now,
        is_assumed=True,
    )


def next_reads(
    scope: Scope, cache: SnapshotCache, *, is_lean: bool = False
) -> tuple[ReadSet | None, bool]:
    """What to read now (None: nothing), and whether that is only the groups and their health."""
    known = cache.snapshot.bodies.keys()
    volatile = reads.volatile_reads(scope)
    everything = reads.lean_reads(scope) if is_lean else reads.full_reads(scope, sweep=True)
    elsewhere = (cache.stale & known) - {*volatile.keys}
    is_enough = known >= {*everything.keys} and not reads.unused_parts(scope, cache.snapshot).keys
    if not is_enough or elsewhere & {*everything.groups}:
        if is_lean and cache.is_fresh:
            everything = reads.without(everything, cache.fresh)
        return everything, False
    if cache.is_fresh and not cache.is_partial:
        return None, False
    groups = reads.group_reads(scope)
    if cache.is_noop:
        return groups, True
    volatile = replace(volatile, keys=(*volatile.keys, *sorted(elsewhere)))
    return (reads.without(volatile, groups) if cache.is_fresh else volatile), False
