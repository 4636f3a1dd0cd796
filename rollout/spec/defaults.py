"""Defaults that depend on other fields: filled in when a release is accepted, and dropped before
the next release inherits from it.

Used by `rollout/spec/message.py`. Invariants: in a resolved spec None means "none", never "decide
for me"; a default follows the fields that it was derived from, so a cool-down derived from the
start-up time changes with the start-up time.
"""

from __future__ import annotations

from typing import Any

from rollout.spec.machines import fixed_accelerator
from rollout.spec.model import Artifact, Cpu, Sections, Spec, dump

CONTAINER_IMAGE = "projects/cos-cloud/global/images/family/cos-stable"
SCRIPT_IMAGE = "projects/debian-cloud/global/images/family/debian-12"
DEFAULT_UTILIZATION = 0.8


def boot_image(artifact: Artifact) -> str:
    return CONTAINER_IMAGE if artifact.image else SCRIPT_IMAGE


def fill_defaults(sections: Sections, model: str) -> Spec:
    """The sections with every dependent default filled in, and the names of those fields."""
    values = {name: getattr(sections, name) for name in Sections.model_fields}
    defaulted = []
    for path, value in sorted(_dependent(sections, model).items()):
        section, field = path.split(".")
        if value is not None and getattr(values[section], field) is None:
            values[section] = values[section].model_copy(update={field: value})
            defaulted.append(path)
    return Spec(**values, defaulted=tuple(defaulted))


def _dependent(sections: Sections, model: str) -> dict[str, Any]:
    traffic, rollout = sections.traffic, sections.rollout
    is_exposed = traffic.is_exposed
    return {
        "serving.liveness_path": sections.serving.readiness_path,
        "machine.image": boot_image(sections.artifact),
        "machine.accelerator": fixed_accelerator(sections.machine.type),
        "scaling.cpu": Cpu() if _needs_cpu(sections) else None,
        "scaling.cool_down_seconds": sections.serving.startup_seconds,
        "traffic.path": f"/{model}" if is_exposed else None,
        "traffic.max_utilization": (
            DEFAULT_UTILIZATION if is_exposed and traffic.balancing_mode == "utilization" else None
        ),
        "rollout.surge": 0 if rollout.unavailable else sections.placement.zone_count,
    }


def _needs_cpu(sections: Sections) -> bool:
    """CPU is the signal of last resort, but not for a model that scales to zero by schedules: the
    CPU signal never goes below one instance.
    """
    scaling = sections.scaling
    return not (
        scaling.load_balancing or scaling.metrics or (scaling.min == 0 and scaling.schedules)
    )


def inheritable(spec: Spec) -> dict[str, Any]:
    """What a later release inherits: the spec as JSON, without the dependent defaults."""
    document = dump(spec)
    for path in document.pop("defaulted"):
        section, field = path.split(".")
        document[section][field] = None
    return _stated(document)


def _stated(value: dict[str, Any]) -> dict[str, Any]:
    # A field that may be None defaults to None, so leaving it out means the same.
    return {
        key: _stated(member) if isinstance(member, dict) else member
        for key, member in value.items()
        if member is not None
    }
