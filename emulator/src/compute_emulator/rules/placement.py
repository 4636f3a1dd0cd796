"""Where: the zone a new VM goes to, the zone a VM leaves first, and whether a group is out of
balance.

Called by the updater. Counts are of VMs that stay (being deleted ones are not in them).
Source: Compute documentation, target distribution shape and regional rebalancing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

FLEXIBLE_SHAPES = frozenset({"BALANCED", "ANY", "ANY_SINGLE_ZONE"})


def zone_for_new(
    shape: str,
    zones: Sequence[str],
    total: Mapping[str, int],
    same_version: Mapping[str, int],
    full: Collection[str],
) -> str:
    """The zone of the next VM.

    EVEN takes the emptiest zone whether or not it has capacity left (a stock-out there keeps
    failing); the other shapes go around a zone in `full`, a zone known to have no capacity, as long
    as one zone is left."""
    candidates = list(zones)
    if shape in FLEXIBLE_SHAPES:
        candidates = [zone for zone in zones if zone not in full] or candidates
    if shape == "ANY_SINGLE_ZONE":
        return max(candidates, key=lambda zone: (total.get(zone, 0), -candidates.index(zone)))
    return min(
        candidates,
        key=lambda zone: (total.get(zone, 0), same_version.get(zone, 0), candidates.index(zone)),
    )


def imbalance(zones: Sequence[str], total: Mapping[str, int]) -> tuple[str, str] | None:
    """The fullest and the emptiest zone when they differ by two or more VMs: EVEN allows a
    difference of one."""
    fullest = max(zones, key=lambda zone: total.get(zone, 0))
    emptiest = min(zones, key=lambda zone: total.get(zone, 0))
    return (fullest, emptiest) if total.get(fullest, 0) - total.get(emptiest, 0) >= 2 else None
