"""What one turn has seen of Compute Engine, and how little it reads again: a project may read 1,500
times a minute in all.

Used by `handlers/reconcile/loop.py`, one for each turn. What a turn knows is as old as the turn at
most, which is a minute.

    the first look, and when a release came    everything, and what may be left over    about 20 reads
    after a change                             what a rollout moves, and what this turn has changed    about 6
    after a look that had nothing to do        a glance: only groups and health change while one waits    3
    when a glance found something to do        the rest of what a rollout moves    3
    after a decision that changed nothing      what was read an instant ago    none
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from infra.compute.client import Compute
from infra.compute.inventory import list_owned
from infra.fleet.model import Key, ReadSet, Snapshot, merge_snapshots
from infra.fleet.plan import full_reads, group_reads, volatile_reads
from infra.store.documents import State


class Sight:
    """`is_calm` is to be set after each look: whether nothing was to be done. `was_glance` says how
    the last one looked."""

    def __init__(self) -> None:
        self.is_calm = self.was_glance = False
        self._is_fresh = False
        self._seen: Snapshot | None = None
        self._changed: set[Key] = set()

    def changed(self, keys: Iterable[Key]) -> None:
        """What was tried to be changed, whether it was or not: to be read again."""
        tried = {*keys}
        self._changed |= tried
        self._is_fresh = self._is_fresh and not tried

    def fade(self) -> None:
        """Time passes: what was read need not be so any more."""
        self._is_fresh = False

    def look(self, compute: Compute, state: State) -> Snapshot:
        """All that any target of the releases in play could need, and what may be left over. Raises
        `Unavailable`."""
        rollout, model = state.rollout, state.desired.model
        releases = tuple(
            release
            for release in (rollout.stable, rollout.candidate, state.desired.release)
            if release
        )
        if not releases:
            self.was_glance = False
            return list_owned(compute, model)
        everything, moved = full_reads(model, releases, sweep=True), volatile_reads(model, releases)
        known = self._seen.bodies.keys() if self._seen else set[Key]()
        elsewhere = (self._changed & known) - {*moved.keys}
        if (
            self._seen is None
            or not known >= {*everything.keys}
            or elsewhere & {*everything.groups}
        ):
            self._changed = set()
            return self._saw(compute.observe(everything))
        seen = self._seen
        if self._is_fresh and not self.was_glance:
            return seen
        if self.is_calm:
            return self._saw(
                merge_snapshots(seen, compute.observe(group_reads(model, releases), seen)),
                is_glance=True,
            )
        asked = replace(moved, keys=(*moved.keys, *sorted(elsewhere)))
        if self._is_fresh:
            asked = _without(asked, group_reads(model, releases))
        seen = merge_snapshots(seen, compute.observe(asked, seen))
        self._changed = set()
        return self._saw(seen)

    def _saw(self, seen: Snapshot, *, is_glance: bool = False) -> Snapshot:
        self._seen, self._is_fresh, self.was_glance = seen, True, is_glance
        return seen


def _without(asked: ReadSet, known: ReadSet) -> ReadSet:
    """What of a look is still to be read."""
    return replace(
        asked,
        keys=tuple(key for key in asked.keys if key not in known.keys),
        groups=tuple(key for key in asked.groups if key not in known.groups),
        healths=tuple(key for key in asked.healths if key not in known.healths),
    )
