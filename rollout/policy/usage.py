"""What models may use at most, and the caps on the sum over all models of the project.

Called by `handlers/admission.py`, when a release arrives and before a pass applies anything of it.
Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import datetime

from rollout.deferred import dataclass
from rollout.model import Desired, Release, Rollout
from rollout.policy.policy import Policy
from rollout.policy.prices import Prices, cost_per_hour
from rollout.policy.violation import Violation
from rollout.spec.model import Spec


@dataclass(frozen=True)
class Usage:
    """The most that something may use, surge included; `cost` is an estimate per hour."""

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
    """One cap of a policy: the spec field that it is reported under, its unit, its limit, and which
    part of a usage it limits.
    """

    path: str
    unit: str
    limit: float | None
    measure: Callable[[Usage], float]

    def is_exceeded(self, usage: Usage) -> bool:
        return self.limit is not None and self.measure(usage) > self.limit


def caps_of(
    suffix: str, currency: str, instances: int | None, accelerators: int | None, cost: float | None
) -> tuple[Cap, ...]:
    """The caps on instances, accelerators and cost; `suffix` ends the name of each unit."""
    return (
        Cap("scaling.max", f"instances{suffix}", instances, lambda usage: usage.instances),
        Cap(
            "machine.accelerator",
            f"accelerators{suffix}",
            accelerators,
            lambda usage: usage.accelerators,
        ),
        Cap("machine", f"{currency} an hour{suffix}", cost, lambda usage: usage.cost),
    )


def quota_violations(
    policy: Policy, before: Usage, after: Usage, others: Usage
) -> tuple[Violation, ...]:
    """Each project cap that a model exceeds by growing from `before` to `after` beside the
    `others`. A model that does not grow passes even if the sum already exceeds the cap, because it
    did not cause the excess.
    """
    total = others + after
    caps = caps_of(
        " in the project",
        policy.prices.currency,
        policy.max_project_instances,
        policy.max_project_accelerators,
        policy.max_project_cost_per_hour,
    )
    fields = ("max_project_instances", "max_project_accelerators", "max_project_cost_per_hour")
    return tuple(
        Violation(
            f"{cap.path}: policy allows {display_amount(cap.limit or 0)} {cap.unit}; got"
            f" {display_amount(cap.measure(total))}, of which other models may use"
            f" {display_amount(cap.measure(others))}",
            _raised(field, cap.measure(total)),
        )
        for cap, field in zip(caps, fields, strict=True)
        if cap.is_exceeded(total) and cap.measure(after) > cap.measure(before)
    )


def _raised(field: str, usage: float) -> str:
    return "" if math.isinf(usage) else f"{field}={math.ceil(usage)}"


def max_usage(prices: Prices, specs: Iterable[Spec]) -> Usage:
    """The most that a model may use while it runs releases with these specs, the one that serves
    first: the widest bounds with the most expensive machine, and twice the bounds if one of the
    others has its own group.
    """
    found = tuple(specs)
    widest = max((spec.scaling.max for spec in found), default=0)
    has_second_group = any(spec.rollout.has_second_group and spec != found[0] for spec in found[1:])
    instances = widest * (2 if has_second_group else 1) + max(
        (spec.rollout.surge or 0 for spec in found), default=0
    )
    accelerators = max(
        (spec.machine.accelerator.count for spec in found if spec.machine.accelerator), default=0
    )
    cost = max((cost_per_hour(prices, spec) for spec in found), default=0.0)
    return Usage(instances, instances * accelerators, instances * cost if instances else 0)


def live_releases(rollout: Rollout, desired: Desired) -> tuple[Release, ...]:
    """The releases that a model may run before it settles."""
    kept = rollout.kept.release if rollout.kept else None
    found = (kept, rollout.stable, rollout.candidate, desired.release)
    return tuple(release for release in found if release)


def competing(rollout: Rollout, desired: Desired, since: tuple[datetime, str]) -> tuple[Spec, ...]:
    """The specs of a model that count against another model's release, which was published at
    `since` (with that model's name): if two releases compete for capacity, the earlier one wins, so
    that they do not both roll back.
    """
    stable = rollout.stable
    return tuple(
        release.spec
        for release in live_releases(rollout, desired)
        if release == stable or (release.released_at, desired.model) < since
    )


def display_amount(value: float) -> str:
    if math.isinf(value):
        return "an unknown cost (no price in settings/prices)"
    return (
        f"{value:.2f}" if isinstance(value, float) and not value.is_integer() else f"{int(value)}"
    )
