"""The standby pool of a group: which VMs resume when the group grows, and how the pool is
refilled.

Called by `engine/standby_pool.py`. Source: API reference, standbyPolicy.mode, targetStoppedSize,
targetSuspendedSize.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

STOPPED, SUSPENDED = "STOPPED", "SUSPENDED"
QUICKEST_FIRST = (SUSPENDED, STOPPED)


@dataclass(frozen=True)
class StandbyInstance:
    """A VM in the pool, or on its way there. `is_settled`: it has arrived and is idle."""

    name: str
    kind: str
    is_settled: bool = True
    created_at: float = 0.0


def to_resume(standby: Sequence[StandbyInstance], missing: int) -> list[str]:
    """The VMs that resume to fill what the group lacks: suspended ones before stopped ones,
    oldest first.
    """
    ready = [spare for spare in standby if spare.is_settled]
    ready.sort(key=lambda spare: (QUICKEST_FIRST.index(spare.kind), spare.created_at, spare.name))
    return [spare.name for spare in ready[: max(0, missing)]]


def missing_by_kind(standby: Sequence[StandbyInstance], targets: Mapping[str, int]) -> Counter[str]:
    """How many VMs of each kind to create for the pool."""
    return Counter(targets) - Counter(spare.kind for spare in standby)


def to_remove(standby: Sequence[StandbyInstance], targets: Mapping[str, int]) -> list[str]:
    """The surplus VMs of the pool: those on their way first, then the youngest."""
    gone: list[str] = []
    for kind in QUICKEST_FIRST:
        mine = [spare for spare in standby if spare.kind == kind]
        mine.sort(key=lambda spare: (spare.is_settled, -spare.created_at, spare.name))
        gone += [spare.name for spare in mine[: max(0, len(mine) - targets.get(kind, 0))]]
    return gone
