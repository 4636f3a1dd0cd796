"""Helpers for fact tests: paths, and short forms of verbose client calls."""

from __future__ import annotations

from typing import Any

from google.cloud import compute_v1

from emulator.tests.clients import PROJECT, REGION
from emulator.tests.fleet import Fleet

BASE = f"/compute/v1/projects/{PROJECT}"
GROUPS = f"{BASE}/regions/{REGION}/instanceGroupManagers"
TINY = f"{GROUPS}/tiny"
MANAGERS = "region_instance_group_managers"


def on_instances(fleet: Fleet, verb: str, instances: Any, **members: Any) -> Any:
    """Call a method that acts on named instances and wait: `on_instances(fleet, "stop", [...])`."""
    kinds = {
        "apply_updates_to": ("ApplyUpdates", "apply_updates"),
        "recreate": ("Recreate", "recreate"),
        "create": ("CreateInstances", "create_instances"),
    }
    name, field = kinds.get(verb, (f"{verb.title()}Instances", f"{verb}_instances"))
    request = getattr(compute_v1, f"RegionInstanceGroupManagers{name}Request")(
        {"instances": instances} | members
    )
    method = f"{verb}_instances_unary"
    return fleet.done(fleet.call(method, **{f"{MANAGERS}_{field}_request_resource": request}))


def urls(fleet: Fleet, count: int | None = None) -> list[str]:
    """The URLs of the first instances by name."""
    return [each.instance for each in fleet.instances()][:count]


def statuses(fleet: Fleet) -> dict[str, tuple[str, str]]:
    """Each instance's status and current action, by name."""
    return {each.name: (each.instance_status, each.current_action) for each in fleet.instances()}


def details(fleet: Fleet) -> list[str]:
    """The types of the autoscaler's status details."""
    return [each.type_ for each in fleet.autoscaler().status_details]


def change_autoscaler(fleet: Fleet, **members: Any) -> None:
    """PATCH the policy and let the autoscaler decide."""
    resource = compute_v1.Autoscaler(autoscaling_policy=compute_v1.AutoscalingPolicy(members))
    given = {
        "project": PROJECT,
        "region": REGION,
        "autoscaler": "auto",
        "autoscaler_resource": resource,
    }
    scalers = fleet.clients.of(compute_v1.RegionAutoscalersClient)
    fleet.done(scalers.patch_unary(compute_v1.PatchRegionAutoscalerRequest(given)))
    fleet.run(1)


def size_under(fleet: Fleet, **load: Any) -> int:
    """The group's target size one second after the load is set."""
    fleet.cloud.load["tiny"] = load
    fleet.run(1)
    return int(fleet.get().target_size)
