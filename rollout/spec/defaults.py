"""Defaults that depend on other fields: filled in when a release is accepted, and dropped before
the next release inherits from it.

Used by `rollout/spec/message.py`. Invariants: in a resolved spec None means "none", never "decide
for me"; a default follows the fields that it was derived from, so a cool-down derived from the
start-up time changes with the start-up time.
"""

from __future__ import annotations

from functools import reduce
from operator import attrgetter, getitem
from typing import Any

from rollout.deferred import dataclass
from rollout.spec.machines import disk_type, fixed_accelerator, is_arm
from rollout.spec.model import Artifact, Cpu, Sections, Spec, dump
from rollout.spec.steps import default_steps

CONTAINER_IMAGE = "projects/cos-cloud/global/images/family/cos-stable"
ARM_CONTAINER_IMAGE = "projects/cos-cloud/global/images/family/cos-arm64-stable"
SCRIPT_IMAGE = "projects/debian-cloud/global/images/family/debian-13"
ARM_SCRIPT_IMAGE = "projects/debian-cloud/global/images/family/debian-13-arm64"
DEFAULT_BOOT_IMAGES = (CONTAINER_IMAGE, ARM_CONTAINER_IMAGE, SCRIPT_IMAGE, ARM_SCRIPT_IMAGE)
"""Families with support: `cos-stable` moves on by itself, and Debian 13 has it until August 2028.
Debian 12's ended in June 2026."""
MODEL_ACCOUNT = "slipway-model"
DEFAULT_UTILIZATION = 0.8
STARTUP_SECONDS = 120
DEADLINE_SECONDS = 900
KEEP_OLD_SECONDS = 3600


@dataclass(frozen=True)
class ProjectDefaults:
    """What a release gets that does not say otherwise, where it depends on Slipway's project. The
    plain values are Compute Engine's own: the project's default account, and an external address.
    """

    service_account: str | None = None
    external_ip: bool = True


COMPUTE_DEFAULTS = ProjectDefaults()


def project_defaults(project: str) -> ProjectDefaults:
    """What the functions give to a release: an account that can do little, and no address."""
    account = account_email(MODEL_ACCOUNT, project) if project else None
    return ProjectDefaults(account, external_ip=False)


def account_email(name: str, project: str) -> str:
    return f"{name}@{project}.iam.gserviceaccount.com"


def boot_image(artifact: Artifact, machine_type: str) -> str:
    if is_arm(machine_type):
        return ARM_CONTAINER_IMAGE if artifact.image else ARM_SCRIPT_IMAGE
    return CONTAINER_IMAGE if artifact.image else SCRIPT_IMAGE


def startup_seconds(sections: Sections) -> int:
    """The expected time from boot to ready. A shorter deadline expects a shorter time."""
    deadline = sections.rollout.progress_deadline_seconds
    return sections.serving.startup_seconds or min(
        STARTUP_SECONDS, (deadline or DEADLINE_SECONDS) // 2
    )


def progress_deadline_seconds(sections: Sections) -> int:
    """Time for an old instance to drain and for a new one to take twice as long as expected."""
    return sections.rollout.progress_deadline_seconds or max(
        DEADLINE_SECONDS, sections.traffic.draining_seconds + 2 * startup_seconds(sections)
    )


def fill_defaults(
    sections: Sections,
    model: str,
    *,
    has_metrics: bool = False,
    of_project: ProjectDefaults = COMPUTE_DEFAULTS,
) -> Spec:
    """The sections with every dependent default filled in, and the names of those fields.
    `has_metrics`: see `default_steps`.
    """
    values = {name: getattr(sections, name) for name in Sections.model_fields}
    defaulted = []
    dependent = _dependent(sections, model, of_project, has_metrics=has_metrics)
    for path, value in sorted(dependent.items()):
        section, *fields = path.split(".")
        if value is not None and attrgetter(".".join(fields))(values[section]) is None:
            values[section] = _with_value(values[section], fields, value)
            defaulted.append(path)
    return Spec(**values, defaulted=tuple(defaulted))


def _with_value(section: Any, fields: list[str], value: Any) -> Any:
    field, *rest = fields
    part = _with_value(getattr(section, field), rest, value) if rest else value
    return section.model_copy(update={field: part})


def _dependent(
    sections: Sections, model: str, of_project: ProjectDefaults, *, has_metrics: bool
) -> dict[str, Any]:
    traffic, rollout = sections.traffic, sections.rollout
    is_exposed = traffic.is_exposed
    return {
        "serving.liveness_path": sections.serving.readiness_path,
        "serving.startup_seconds": startup_seconds(sections),
        "machine.image": boot_image(sections.artifact, sections.machine.type),
        "machine.disk.type": disk_type(sections.machine.type),
        "machine.service_account": of_project.service_account,
        "machine.external_ip": of_project.external_ip,
        "machine.accelerator": fixed_accelerator(sections.machine.type),
        "scaling.cpu": Cpu() if _needs_cpu(sections) else None,
        "scaling.cool_down_seconds": startup_seconds(sections),
        "traffic.path": f"/{model}" if is_exposed else None,
        "traffic.max_utilization": (
            DEFAULT_UTILIZATION if is_exposed and traffic.balancing_mode == "utilization" else None
        ),
        "rollout.steps": default_steps(rollout.strategy, has_metrics=has_metrics),
        "rollout.keep_old_seconds": (
            max(KEEP_OLD_SECONDS, rollout.watch_seconds) if rollout.has_second_group else None
        ),
        "rollout.surge": 0 if rollout.unavailable else sections.placement.zone_count,
        "rollout.progress_deadline_seconds": progress_deadline_seconds(sections),
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
        *parents, field = path.split(".")
        reduce(getitem, parents, document)[field] = None
    return _stated(document)


def _stated(value: dict[str, Any]) -> dict[str, Any]:
    # A field that may be None defaults to None, so leaving it out means the same.
    return {
        key: _stated(member) if isinstance(member, dict) else member
        for key, member in value.items()
        if member is not None
    }
