"""The policy: what no release may exceed, and how its document is read.

Read by `rollout/policy/caps.py` (one spec), `rollout/policy/usage.py` (all models of the project)
and `infra/settings.py`, which loads the document `settings/policy`. Pure. Invariant: an empty policy
allows whatever Compute Engine allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from rollout.policy.prices import Prices

IsSigned = Callable[[str, str, tuple[str, ...]], bool]
"""Whether the signature (base64) is one of the image's name, digest and all, by one of the public
keys."""


def never_signed(image: str, signature: str, signers: tuple[str, ...]) -> bool:
    return False


@dataclass(frozen=True)
class Policy:
    """Caps and allow-lists. Empty tuple or None: no limit. The caps of a project are on the sum
    over its models.

    Images match by prefix, up to a `/`, `:` or `@` (`gcr.io/p` is not `gcr.io/pirates`); the others
    by their whole name. The list is for boot images too, except those that Slipway takes by itself.
    `signers` are public keys (PEM): with any, an image is run only if its release brings one's
    signature of it, and a start-up script, which nobody can sign, is not run at all."""

    max_instances: int | None = None
    max_accelerators: int | None = None
    max_cost_per_hour: float | None = None
    max_project_instances: int | None = None
    max_project_accelerators: int | None = None
    max_project_cost_per_hour: float | None = None
    regions: tuple[str, ...] = ()
    machine_types: tuple[str, ...] = ()
    accelerator_types: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    signers: tuple[str, ...] = ()
    prices: Prices = field(default_factory=Prices)
    is_signed: IsSigned = field(default=never_signed, compare=False)

    @property
    def has_project_caps(self) -> bool:
        caps = (
            self.max_project_instances,
            self.max_project_accelerators,
            self.max_project_cost_per_hour,
        )
        return any(cap is not None for cap in caps)


_COSTS = ("max_cost_per_hour", "max_project_cost_per_hour")
_NOT_IN_THE_DOCUMENT = ("prices", "is_signed")


def load_policy(
    document: Mapping[str, Any] | None,
    prices: Callable[[], Prices] = Prices,
    is_signed: IsSigned = never_signed,
) -> Policy:
    """The policy in a document; `prices` is asked for only if it caps a cost. An unknown field or a
    value of another kind is an error: a cap that is misspelt must not read as no cap."""
    given = document or {}
    known = {
        each.name: each.default for each in fields(Policy) if each.name not in _NOT_IN_THE_DOCUMENT
    }
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(
            f"settings/policy has unknown fields {', '.join(unknown)}; known are"
            f" {', '.join(sorted(known))}"
        )
    read: dict[str, Any] = {
        name: _names(name, value) if known[name] == () else _number(name, value)
        for name, value in given.items()
    }
    has_cost = any(read.get(name) is not None for name in _COSTS)
    policy = Policy(**read, is_signed=is_signed)
    if policy.signers:
        is_signed(
            "", "", policy.signers
        )  # a signer that is no key is an error now, and not when somebody has signed
    return replace(policy, prices=prices()) if has_cost else policy


def _number(name: str, value: Any) -> float | None:
    """A console may store 5 as 5.0."""
    if value is None:
        return None
    is_number = (
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
    )
    if not is_number or (name not in _COSTS and value != int(value)):
        kind = "number" if name in _COSTS else "whole number"
        raise ValueError(f"settings/policy: {name} must be a {kind} from 0 on, got {value!r}")
    return float(value) if name in _COSTS else int(value)


def _names(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(
        isinstance(each, str) and each for each in value
    ):
        raise ValueError(f"settings/policy: {name} must be a list of names, got {value!r}")
    return tuple(value)
