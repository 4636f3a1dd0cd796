"""The zone of a new VM, and whether a group is out of balance.

Called by the updater. Counts do not include VMs that are being deleted. Source: Compute
documentation, target distribution shape and regional rebalancing.
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

    EVEN takes the emptiest zone whether or not it has capacity (a stock-out there keeps
    failing). The other shapes avoid the zones in `full`, which are known to have no capacity, as
    long as another zone is left.
    """
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
    """The fullest and the emptiest zone if they differ by two or more VMs: EVEN allows a
    difference of one.
    """
    fullest = max(zones, key=lambda zone: total.get(zone, 0))
    emptiest = min(zones, key=lambda zone: total.get(zone, 0))
    return (fullest, emptiest) if total.get(fullest, 0) - total.get(emptiest, 0) >= 2 else None
