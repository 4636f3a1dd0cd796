"""Reads Compute Engine for one loop, as little as possible: a project has 1,500 reads a minute.

Called by `handlers/reconcile/loop.py`. The cache is one frozen value that is handed from pass to
pass and is never older than the loop, which is a minute.

    the first pass, and when a release arrived   everything, and what may be left over   about 20
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

from infra.compute.client import Compute
from infra.compute.inventory import list_owned
from infra.fleet import reads
from infra.fleet.model import Key, ReadSet, Snapshot, merge_snapshots
from infra.fleet.reads import Scope
from rollout.deferred import dataclass

NOTHING = Snapshot({})


@dataclass(frozen=True)
class SnapshotCache:
    """The last snapshot. `stale` are resources that a pass tried to change since; `is_fresh`: read
    in this very instant; `is_partial`: the last read covered groups and health only; `is_light`: so
    did every read before; `is_swept`: it covered everything, lists of leftovers included;
    `is_noop`: the last decision found nothing to do. `complete_at`: when everything was last read,
    by these passes or by those before a wait.
    """

    snapshot: Snapshot = NOTHING
    stale: frozenset[Key] = field(default_factory=frozenset)
    is_fresh: bool = False
    is_partial: bool = False
    is_swept: bool = False
    is_light: bool = False
    is_noop: bool = False
    complete_at: datetime | None = None


def invalidate(cache: SnapshotCache, keys: Iterable[Key]) -> SnapshotCache:
    """Marks resources as stale that a pass tried to change, whether it succeeded or not."""
    changed = frozenset(keys)
    return replace(cache, stale=cache.stale | changed, is_fresh=cache.is_fresh and not changed)


def age(cache: SnapshotCache) -> SnapshotCache:
    """Time has passed: what was read may have changed."""
    return replace(cache, is_fresh=False)


def observe_lightly(
    compute: Compute, scope: Scope, cache: SnapshotCache, complete_at: datetime
) -> SnapshotCache:
    """Groups and health only, for a pass that expects nothing to do. It plans nothing."""
    backends = Snapshot(reads.usual_backends(compute.project, scope))
    snapshot = compute.observe(reads.light_reads(scope), backends)
    snapshot = merge_snapshots(cache.snapshot, snapshot)
    return SnapshotCache(
        snapshot,
        cache.stale,
        is_fresh=True,
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
) -> SnapshotCache:
    """The cache with everything that a target of the releases in scope could need. `complete_at`:
    when a pass before a wait read everything, so that now only what a rollout's plan needs is
    read. Raises `Unavailable`.
    """
    if not scope.releases:
        return SnapshotCache(list_owned(compute, scope.model), is_swept=True, complete_at=now)
    read_set, is_partial = next_reads(scope, cache, is_lean=complete_at is not None)
    if read_set is None:
        return cache
    is_swept = read_set.leftovers_of is not None
    if is_swept:
        snapshot = compute.observe(read_set)
    else:
        snapshot = merge_snapshots(cache.snapshot, compute.observe(read_set, cache.snapshot))
    return SnapshotCache(
        snapshot,
        cache.stale if is_partial else frozenset(),
        is_fresh=True,
        is_partial=is_partial,
        is_swept=is_swept,
        complete_at=now if is_swept else cache.complete_at or complete_at,
    )


def next_reads(
    scope: Scope, cache: SnapshotCache, *, is_lean: bool = False
) -> tuple[ReadSet | None, bool]:
    """What to read now (None: nothing), and whether that is only the groups and their health."""
    known = cache.snapshot.bodies.keys()
    volatile = reads.volatile_reads(scope)
    everything = reads.full_reads(scope, sweep=not is_lean, with_gateway=not is_lean)
    elsewhere = (cache.stale & known) - {*volatile.keys}
    if not known >= {*everything.keys} or elsewhere & {*everything.groups}:
        if is_lean and cache.is_fresh:
            everything = reads.without(everything, reads.light_reads(scope))
        return everything, False
    if cache.is_fresh and not cache.is_partial:
        return None, False
    groups = reads.group_reads(scope)
    if cache.is_noop:
        return groups, True
    volatile = replace(volatile, keys=(*volatile.keys, *sorted(elsewhere)))
    return (reads.without(volatile, groups) if cache.is_fresh else volatile), False
