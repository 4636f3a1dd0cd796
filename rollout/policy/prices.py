"""Estimates what an instance costs an hour, for the cost caps of a policy.

Called by `rollout/policy/usage.py` and `caps.py`. Pure: the table comes from `prices.json` (read by
`infra/settings.py`), overridden by the document `settings/prices`. Invariant: a machine without a
price is never free; it costs more than any cap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field, fields, replace
from typing import Any

from rollout.deferred import dataclass
from rollout.spec.machines import FIXED
from rollout.spec.model import Machine, Spec

HOURS_A_MONTH = 730
NOTES = ("about", "as_of")


@dataclass(frozen=True)
class Prices:
    """Prices per hour in `currency`, except for disks, which are per GB and month.

    The price of a machine type includes its built-in GPUs. A type that is not listed costs its
    vCPUs times the price of its series (`n1-standard-4` is 4 x `n1-standard`). `regions` and `spot`
    are factors; `elsewhere` is the factor of every other region.
    """

    machine_types: Mapping[str, float] = field(default_factory=dict)
    per_vcpu: Mapping[str, float] = field(default_factory=dict)
    accelerators: Mapping[str, float] = field(default_factory=dict)
    disks: Mapping[str, float] = field(default_factory=dict)
    regions: Mapping[str, float] = field(default_factory=dict)
    elsewhere: float = 1.0
    spot: float = 1.0
    currency: str = "USD"


def load_prices(base: Prices, document: Mapping[str, Any] | None) -> Prices:
    """The base table, overridden by the document. Raises ValueError for an unknown field or an
    invalid price: a misspelled one must not silently leave the base price in place.
    """
    given = {name: value for name, value in (document or {}).items() if name not in NOTES}
    overrides = {name: _override(base, name, value) for name, value in given.items()}
    return replace(base, **overrides)


def cost_per_hour(prices: Prices, spec: Spec) -> float:
    """The estimate for one instance; infinite if the table has no price for some part of it,
    whatever the factors.

    Two T4 on an n1-standard-4 with 50 GB of pd-balanced in us-central1: 4 x 0.048 + 2 x 0.35 + 50 x
    0.1 / 730 = 0.90.
    """
    if missing_price(prices, spec):
        return math.inf  # not computed: infinity times a factor of 0 is NaN, which exceeds no cap
    machine = spec.machine
    running = (_machine(prices, machine) + _accelerators(prices, machine)) * (
        prices.spot if machine.spot else 1
    )
    per_gigabyte = prices.disks.get(machine.disk.type or "", math.inf)
    disk = machine.disk.size_gb * per_gigabyte / HOURS_A_MONTH
    return (running + disk) * prices.regions.get(spec.placement.region, prices.elsewhere)


def missing_price(prices: Prices, spec: Spec) -> str:
    """The part of an instance that has no price; empty if there is an estimate."""
    machine = spec.machine
    if math.isinf(_machine(prices, machine)):
        return f"machine type {machine.type}"
    if machine.accelerator and math.isinf(_accelerators(prices, machine)):
        return f"accelerator {machine.accelerator.type}"
    return "" if machine.disk.type in prices.disks else f"disk type {machine.disk.type}"


def _machine(prices: Prices, machine: Machine) -> float:
    whole = prices.machine_types.get(machine.type)
    if whole is not None:
        return whole
    series, _, vcpus = machine.type.rpartition("-")
    each = prices.per_vcpu.get(series)
    return math.inf if each is None or not vcpus.isdecimal() else each * int(vcpus)


def _accelerators(prices: Prices, machine: Machine) -> float:
    """Accelerators added to the machine; built-in ones are part of its price."""
    if machine.accelerator is None or machine.type in FIXED:
        return 0
    return machine.accelerator.count * prices.accelerators.get(machine.accelerator.type, math.inf)


def _override(base: Prices, name: str, value: Any) -> Any:
    known = [each.name for each in fields(Prices)]
    if name not in known:
        raise ValueError(
            f"settings/prices has an unknown field {name}; known fields are {', '.join(known)}"
        )
    if name == "currency":
        if not isinstance(value, str) or not value:
            raise ValueError(f"settings/prices: currency must be a string, got {value!r}")
        return value
    if name in ("elsewhere", "spot"):
        return _price(name, value)
    if not isinstance(value, Mapping):
        raise ValueError(f"settings/prices: {name} must map names to prices, got {value!r}")
    return {
        **getattr(base, name),
        **{key: _price(f"{name}.{key}", price) for key, price in value.items()},
    }


def _price(path: str, value: Any) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or value < 0
    ):
        raise ValueError(f"settings/prices: {path} must be a non-negative number, got {value!r}")
    return float(value)
