"""Effects on running instances: preempt them, or change how their apps answer.

    POST /control/instances {"effect": "stop", "group": "tiny", "zone": "us-central1-a"}
    apply_effect(cloud, "unready", template="tiny-2*", most=1)       in process

`stop` stops the VM, like a host error. `preempt` does so to Spot VMs only, and leaves an
operation `compute.instances.preempted` in the zone, as Google does. The others change how the
app answers from now on, until the VM is created again.
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from compute_emulator.control import validation
from compute_emulator.control.registry import Controls, Query
from compute_emulator.engine.cloud import Cloud
from compute_emulator.engine.groups import groups
from compute_emulator.engine.managed_instance import ManagedInstance
from compute_emulator.engine.snapshot import instance_names
from compute_emulator.errors import JsonObject

CONTROLS = Controls()
PREEMPT = "preempt"
GLOBS = ("name", "group", "zone", "template")
EFFECTS: dict[str, Callable[[ManagedInstance], None]] = {
    "stop": lambda instance: instance.stop_unexpectedly(),
    PREEMPT: lambda instance: instance.stop_unexpectedly(),
    "kill": lambda instance: instance.set_health(alive=False),
    "revive": lambda instance: instance.set_health(alive=True, ready=True),
    "unready": lambda instance: instance.set_health(ready=False),
    "ready": lambda instance: instance.set_health(ready=True),
}
ABOUT = (
    'apply an effect to running instances: {"effect": "stop" (VM stops) | "preempt" (Spot VMs'
    ' only) | "kill" (neither alive nor ready) | "revive" | "unready" | "ready"; optional globs'
    ' "name", "group", "zone", "template"; "most": maximum number}'
)


def apply_effect(
    cloud: Cloud,
    effect: str,
    *,
    name: str = "*",
    group: str = "*",
    zone: str = "*",
    template: str = "*",
    most: int | None = None,
) -> list[str]:
    """Apply an effect to at most `most` running managed instances that match all globs, in the
    order of their names. Returns their names.
    """
    if effect not in EFFECTS:
        raise ValueError(f"effect: {effect!r} is not one of {', '.join(EFFECTS)}")
    with cloud.lock:
        cloud.advance()
        globs = {"group": group, "zone": zone, "template": template, "name": name}
        found = [
            instance
            for each in groups(cloud)
            for instance in sorted(each.instances.values(), key=lambda instance: instance.name)
            if instance.is_running
            and (effect != PREEMPT or _is_spot(instance))
            and all(
                fnmatchcase(value, globs[what])
                for what, value in instance_names(each, instance).items()
            )
        ]
        for instance in found[:most]:
            if effect == PREEMPT:
                cloud.operations.start("compute.instances.preempted", instance.key, seconds=0.0)
            EFFECTS[effect](instance)
        return [instance.name for instance in found[:most]]


def _is_spot(instance: ManagedInstance) -> bool:
    scheduling = (instance.resource or {}).get("scheduling", {})
    return bool(scheduling.get("preemptible")) or scheduling.get("provisioningModel") == "SPOT"


@CONTROLS.add("POST", "/instances", ABOUT)
def affect_instances(cloud: Cloud, query: Query, body: Any) -> JsonObject:
    if not isinstance(body, dict) or "effect" not in body:
        raise ValueError(f"expected an object with an effect, one of {', '.join(EFFECTS)}")
    given = validation.members("instances", body, ("effect", *GLOBS, "most"))
    for name in GLOBS:
        if not isinstance(given.get(name, "*"), str):
            raise ValueError(f"{name} must be a glob, not {given[name]!r}")
    if given.get("most") is not None and (type(given["most"]) is not int or given["most"] < 0):
        raise ValueError(f"most must be a whole number, 0 or more, not {given['most']!r}")
    return {"instances": apply_effect(cloud, **given)}
