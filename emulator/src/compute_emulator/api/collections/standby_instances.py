"""Standby VMs: stopping or suspending VMs of a managed group, and starting or resuming them.

They stay in the group under their names, counted in `targetStoppedSize` and
`targetSuspendedSize` instead of `targetSize`. Source: Compute API reference,
regionInstanceGroupManagers: stopInstances, suspendInstances, startInstances, resumeInstances.
"""

from __future__ import annotations

from compute_emulator.api.call import Call, Handlers
from compute_emulator.api.collections.instance_group_managers import group_of, rewrite
from compute_emulator.api.collections.managed_instances import METHOD, named_instances
from compute_emulator.engine.group_intent import RESERVES
from compute_emulator.errors import Invalid, JsonObject
from compute_emulator.rules.group import AWAY, SETTLED

HANDLERS = Handlers()

MEMBERS = {standby: member for member, standby in RESERVES.items()}


@HANDLERS.handles(METHOD + "stopInstances", METHOD + "suspendInstances")
def stand_by(call: Call) -> JsonObject:
    """Only running VMs. Without force, a VM first gets its initial delay, counted from its
    creation.
    """
    group = group_of(call)
    how = "STOPPED" if call.method.verb == "stopInstances" else "SUSPENDED"
    instances = named_instances(call, group)
    for instance in instances:
        if not instance.is_running or instance.standby or instance.action in AWAY:
            raise Invalid(
                "instances", call.cloud.path(instance.key), "The instance is not running."
            )
    is_forced = call.body.get("forceStop") or call.body.get("forceSuspend")
    delay = 0 if is_forced else group.resource["standbyPolicy"].get("initialDelaySec", 0)
    for instance in instances:
        instance.stand_by(how, max(0.0, instance.created_at + delay - call.cloud.now()))
    member = MEMBERS[how]
    sizes = {member: group.resource.get(member, 0) + len(instances)}
    rewrite(call, targetSize=max(0, group.intent.target_size - len(instances)), **sizes)
    return call.operation()


@HANDLERS.handles(METHOD + "startInstances", METHOD + "resumeInstances")
def resume(call: Call) -> JsonObject:
    """Start takes stopped VMs only, resume takes suspended ones only."""
    group = group_of(call)
    how = "STOPPED" if call.method.verb == "startInstances" else "SUSPENDED"
    instances = named_instances(call, group)
    for instance in instances:
        if instance.standby != how or instance.action != SETTLED:
            raise Invalid(
                "instances", call.cloud.path(instance.key), f"The instance is not {how.lower()}."
            )
    for instance in instances:
        instance.resume()
    member = MEMBERS[how]
    sizes = {member: max(0, group.resource.get(member, 0) - len(instances))}
    rewrite(call, targetSize=group.intent.target_size + len(instances), **sizes)
    return call.operation()
