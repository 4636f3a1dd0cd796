"""Policy: what no event may ask for, whatever it says.

`violations(policy, spec)` is asked when a release arrives and by every turn of its rollout, since
policy may change between; `quota_violations(policy, ...)` adds up all models of the project, when a release
arrives and before a turn applies anything of it; `clamp(policy, target)` holds for whatever a turn
is about to apply.

Pure; the policy is the document `settings/policy`. Invariant: an empty policy allows what Compute
Engine allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from rollout.model import Desired, Release, Rollout, Target
from rollout.policy.prices import Prices, cost_per_hour, missing_price
from rollout.spec.defaults import CONTAINER_IMAGE, SCRIPT_IMAGE
from rollout.spec.machines import is_of_unknown_series
from rollout.spec.model import Artifact, Spec

IsSigned = Callable[[str, str, tuple[str, ...]], bool]
"""Whether the signature (base64) is one of the image's name, digest and all, by one of the public
keys."""


def nobody_signed(image: str, signature: str, signers: tuple[str, ...]) -> bool:
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
    is_signed: IsSigned = field(default=nobody_signed, compare=False)

    @property
    def is_about_the_project(self) -> bool:
        caps = (
            self.max_project_instances,
            self.max_project_accelerators,
            self.max_project_cost_per_hour,
        )
        return any(cap is not None for cap in caps)


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


_COSTS = ("max_cost_per_hour", "max_project_cost_per_hour")
_NOT_IN_THE_DOCUMENT = ("prices", "is_signed")
OWN_BOOT_IMAGES = (CONTAINER_IMAGE, SCRIPT_IMAGE)


def load_policy(
    document: Mapping[str, Any] | None,
    prices: Callable[[], Prices] = Prices,
    is_signed: IsSigned = nobody_signed,
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


def violations(policy: Policy, spec: Spec, stable: Spec | None = None) -> tuple[str, ...]:
    """Each cap of one model that the spec breaks, as `field: what is allowed, what was given`. The
    ceiling counts the surge of a swap, and beside a `stable` spec that a swap may come to run the
    wider bounds of one with the dearer machine of the other."""
    kind = spec.machine.accelerator.type if spec.machine.accelerator else None
    checks = (
        *(_over(policy, cap, spec, stable) for cap in _caps(policy)),
        _listed("placement.region", spec.placement.region, policy.regions),
        _listed("machine.type", spec.machine.type, policy.machine_types),
        _listed("machine.accelerator.type", kind, policy.accelerator_types) if kind else None,
        _countable(policy, spec.machine.type),
        _from("artifact.image", spec.artifact.image, policy.images),
        (
            None
            if spec.machine.image in OWN_BOOT_IMAGES
            else _from("machine.image", spec.machine.image, policy.images)
        ),
        _signed(policy, spec.artifact),
    )
    return tuple(check for check in checks if check)


def quota_violations(policy: Policy, before: Usage, after: Usage, others: Usage) -> tuple[str, ...]:
    """Each cap of the project that a model breaks by growing from `before` to `after` beside the
    `others`. What does not grow passes also where the sum is above the cap already: it is not what
    makes it so."""
    total = others + after
    return tuple(
        f"{cap.path}: policy allows {_amount(cap.most or 0)} {cap.words}; got"
        f" {_amount(cap.of(total))}, of which other models may use {_amount(cap.of(others))}"
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
    return _of_each(prices, instances, found)


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


def clamp(policy: Policy, target: Target) -> Target:
    """The target with no group larger than policy allows, surge included. A policy that was
    tightened later shrinks the bounds of what serves already, but never below one instance: turning
    a model off is `retire`. Accelerators and costs shrink nothing that serves; they are asked about
    before a release is let in."""
    if policy.max_instances is None:
        return target
    cap = policy.max_instances
    groups = tuple(
        replace(group, max=min(group.max, most), min=min(group.min, most))
        for group in target.groups
        for most in (max(1, cap - group.surge),)
    )
    return replace(target, groups=groups)


def _of_each(prices: Prices, instances: int, specs: tuple[Spec, ...]) -> Usage:
    accelerators = max(
        (spec.machine.accelerator.count for spec in specs if spec.machine.accelerator), default=0
    )
    cost = max((cost_per_hour(prices, spec) for spec in specs), default=0.0)
    return Usage(instances, instances * accelerators, instances * cost if instances else 0)


def _caps(policy: Policy) -> tuple[Cap, ...]:
    currency = policy.prices.currency
    return (
        Cap(
            "scaling.max",
            "instances with the surge of a swap",
            policy.max_instances,
            lambda load: load.instances,
        ),
        Cap(
            "machine.accelerator",
            "accelerators with the surge of a swap",
            policy.max_accelerators,
            lambda load: load.accelerators,
        ),
        Cap(
            "machine",
            f"{currency} an hour with the surge of a swap",
            policy.max_cost_per_hour,
            lambda load: load.cost,
        ),
    )


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


def _over(policy: Policy, cap: Cap, spec: Spec, stable: Spec | None) -> str | None:
    given = cap.of(max_usage(policy.prices, (spec,)))
    if cap.most is None:
        return None
    if math.isinf(given):
        return (
            f"{cap.path}: policy caps the cost, and settings/prices has no price for"
            f" {missing_price(policy.prices, spec)}"
        )
    if given > cap.most:
        return f"{cap.path}: policy allows {_amount(cap.most)} {cap.words}; got {_amount(given)}"
    if stable is None or cap.path == "scaling.max":
        return None  # `clamp` sees to the instances of a swap
    before, swap = (
        cap.of(max_usage(policy.prices, specs)) for specs in ((stable,), (stable, spec))
    )
    if swap <= max(cap.most, before):
        return None
    return (
        f"{cap.path}: policy allows {_amount(cap.most)} {cap.words}; got up to {_amount(swap)}"
        f" while up to {stable.scaling.max} instances are swapped; lower scaling.max in a release"
        " of its own first"
    )


def _amount(value: float) -> str:
    if math.isinf(value):
        return "more than settings/prices can tell"
    return (
        f"{value:.2f}" if isinstance(value, float) and not value.is_integer() else f"{int(value)}"
    )


def _listed(path: str, given: str, allowed: tuple[str, ...]) -> str | None:
    return (
        None
        if not allowed or given in allowed
        else f"{path}: policy allows {', '.join(allowed)}; got {given}"
    )


def _from(path: str, image: str | None, prefixes: tuple[str, ...]) -> str | None:
    if not prefixes or (image and any(_is_below(image, prefix) for prefix in prefixes)):
        return None
    return f"{path}: policy allows images that start with {', '.join(prefixes)}; got {image}"


def _countable(policy: Policy, machine_type: str) -> str | None:
    """What may bring any number of accelerators is not taken to bring none, unless policy names
    that very type."""
    caps = (
        policy.max_accelerators,
        policy.max_project_accelerators,
        policy.accelerator_types or None,
    )
    is_limited = any(cap is not None for cap in caps)
    if (
        not is_limited
        or machine_type in policy.machine_types
        or not is_of_unknown_series(machine_type)
    ):
        return None
    return (
        "machine.type: policy limits accelerators, and it is not known here how many"
        f" {machine_type} has"
    )


def _signed(policy: Policy, artifact: Artifact) -> str | None:
    if not policy.signers:
        return None
    if artifact.image is None:
        return (
            "artifact.startup_script: policy wants what runs to be signed, and only an image can be"
        )
    if "@sha256:" not in artifact.image:
        return (
            "artifact.image: policy wants the image to be signed, and so by its digest; got"
            f" {artifact.image}"
        )
    if artifact.signature is None:
        return "artifact.signature: policy wants the image to be signed; got no signature"
    if policy.is_signed(artifact.image, artifact.signature, policy.signers):
        return None
    return (
        f"artifact.signature: policy wants one of {artifact.image} by one of its"
        f" {len(policy.signers)} signers; got another"
    )


def _is_below(image: str, prefix: str) -> bool:
    """Whether the image's name begins with the whole parts of the prefix."""
    rest = image.removeprefix(prefix)
    return image.startswith(prefix) and (
        not rest or prefix.endswith(("/", ":", "@")) or rest.startswith(("/", ":", "@"))
    )


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
