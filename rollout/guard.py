"""Policy: what no event may ask for, whatever it says.

`violations(policy, spec)` is asked when a release arrives and by every turn of its rollout, since policy may change between;
`capped(policy, target)` holds for whatever a turn is about to apply.

Pure; the policy is the document `settings/policy`. Invariant: an empty policy allows what Compute Engine allows.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from rollout.model import Target
from rollout.spec import Spec


@dataclass(frozen=True)
class Policy:
    """Caps and allow-lists. Empty tuple or None: no limit. Images match by prefix, the others by their whole name."""

    max_instances: int | None = None
    max_accelerators: int | None = None
    regions: tuple[str, ...] = ()
    machine_types: tuple[str, ...] = ()
    accelerator_types: tuple[str, ...] = ()
    images: tuple[str, ...] = ()


def load_policy(document: dict[str, Any] | None) -> Policy:
    """The policy in a document. An unknown field is an error: a cap that is misspelt must not read as no cap."""
    known = {field.name for field in fields(Policy)}
    unknown = sorted(set(document or {}) - known)
    if unknown:
        raise ValueError(f"settings/policy has unknown fields {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in (document or {}).items()}
    return Policy(**given)


def violations(policy: Policy, spec: Spec) -> tuple[str, ...]:
    """Each cap the spec breaks, as `field: what is allowed, what was given`. The ceiling counts the surge of a swap."""
    machine, ceiling = spec.machine, spec.scaling.max + (spec.rollout.surge or 0)
    accelerators = ceiling * (machine.accelerator.count if machine.accelerator else 0)
    kind = machine.accelerator.type if machine.accelerator else None
    image = spec.artifact.image
    checks = (
        _capped("scaling.max", "instances with the surge of a swap", ceiling, policy.max_instances),
        _capped("machine.accelerator", "accelerators with the surge of a swap", accelerators, policy.max_accelerators),
        _listed("placement.region", spec.placement.region, policy.regions),
        _listed("machine.type", machine.type, policy.machine_types),
        _listed("machine.accelerator.type", kind, policy.accelerator_types) if kind else None,
        None
        if not policy.images or (image and image.startswith(policy.images))
        else f"artifact.image: policy allows images that start with {', '.join(policy.images)}; got {image}",
    )
    return tuple(check for check in checks if check)


def capped(policy: Policy, target: Target) -> Target:
    """The target with no group larger than policy allows, surge included. A policy that was tightened later shrinks the bounds
    of what serves already, but never below one instance: turning a model off is `retire`."""
    if policy.max_instances is None:
        return target
    cap = policy.max_instances
    groups = tuple(
        replace(group, max=min(group.max, most), min=min(group.min, most))
        for group in target.groups
        for most in (max(1, cap - group.surge),)
    )
    return replace(target, groups=groups)


def _capped(path: str, what: str, given: int, cap: int | None) -> str | None:
    return None if cap is None or given <= cap else f"{path}: policy allows {cap} {what}; got {given}"


def _listed(path: str, given: str, allowed: tuple[str, ...]) -> str | None:
    return None if not allowed or given in allowed else f"{path}: policy allows {', '.join(allowed)}; got {given}"
