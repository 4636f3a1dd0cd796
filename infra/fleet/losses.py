"""Says why instances were lost, from the operations of their zones. Pure.

Called by `handlers/reconcile/observe.py` after a pass has found a loss. Compute Engine records what
it does to a VM, and what people do, as an operation on the instance:

    compute.instances.preempted                  a Spot VM was taken
    compute.instances.hostError                  its host failed
    delete, stop, reset, suspend                 by hand, or by another program
    compute.instances.guestTerminate             it shut itself down
    compute.instances.repair.recreateInstance    the group repairs it, and says why

Sources: "Viewing Compute Engine operations", "Troubleshooting VM shutdowns and reboots" and "Repair
VMs in a MIG" of the Compute docs, and recorded audit logs, in which a repair reads "Reason:
instance's current action is VERIFYING, but health status is TIMEOUT." or "instance should be
RUNNING, but is STOPPING".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from infra.fleet import naming
from infra.fleet.model import Body
from rollout.model import Instance, Loss

_ENVIRONMENT: Mapping[str, str] = {
    "compute.instances.preempted": "was preempted",
    "compute.instances.hostError": "was lost to a host error",
    "compute.instances.terminateOnHostMaintenance": "was stopped for maintenance of its host",
    "compute.instances.scheduledVmTermination": "reached its maximum run duration",
}
_BY_HAND: Mapping[str, str] = {
    "delete": "was deleted",
    "stop": "was stopped",
    "suspend": "was suspended",
    "reset": "was reset",
}
_OF_THE_GROUP = ("@cloudservices.gserviceaccount.com", "system@google.com")
"""The users as which a managed instance group changes its instances."""
_REPAIR = "compute.instances.repair.recreateInstance"
_BY_ITSELF = "compute.instances.guestTerminate"


OPERATIONS_FILTER = " OR ".join(
    f'(operationType = "{kind}")' for kind in (*_ENVIRONMENT, *_BY_HAND, _REPAIR, _BY_ITSELF)
)
"""The filter of a list of zone operations that finds those that explain a loss."""


def explain(
    instances: Iterable[Instance], operations: Iterable[Body], since: datetime
) -> tuple[Loss, ...]:
    """The losses that the operations since then explain, by the latest one of each instance. What
    the group does after a VM has gone explains nothing, nor does a VM that shuts itself down
    because it is being taken.
    """
    latest: dict[str, Loss] = {}
    for operation in sorted(operations, key=_started_at):
        if _started_at(operation) < since.timestamp():
            continue
        instance = naming.last(operation.get("targetLink")) or ""
        loss = _loss(instance, operation)
        is_taken = instance in latest and operation.get("operationType") == _BY_ITSELF
        if loss and not is_taken:
            latest[instance] = loss
    return tuple(latest[each.name] for each in instances if each.name in latest)


def _loss(instance: str, operation: Body) -> Loss | None:
    kind = str(operation.get("operationType", ""))
    if kind in _ENVIRONMENT:
        return Loss(instance, "environment", f"instance {instance} {_ENVIRONMENT[kind]}")
    user = str(operation.get("user", ""))
    if kind in _BY_HAND and not user.endswith(_OF_THE_GROUP):
        by = f" by {user}" if user else ""
        return Loss(instance, "environment", f"instance {instance} {_BY_HAND[kind]}{by}")
    if kind == _BY_ITSELF:
        return Loss(instance, "release", f"instance {instance} shut itself down")
    text = str(operation.get("statusMessage", ""))
    if kind == _REPAIR and "health" in text.lower():
        return Loss(instance, "release", f"instance {instance} was replaced: {text}")
    return None


def _started_at(operation: Body) -> float:
    text = str(operation.get("insertTime", ""))
    return datetime.fromisoformat(text).timestamp() if text else 0.0
