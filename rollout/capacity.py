"""How a rollout gets its instances when there may not be enough: `rollout.capacity`. Pure.

Chosen by `advance` when a rollout begins, before any instance is touched, from what the pass has
read of quotas and observed of stock-outs:

    surge              new instances beside the old ones
    replace_in_place   old instances make room for new ones; strategy `rolling` alone
    wait               begins when there seems to be room, and then has no deadline for capacity

What the release asks for counts. If it asks for nothing, `surge`; where that seems to have no room,
`replace_in_place` if instances may be unavailable, or else `surge` with a warning: Compute Engine
decides. Invariant: a hint refuses nothing.
"""

from __future__ import annotations

from rollout.deferred import dataclass
from rollout.model import CapacityMode, Observed, Release, Rollout, Room, Settled, Stepping
from rollout.strategies import strategy_of, swap_of
from rollout.strategies.base import FIRST_GROUP


@dataclass(frozen=True)
class Choice:
    """How a rollout gets its instances, and why. None: as the release asks, or `surge`, since there
    was nothing to choose by. `lacks`: why it has to wait; empty if it may begin.
    """

    mode: CapacityMode | None = None
    why: str = ""
    lacks: str = ""


def needs_room(rollout: Rollout, release: Release) -> bool:
    """Whether the room in the region's quotas decides how the release gets its instances."""
    stable, given = rollout.stable, release.spec.rollout.capacity
    if stable is None or stable.template == release.template or release.is_restored:
        return False
    return isinstance(rollout.phase, Settled) and given in (None, "wait")


def choose(rollout: Rollout, release: Release, observed: Observed, room: Room | None) -> Choice:
    """`rollout` is still settled. A commanded rollback does not wait for capacity."""
    spec = release.spec.rollout
    if not needs_room(rollout, release):
        return Choice("surge" if release.is_restored and spec.capacity == "wait" else None)
    lacks = _lacks(rollout, release, observed, room)
    if spec.capacity == "wait":
        return Choice("wait", lacks=lacks)
    if not lacks:
        return Choice("surge", f"surge: {room.why}") if room else Choice()
    if spec.unavailable and not spec.has_second_group:
        return Choice("replace_in_place", f"replace_in_place: {lacks}")
    others = "wait" if spec.has_second_group else "wait or replace_in_place"
    return Choice("surge", f"surge, though {lacks}; rollout.capacity could be {others}")


def is_patient(rollout: Rollout) -> bool:
    """Whether the rollout waits for capacity however long that takes. One that took over another
    has chosen nothing.
    """
    candidate = rollout.candidate
    given = candidate.spec.rollout.capacity if candidate else None
    return (rollout.capacity or given) == "wait"


def _lacks(rollout: Rollout, release: Release, observed: Observed, room: Room | None) -> str:
    """Why there seems to be no room for the instances that the rollout needs; empty if there is, or
    if nothing says so.
    """
    needed = _needed(rollout, release, observed)
    if room and room.instances < needed:
        return f"{room.why}, and the rollout needs {needed}"
    stable, group = rollout.stable, observed.group(rollout.serving_group or FIRST_GROUP)
    is_same = stable is not None and stable.spec.machine.type == release.spec.machine.type
    if needed and is_same and group:
        for instance in group.instances:
            if instance.is_blocked and instance.problem and instance.problem.reason == "stock-out":
                return instance.problem.message
    return ""


def _needed(rollout: Rollout, release: Release, observed: Observed) -> int:
    """How many instances there must be beside those that serve: all that the last step asks for in
    a second group, one in a single group with surge.
    """
    swap, strategy = swap_of(rollout, release), strategy_of(release)
    serving = rollout.serving_group or FIRST_GROUP
    if strategy.candidate_group(swap) == serving:
        return 1 if release.spec.rollout.surge else 0
    steps = strategy.steps(swap)
    last = Stepping(len(steps) - 1, release.released_at)
    groups = strategy.target(swap, last, observed).groups
    return sum(group.min for group in groups if group.colour != serving)
