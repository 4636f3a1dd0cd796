"""What models may use at most, and the caps on the sum over all models of the project.

Called by `handlers/admission.py`, when a release arrives and before a pass applies anything of it.
Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from rollout.model import Desired, Release, Rollout
from rollout.policy.policy import Policy
from rollout.policy.prices import Prices, cost_per_hour
from rollout.spec.model import Spec


@dataclass(frozen=True)
class Usage:
    """What something may use at most, surge included; `cost` is an estimate per hour."""

    instances: int = 0
    accelerators: int = 0
    cost: float = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.instances + other.instances,
            self.accelerators + other.accelerators,
            self.cost + other.cost,
        )


@dataclass(frozen=True)
class Cap:
    """One cap of a policy: which field of a spec to blame, in what words, and what it looks at in a
    load."""

    path: str
    words: str
    most: float | None
    of: Callable[[Usage], float]

    def is_broken(self, load: Usage) -> bool:
        return self.most is not None and self.of(load) > self.most


def quota_violations(policy: Policy, before: Usage, after: Usage, others: Usage) -> tuple[str, ...]:
    """Each cap of the project that a model breaks by growing from `before` to `after` beside the
    `others`. What does not grow passes also where the sum is above the cap already: it is not what
    makes it so."""
    total = others + after
    return tuple(
        f"{cap.path}: policy allows {display_amount(cap.most or 0)} {cap.words}; got"
        f" {display_amount(cap.of(total))}, of which other models may use {display_amount(cap.of(others))}"
        for cap in _project_caps(policy)
        if cap.is_broken(total) and cap.of(after) > cap.of(before)
    )


def max_usage(prices: Prices, specs: Iterable[Spec]) -> Usage:
    """What a model may use while releases with these specs share its group: the widest bounds and
    the dearest machine of them."""
    found = tuple(specs)
    instances = max((spec.scaling.max for spec in found), default=0) + max(
        (spec.rollout.surge or 0 for spec in found), default=0
    )
    return _usage_of(prices, instances, found)


def live_releases(rollout: Rollout, desired: Desired) -> tuple[Release, ...]:
    """The releases that a model may run before it is settled. A rollback that names none is one to
    the release before."""
    rollbacks = (command for command in desired.commands if command.verb == "rollback")
    asked = (command.release or rollout.previous for command in rollbacks)
    return tuple(
        release
        for release in (rollout.stable, rollout.candidate, desired.release, *asked)
        if release
    )


def competing(rollout: Rollout, desired: Desired, since: tuple[datetime, str]) -> tuple[Spec, ...]:
    """The specs of a model that count against another model's release, published at `since` (with
    that model's name): of two that want the same room the one that was published first has it, so
    that not both go back."""
    stable = rollout.stable
    return tuple(
        release.spec
        for release in live_releases(rollout, desired)
        if release == stable or (release.released_at, desired.model) < since
    )


def display_amount(value: float) -> str:
    if math.isinf(value):
        return "more than settings/prices can tell"
    return (
        f"{value:.2f}" if isinstance(value, float) and not value.is_integer() else f"{int(value)}"
    )


def _usage_of(prices: Prices, instances: int, specs: tuple[Spec, ...]) -> Usage:
    accelerators = max(
        (spec.machine.accelerator.count for spec in specs if spec.machine.accelerator), default=0
    )
    cost = max((cost_per_hour(prices, spec) for spec in specs), default=0.0)
    return Usage(instances, instances * accelerators, instances * cost if instances else 0)


def _project_caps(policy: Policy) -> tuple[Cap, ...]:
    currency = policy.prices.currency
    return (
        Cap(
            "scaling.max",
            "instances in the project",
            policy.max_project_instances,
            lambda load: load.instances,
        ),
        Cap(
            "machine.accelerator",
            "accelerators in the project",
            policy.max_project_accelerators,
            lambda load: load.accelerators,
        ),
        Cap(
            "machine",
            f"{currency} an hour in the project",
            policy.max_project_cost_per_hour,
            lambda load: load.cost,
        ),
    )
