"""The strategies by the name that `rollout.strategy` gives them.

To add one: a module beside this one that implements `base.Strategy`, an entry in `STRATEGIES`, and
the name in `RolloutSpec.strategy` (`rollout/spec/model.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from rollout.model import Release, Rollout
from rollout.strategies.base import FIRST_GROUP, Strategy, Swap
from rollout.strategies.blue_green import BlueGreen
from rollout.strategies.canary import Canary
from rollout.strategies.rolling import Rolling

STRATEGIES: Mapping[str, Strategy] = {
    "rolling": Rolling(),
    "canary": Canary(),
    "blue_green": BlueGreen(),
}


def strategy_of(release: Release) -> Strategy:
    return STRATEGIES[release.spec.rollout.strategy]


def swap_of(rollout: Rollout, candidate: Release) -> Swap:
    return Swap(
        rollout.stable,
        candidate,
        rollout.serving_group,
        rollout.stable_kept,
        rollout.capacity,
        rollout.demand,
    )


def has_own_group(rollout: Rollout) -> bool:
    """Whether the candidate runs beside the stable release, in a group of its own."""
    candidate = rollout.candidate
    if candidate is None or rollout.stable is None:
        return False
    group = strategy_of(candidate).candidate_group(swap_of(rollout, candidate))
    return group != (rollout.serving_group or FIRST_GROUP)
