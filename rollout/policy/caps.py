"""The policy's caps and allow-lists on one model.

`cap_violations` is called by `rollout/policy/checks.py`; `clamp` limits every target that a pass is
about to apply. The caps on the project are in `rollout/policy/usage.py`. Pure.
"""

from __future__ import annotations

import math
from dataclasses import replace

from rollout.model import Target
from rollout.policy.gate_hosts import unlisted_gates
from rollout.policy.policy import Policy
from rollout.policy.prices import missing_price
from rollout.policy.usage import Cap, caps_of, display_amount, max_usage
from rollout.policy.violation import Violation
from rollout.spec.images import has_prefix
from rollout.spec.machines import is_uncountable
from rollout.spec.model import Spec


def violations(policy: Policy, spec: Spec, stable: Spec | None = None) -> tuple[str, ...]:
    """Why each cap or list is violated, as `field: what is allowed; what was given`."""
    return tuple(each.why for each in cap_violations(policy, spec, stable))


def cap_violations(policy: Policy, spec: Spec, stable: Spec | None = None) -> tuple[Violation, ...]:
    """Each cap of one model that the spec exceeds, and each list that does not name what it uses.

    The usage includes the surge of a swap. With a `stable` spec, it is also the usage during the
    swap from it, which may combine the wider bounds of one with the more expensive machine of the
    other.
    """
    machine, accelerator = spec.machine, spec.machine.accelerator
    caps = caps_of(
        ", surge included",
        policy.prices.currency,
        policy.max_instances,
        policy.max_accelerators,
        policy.max_cost_per_hour,
    )
    fields = ("max_instances", "max_accelerators", "max_cost_per_hour")
    found = (
        *(
            _excess(policy, cap, field, spec, stable)
            for cap, field in zip(caps, fields, strict=True)
        ),
        _unlisted("placement.region", spec.placement.region, "regions", policy.regions),
        _unlisted("machine.type", machine.type, "machine_types", policy.machine_types),
        _unlisted(
            "machine.accelerator.type",
            accelerator.type,
            "accelerator_types",
            policy.accelerator_types,
        )
        if accelerator
        else None,
        _uncountable(policy, machine.type),
        _unlisted_image(spec.artifact.image, policy.images),
        *unlisted_gates(spec.rollout.gates, policy.gate_hosts),
    )
    return tuple(violation for violation in found if violation)


def clamp(policy: Policy, target: Target) -> Target:
    """The target with no group larger than the policy allows, surge included.

    A policy that was tightened later shrinks the bounds of a serving group, but never below one
    instance: `retire` turns a model off. Caps on accelerators and cost shrink no serving group;
    they are checked before a release is accepted.
    """
    if policy.max_instances is None:
        return target
    cap = policy.max_instances
    groups = tuple(
        replace(group, max=min(group.max, limit), min=min(group.min, limit))
        for group in target.groups
        for limit in (max(1, cap - group.surge),)
    )
    return replace(target, groups=groups)


def _excess(
    policy: Policy, cap: Cap, field: str, spec: Spec, stable: Spec | None
) -> Violation | None:
    if cap.limit is None:
        return None
    usage = cap.measure(max_usage(policy.prices, (spec,)))
    allowed = f"{cap.path}: policy allows {display_amount(cap.limit)} {cap.unit}"
    if math.isinf(usage):
        return Violation(
            f"{cap.path}: policy caps the cost, and settings/prices has no price for"
            f" {missing_price(policy.prices, spec)}"
        )
    if usage > cap.limit:
        return Violation(f"{allowed}; got {display_amount(usage)}", f"{field}={math.ceil(usage)}")
    if stable is None or (cap.path == "scaling.max" and spec.rollout.strategy == "rolling"):
        return None  # `clamp` limits the instances of a single group
    before = cap.measure(max_usage(policy.prices, (stable,)))
    swap = cap.measure(max_usage(policy.prices, (stable, spec)))
    if swap <= max(cap.limit, before):
        return None
    return Violation(
        f"{allowed}; got up to {display_amount(swap)} while up to {stable.scaling.max} instances"
        " are swapped; lower scaling.max in a separate release first",
        f"{field}={math.ceil(swap)}",
    )


def _unlisted(path: str, given: str, field: str, allowed: tuple[str, ...]) -> Violation | None:
    if not allowed or given in allowed:
        return None
    return Violation(f"{path}: policy allows {', '.join(allowed)}; got {given}", f"{field}={given}")


def _unlisted_image(image: str | None, prefixes: tuple[str, ...]) -> Violation | None:
    if not prefixes or (image and any(has_prefix(image, prefix) for prefix in prefixes)):
        return None
    allowed = f"policy allows images that start with {', '.join(prefixes)}"
    if image is None:
        return Violation(
            f"artifact.startup_script: {allowed}, and so no start-up script; release an image, or"
            " remove images from settings/policy"
        )
    return Violation(f"artifact.image: {allowed}; got {image}", f"images={_repository(image)}")


def _repository(image: str) -> str:
    """The image without its tag and digest."""
    name = image.partition("@")[0]
    path, colon, tag = name.rpartition(":")
    return path if colon and "/" not in tag else name


def _uncountable(policy: Policy, machine_type: str) -> Violation | None:
    """An unknown machine type may have any number of accelerators of any type, whatever the release
    says, so it is refused where accelerators are limited, unless the policy lists that very type.
    """
    limits = (
        policy.max_accelerators,
        policy.max_project_accelerators,
        policy.accelerator_types or None,
    )
    is_limited = any(limit is not None for limit in limits)
    if not is_limited or machine_type in policy.machine_types or not is_uncountable(machine_type):
        return None
    return Violation(
        f"machine.type: policy limits accelerators, and the number that {machine_type} has is"
        " unknown; list the type in machine_types to allow it",
        f"machine_types={machine_type}" if policy.machine_types else "",
    )
