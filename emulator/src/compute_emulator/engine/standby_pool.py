"""The acting half of a group's reserve: brings VMs back when the group grows, makes and takes away
VMs to keep it at its size.

Called by `groups.py` at every look, before the updater. A VM for the reserve is made like any
other, verified, given the initial delay of the standby policy, and then stopped or suspended."""

from __future__ import annotations

from compute_emulator.engine.group_intent import RESERVES
from compute_emulator.engine.group_interface import Crew
from compute_emulator.rules.group import LEAVING, SETTLED
from compute_emulator.rules.standby_pool import Spare, beyond, drawn, lacking


def tend(group: Crew) -> None:
    """One step towards what the group's sizes ask of its reserve."""
    resource = group.resource
    targets = {kind: resource.get(member, 0) for member, kind in RESERVES.items()}
    if not any(targets.values()) and not any(
        machine.standby for machine in group.machines.values()
    ):
        return
    if (resource.get("standbyPolicy") or {}).get("mode") == "SCALE_OUT_POOL":
        in_service = sum(not m.standby and m.action not in LEAVING for m in group.machines.values())
        for name in drawn(_spares(group), group.intent.target_size - in_service):
            group.machines[name].wake()
    spares = _spares(group)
    for name in beyond(spares, targets):
        group.machines[name].delete()
    for kind in lacking(spares, targets).elements():
        group.create_named(group.new_name(), group.supply.zone_for_new()).standby = kind
    _put_away(group)


def initial_delay(group: Crew) -> float:
    """Seconds that a VM is given from its creation before it is stopped or suspended."""
    return float((group.resource.get("standbyPolicy") or {}).get("initialDelaySec", 0))


def _put_away(group: Crew) -> None:
    """Stop or suspend what was made for the reserve and runs now."""
    for machine in group.machines.values():
        if machine.standby and machine.is_running and machine.action == SETTLED:
            machine.stand_by(
                machine.standby,
                max(0.0, machine.created_at + initial_delay(group) - group.cloud.now()),
            )


def _spares(group: Crew) -> list[Spare]:
    return [
        Spare(
            machine.name,
            machine.standby,
            machine.action == SETTLED and not machine.is_running,
            machine.created_at,
        )
        for machine in group.machines.values()
        if machine.standby and machine.action not in LEAVING
    ]
