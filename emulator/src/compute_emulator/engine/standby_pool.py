"""Controller of a group's standby pool: resumes VMs when the group grows, and keeps the pool at its
size.

`groups.py` calls it at every reconciliation, before the updater. A VM for the pool is created like
any other, verified, given the initial delay of the standby policy, and then stopped or suspended.
"""

from __future__ import annotations

from compute_emulator.engine.group_intent import RESERVES
from compute_emulator.engine.group_interface import GroupInterface
from compute_emulator.rules.group import LEAVING, SETTLED
from compute_emulator.rules.standby_pool import (
    StandbyInstance,
    missing_by_kind,
    to_remove,
    to_resume,
)


def maintain(group: GroupInterface) -> None:
    """Take one step towards the pool's target sizes."""
    resource = group.resource
    targets = {kind: resource.get(member, 0) for member, kind in RESERVES.items()}
    if not any(targets.values()) and not any(
        instance.standby for instance in group.instances.values()
    ):
        return
    if resource["standbyPolicy"]["mode"] == "SCALE_OUT_POOL":
        in_service = sum(
            not m.standby and m.action not in LEAVING for m in group.instances.values()
        )
        for name in to_resume(_standby_instances(group), group.intent.target_size - in_service):
            group.instances[name].resume()
    standby = _standby_instances(group)
    for name in to_remove(standby, targets):
        group.instances[name].delete()
    for kind in missing_by_kind(standby, targets).elements():
        group.create_named(group.new_name(), group.capacity.zone_for_new()).standby = kind
    _stop_ready_instances(group)


def initial_delay(group: GroupInterface) -> float:
    """Seconds from a VM's creation until it may be stopped or suspended."""
    return float(group.resource["standbyPolicy"].get("initialDelaySec", 0))


def _stop_ready_instances(group: GroupInterface) -> None:
    """Stop or suspend VMs of the pool that are running now."""
    for instance in group.instances.values():
        if instance.standby and instance.is_running and instance.action == SETTLED:
            instance.stand_by(
                instance.standby,
                max(0.0, instance.created_at + initial_delay(group) - group.cloud.now()),
            )


def _standby_instances(group: GroupInterface) -> list[StandbyInstance]:
    return [
        StandbyInstance(
            instance.name,
            instance.standby,
            instance.action == SETTLED and not instance.is_running,
            instance.created_at,
        )
        for instance in group.instances.values()
        if instance.standby and instance.action not in LEAVING
    ]
