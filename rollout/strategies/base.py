"""What a strategy is: a function from a rollout's progress to an intermediate target. Pure.

Implemented by one module each beside this one and registered in `rollout/strategies/__init__.py`. A
strategy owns its steps, the target of each step, its way back and its steady target; `advance` only
decides when to move between them.
"""

from __future__ import annotations

import hashlib
import json
from typing import Protocol

from rollout.deferred import dataclass
from rollout.model import (
    FULL_WEIGHT,
    CapacityMode,
    Colour,
    Demand,
    FleetTarget,
    Kept,
    Observed,
    Release,
    Stepping,
    TrafficTarget,
    TrafficWeight,
)
from rollout.spec.steps import Step
from rollout.spec.stored import encode

__all__ = ["FIRST_GROUP", "Step", "Strategy", "Swap", "all_traffic_to", "steps_digest"]


@dataclass(frozen=True)
class Swap:
    """The two releases of a rollout, and the group that serves the stable one. Without a stable
    release nothing is shared. `stable_kept`, `capacity` and `demand`: see `Rollout`.
    """

    stable: Release | None
    candidate: Release
    serving: Colour | None
    stable_kept: int | None = None
    capacity: CapacityMode | None = None
    demand: Demand | None = None

    @property
    def is_replaced_in_place(self) -> bool:
        """Whether old instances make room for new ones. A rollout that took over another one has
        chosen nothing.
        """
        return (self.capacity or self.candidate.spec.rollout.capacity) == "replace_in_place"


class Strategy(Protocol):
    """Invariants: a target names at most two releases; after the last step all requests go to the
    candidate.
    """

    def steps(self, swap: Swap) -> tuple[Step, ...]:
        """The steps of this rollout, at least one."""
        ...

    def candidate_group(self, swap: Swap) -> Colour:
        """The group that runs the candidate: where it is judged, and where it serves once
        stable.
        """
        ...

    def target(self, swap: Swap, at: Stepping, observed: Observed) -> FleetTarget:
        """The intermediate target of the step that the rollout is `at`."""
        ...

    def rollback_target(
        self,
        swap: Swap,
        observed: Observed,
        *,
        in_place: bool,
        is_drained: bool = True,
        weight: int = 0,
    ) -> FleetTarget:
        """The way back from any step: the stable release alone, or nothing if there is none.
        `in_place`: without an instance more than there are. `is_drained`, `weight`: see
        `RollingBack`.
        """
        ...

    def steady_target(
        self, release: Release, serving: Colour | None, kept: Kept | None = None
    ) -> FleetTarget:
        """The target of a settled model that serves `release`."""
        ...


FIRST_GROUP: Colour = "blue"
"""The group of a model's first release."""


def steps_digest(steps: tuple[Step, ...]) -> str:
    """A short hash of the steps. A rollout whose stored hash differs starts its steps again."""
    dumped = [
        {name: value for name, value in encode(step).items() if value is not None} for step in steps
    ]
    text = json.dumps(dumped, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def all_traffic_to(colour: Colour, settings: Release) -> TrafficTarget | None:
    """Every request to one group; None if the model is not exposed."""
    if not settings.spec.traffic.is_exposed:
        return None
    return TrafficTarget(settings, (TrafficWeight(colour, FULL_WEIGHT),))
