"""Controller of a regional managed instance group: its instances, and the reconciliation that moves
it towards its intent.

    change -> reconcile_soon -> _reconcile: plan (pure, rules/updater.py) -> instances -> events
       ^                                                                                    |
       '------------------------------------------------------------------------------------'

A reconciliation is scheduled only by a change (a patch, a VM's event, a verdict) or at a time that
the plan names. Changes at the same moment share one. A settled group schedules nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from compute_emulator.engine import standby_pool
from compute_emulator.engine.attached_services import readiness_checks
from compute_emulator.engine.bulk_creation import BulkCreation
from compute_emulator.engine.capacity import Failure
from compute_emulator.engine.cloud import Cloud
from compute_emulator.engine.group_capacity import GroupCapacity, error_entry
from compute_emulator.engine.group_state import GroupState
from compute_emulator.engine.instance import Instance
from compute_emulator.engine.instance_names import NameGenerator
from compute_emulator.engine.managed_instance import ManagedInstance
from compute_emulator.engine.references import CARRIED
from compute_emulator.engine.resize_requests import ResizeRequest
from compute_emulator.errors import JsonObject
from compute_emulator.keys import Key
from compute_emulator.rules import updater
from compute_emulator.rules.group import (
    SETTLED,
    Create,
    Delete,
    InPlace,
    Member,
    Plan,
    Recreate,
    Step,
)

MAX_ERRORS = 500


class Group(GroupState):
    """The controller of one managed instance group."""

    def __init__(self, cloud: Cloud, key: Key) -> None:
        super().__init__(cloud, key)
        self.capacity = GroupCapacity(self)
        self.resize_requests: dict[str, ResizeRequest] = {}
        self.errors: deque[JsonObject] = deque(maxlen=MAX_ERRORS)
        self.autoscaler: Key | None = None
        self.listeners: list[Callable[[], None]] = []
        self.plan = Plan()
        self._at_end: Callable[[], None] | None = None
        self._is_reconcile_due = False
        self._recheck_at: float | None = None
        self._names = NameGenerator(cloud.random)
        self._bulk = BulkCreation(self)
        cloud.stock_outs.listeners.append(self.reconcile_soon)
        self.on_health_checks_changed()

    # State

    @property
    def is_being_deleted(self) -> bool:
        return self._at_end is not None

    def is_stable(self, members: list[Member] | None = None) -> bool:
        if self._is_reconcile_due or self.is_being_deleted:
            return False
        if any(
            instance.standby and instance.action != SETTLED for instance in self.instances.values()
        ):
            return False
        return updater.is_stable(
            self.intent, self.members() if members is None else members, self.plan
        )

    # Changes to it

    def on_write(self) -> None:
        """The resource was written: read the new intent."""
        self.read()
        for instance in self.instances.values():
            instance.record_stateful_state()
        self.on_health_checks_changed()

    def on_health_checks_changed(self) -> None:
        """What its health check probes, or its interval, may have changed."""
        for instance in self.instances.values():
            instance.watch()
        self._notify()

    def resize(self, size: int) -> None:
        self.resource["targetSize"] = size
        self.on_write()

    def delete_all(self, then: Callable[[], None]) -> None:
        """Drain and delete every VM; call `then` when the last one is gone."""
        self._at_end = then
        for instance in list(self.instances.values()):
            instance.delete()
        self.reconcile_soon()

    def apply(self, steps: Iterable[Step]) -> None:
        """Apply steps that were requested by name, outside of the budgets."""
        for step in steps:
            self._apply_step(step)
        self.reconcile_soon()

    def create_named(self, name: str, zone: str, is_held: bool = False) -> ManagedInstance:
        """Create a VM of that name, of the version that lacks VMs. A held VM is only an entry in
        the group until its `create` is called.
        """
        instance = ManagedInstance(self.cloud, self, name, zone, self.revision_for_new())
        self.instances[name] = instance
        if not is_held:
            instance.create()
        self.reconcile_soon()
        return instance

    # Reconciliation

    def reconcile_soon(self) -> None:
        """Reconcile once everything else at this moment has happened."""
        if not self._is_reconcile_due:
            self._is_reconcile_due = True
            self.cloud.at(self.cloud.now(), self._reconcile)

    def _reconcile(self) -> None:
        self._is_reconcile_due = False
        if self.is_being_deleted:
            self._end_if_empty()
            return
        if self.cloud.groups.get(self.key) is not self:
            return
        standby_pool.maintain(self)
        self.plan = updater.plan(
            self.intent,
            self.members(),
            self.cloud.now(),
            self.disruption,
            self.capacity.full_zones(),
        )
        for step in self.plan.steps:
            self._apply_step(step)
        self._bulk.proceed()
        self.resource[CARRIED] = sorted(
            {instance.revision.template for instance in self.instances.values()}
        )
        if any(isinstance(step, InPlace) for step in self.plan.steps):
            self.reconcile_soon()  # instant updates produce no event
        self._reconcile_at(self.plan.recheck_at)

    def _reconcile_at(self, when: float | None) -> None:
        if when is None or when == self._recheck_at:
            self._recheck_at = when
            return
        self._recheck_at = when
        self.cloud.at(when, lambda: self.reconcile_soon() if self._recheck_at == when else None)

    def _apply_step(self, step: Step) -> None:
        match step:
            case Create(zone, revision, _, is_move):
                self._add(
                    ManagedInstance(self.cloud, self, self.new_name(), zone, revision, is_move)
                )
            case Delete(name, _, is_replaced):
                self.instances[name].delete(is_replaced)
            case Recreate(name, revision, _, is_repair):
                if is_repair:
                    self._record_repair(self.instances[name])
                self.instances[name].recreate(revision, is_repair)
            case InPlace(name, revision, how):
                self.instances[name].update(revision, how)

    def _record_repair(self, instance: ManagedInstance) -> None:
        """A repair is an operation in the zone. Its texts are those of recorded audit logs."""
        if instance.is_failed:
            status = (instance.resource or {}).get("status")
            reason = f"but is {status}" if status else "but it doesn't exist"
            reason = f"instance should be RUNNING, {reason}"
        else:
            action, verdict = instance.action, instance.detailed_health(self.check())
            reason = f"instance's current action is {action}, but health status is {verdict}."
        operation = self.cloud.operations.start(
            "compute.instances.repair.recreateInstance", instance.key, seconds=0.0
        )
        operation["user"] = "system@google.com"
        operation["statusMessage"] = (
            f"Instance Group Manager '{self._path(self.key)}' initiated recreateInstance on"
            f" instance '{self._path(instance.key)}'. Reason: {reason}"
        )

    def _path(self, key: Key) -> str:
        return self.cloud.link(*key).partition("/compute/v1/")[2]

    def _add(self, instance: ManagedInstance) -> None:
        self.instances[instance.name] = instance
        if self.is_bulk:
            self._bulk.add(instance)
        else:
            instance.create()

    def _end_if_empty(self) -> None:
        if not self.instances and self._at_end is not None:
            then, self._at_end = self._at_end, None
            self.cloud.stock_outs.listeners.remove(self.reconcile_soon)
            then()

    def _notify(self) -> None:
        self.reconcile_soon()
        for listener in self.listeners:
            listener()

    # What its instances ask and report (phases.Owner)

    def new_name(self) -> str:
        return self._names.new(self.resource["baseInstanceName"], self.instances)

    def creation_failure(self, instance: Instance) -> Failure | None:
        return self.capacity.failure(instance)

    def repair_zone(self, instance: Instance) -> str:
        return self.capacity.repair_zone(instance)

    def on_instance_failed(self, instance: Instance, failure: Failure) -> None:
        self.errors.append(error_entry(instance, failure))
        self.on_instance_changed(instance)

    def on_instance_changed(self, instance: Instance) -> None:
        self._notify()

    def on_instance_gone(self, instance: Instance) -> None:
        if self.instances.get(instance.name) is instance:
            del self.instances[instance.name]
            self.configs.pop(instance.name, None)
        self.on_instance_changed(instance)


def group_at(cloud: Cloud, key: Key) -> Group | None:
    """The group with the key of a manager or of an instance group."""
    return cloud.groups.get(Key(key.scope, "instanceGroupManagers", key.name))


def on_backend_service_written(cloud: Cloud, group: Key) -> None:
    """A backend service started or stopped using a group, or changed."""
    found = group_at(cloud, group)
    if found is not None:
        found.on_health_checks_changed()


def on_health_check_written(cloud: Cloud, check: Key) -> None:
    """A health check was written: groups that use it re-evaluate their VMs."""
    for group in groups(cloud):
        if check in (group.check_key, *readiness_checks(cloud, group.group_key)):
            group.on_health_checks_changed()


def groups(cloud: Cloud) -> list[Group]:
    """Every group."""
    return list(cloud.groups.values())
