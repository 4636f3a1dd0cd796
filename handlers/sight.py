"""What one turn has seen of Compute Engine, and how little it reads again: a project may read 1,500 times a minute in all.

Used by `handlers/turn.py`, one for each turn. What a turn knows is as old as the turn at most, which is a minute.

    the first look, and when a release came    everything, and what may be left over    about 20 reads
    after a change                             what a rollout moves, and all that this turn changed    about 10
    after a look that had nothing to do        a glance: only groups and health change while one waits    4
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from infra.census import leftovers
from infra.compute import Compute
from infra.plan import glance, look
from infra.resources.base import Key, Snapshot, merged
from rollout.encode import State


class Sight:
    """`is_calm` is to be set after each look: whether nothing was to be done. `was_glance` says how the last one looked."""

    def __init__(self) -> None:
        self.is_calm = self.was_glance = False
        self._seen: Snapshot | None = None
        self._changed: set[Key] = set()

    def changed(self, keys: Iterable[Key]) -> None:
        """What was tried to be changed, whether it was or not: to be read again."""
        self._changed |= {*keys}

    def look(self, compute: Compute, state: State) -> Snapshot:
        """All that any target of the releases in play could need, and what may be left over. Raises `Unavailable`."""
        rollout, model = state.rollout, state.desired.model
        releases = tuple(release for release in (rollout.stable, rollout.candidate, state.desired.release) if release)
        self.was_glance = False
        if not releases:
            return leftovers(compute, model)
        everything, moving = look(model, releases, sweep=True), look(model, releases, with_gateway=False)
        known = self._seen.bodies.keys() if self._seen else set[Key]()
        elsewhere = (self._changed & known) - {*moving.keys}
        if self._seen is None or not known >= {*everything.keys} or elsewhere & {*everything.groups}:
            self._seen, self._changed = compute.observe(everything), set()
        elif self.is_calm:
            self._seen, self.was_glance = merged(self._seen, compute.observe(glance(model, releases))), True
        else:
            again = replace(moving, keys=(*moving.keys, *sorted(elsewhere)))
            self._seen = merged(self._seen, compute.observe(again))
        return self._seen
