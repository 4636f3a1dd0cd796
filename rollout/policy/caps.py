"""The policy's caps and allow-lists on one model.

`violations` is called when a release arrives and by every pass of its rollout, because the policy
may change in between; `clamp` limits every target that a pass is about to apply. The caps on the
project are in `rollout/policy/usage.py`. Pure."""

from __future__ import annotations

import math
from dataclasses import replace

from rollout.model import Target
from rollout.policy.policy import Policy
from rollout.policy.prices import missing_price
from rollout.policy.usage import Cap, display_amount, max_usage
from rollout.spec.defaults import CONTAINER_IMAGE, SCRIPT_IMAGE
from rollout.spec.machines import is_of_unknown_series
from rollout.spec.model import Artifact, Spec

DEFAULT_BOOT_IMAGES = (CONTAINER_IMAGE, SCRIPT_IMAGE)


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
            if spec.machine.image in DEFAULT_BOOT_IMAGES
            else _from("machine.image", spec.machine.image, policy.images)
        ),
        _signed(policy, spec.artifact),
    )
    return tuple(check for check in checks if check)


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
        return f"{cap.path}: policy allows {display_amount(cap.most)} {cap.words}; got {display_amount(given)}"
    if stable is None or cap.path == "scaling.max":
        return None  # `clamp` sees to the instances of a swap
    before, swap = (
        cap.of(max_usage(policy.prices, specs)) for specs in ((stable,), (stable, spec))
    )
    if swap <= max(cap.most, before):
        return None
    return (
        f"{cap.path}: policy allows {display_amount(cap.most)} {cap.words}; got up to {display_amount(swap)}"
        f" while up to {stable.scaling.max} instances are swapped; lower scaling.max in a release"
        " of its own first"
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
