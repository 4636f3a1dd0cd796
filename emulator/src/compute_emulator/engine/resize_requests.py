"""Controller of resize requests: VMs of a group that are created all at once, when there is
capacity for all of them.

    CREATING -> ACCEPTED -> (capacity for all) -> SUCCEEDED -> requestedRunDuration -> VMs deleted
                   |-> CANCELLED, FAILED: the group returns to its old size

The group's target includes the VMs from the start, and each is in the group, CREATING. The request
retries until there is capacity. Source: Compute API reference, InstanceGroupManagerResizeRequest;
compute/docs/instance-groups/about-resize-requests-mig.
"""

from __future__ import annotations

from compute_emulator.engine.bulk_creation import RETRY_SECONDS, creation_obstacle
from compute_emulator.engine.group_interface import GroupInterface
from compute_emulator.engine.managed_instance import ManagedInstance
from compute_emulator.errors import JsonObject
from compute_emulator.rules.group import LEAVING

ACCEPT_SECONDS = 1.0
ACTIVE = frozenset({"CREATING", "ACCEPTED"})


class ResizeRequest:
    """One resize request of a group. `resource` is its API representation."""

    def __init__(
        self,
        group: GroupInterface,
        resource: JsonObject,
        names: list[str],
        run_seconds: float | None,
    ) -> None:
        self.group = group
        self.resource = resource
        self.run_seconds = run_seconds
        self.instances: list[ManagedInstance] = []
        for name in names:
            self.instances.append(
                group.create_named(name, group.capacity.zone_for_new(), is_held=True)
            )
        group.resize(group.intent.target_size + len(names))
        resource["state"] = "CREATING"
        group.cloud.after(ACCEPT_SECONDS, self._accept)

    @property
    def state(self) -> str:
        return str(self.resource["state"])

    def cancel(self) -> None:
        """Remove its VMs from the group."""
        self._give_up("CANCELLED")

    def _accept(self) -> None:
        if self.state == "CREATING":
            self.resource["state"] = "ACCEPTED"
            self._try()

    def _try(self) -> None:
        """Create all VMs, or none and record why."""
        if self.state != "ACCEPTED" or self.group.is_being_deleted:
            return
        waiting = self._waiting()
        for instance in waiting:
            if instance.zone in self.group.capacity.full_zones():
                instance.zone = self.group.capacity.zone_for_new()
        failure = creation_obstacle(self.group, waiting)
        if failure is None:
            self._succeed(waiting)
        elif failure.is_stock_out or failure.code == "QUOTA_EXCEEDED":
            self.resource["status"] = {"lastAttempt": {"error": {"errors": [failure.as_error()]}}}
            self.group.cloud.after(RETRY_SECONDS, self._try)
        else:
            self.resource["status"] = {"error": {"errors": [failure.as_error()]}}
            self._give_up("FAILED")

    def _succeed(self, waiting: list[ManagedInstance]) -> None:
        self.resource["state"] = "SUCCEEDED"
        self.resource.pop("status", None)
        cloud = self.group.cloud
        until = None if self.run_seconds is None else cloud.now() + self.run_seconds
        for instance in waiting:
            instance.terminates_at = until
            instance.create()
        if until is not None:
            cloud.at(until, self._on_run_over)

    def _on_run_over(self) -> None:
        left = [
            instance
            for instance in self._waiting()
            if instance.action not in LEAVING and not instance.standby
        ]
        for instance in left:
            instance.delete()
        if left and not self.group.is_being_deleted:
            self.group.resize(max(0, self.group.intent.target_size - len(left)))

    def _give_up(self, state: str) -> None:
        self.resource["state"] = state
        waiting = [instance for instance in self._waiting() if instance.action not in LEAVING]
        for instance in waiting:
            instance.delete()
        self.group.resize(max(0, self.group.intent.target_size - len(waiting)))

    def _waiting(self) -> list[ManagedInstance]:
        """Its VMs that are still in the group."""
        return [
            instance
            for instance in self.instances
            if self.group.instances.get(instance.name) is instance
        ]
