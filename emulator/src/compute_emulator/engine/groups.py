"""The acting half of a regional managed instance group: its machines, and the look that moves it
towards its intent.

something changed -> look_soon -> look: plan (pure, rules/updater.py) -> machines -> events ->
something changed

A look is scheduled only by a change (a patch, a VM's event, a verdict) or when the plan names a
moment. Changes at one moment share one look. A settled group schedules nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import cast

from compute_emulator.engine import standby_pool
from compute_emulator.engine.attached_services import readiness_checks
from compute_emulator.engine.bulk_creation import Bulk
from compute_emulator.engine.capacity import Failure
from compute_emulator.engine.cloud import Cloud
from compute_emulator.engine.group_state import Roster
from compute_emulator.engine.instance import Instance
from compute_emulator.engine.instance_names import Names
from compute_emulator.engine.managed_instance import Machine
from compute_emulator.engine.resize_requests import ResizeRequest
from compute_emulator.engine.supply import Supply, error_entry
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

KEPT_ERRORS = 500
CARRIED = "_carried"
"""Member of the kept resource, never shown: the templates that VMs still carry, which keeps those
templates in use."""


class Group(Roster):
    """One managed instance group in action."""

    def __init__(self, cloud: Cloud, key: Key) -> None:
        super().__init__(cloud, key)
        self.supply = Supply(self)
        self.resize_requests: dict[str, ResizeRequest] = {}
        self.errors: deque[JsonObject] = deque(maxlen=KEPT_ERRORS)
        self.autoscaler: Key | None = None
        self.listeners: list[Callable[[], None]] = []
        self.plan = Plan()
        self._at_end: Callable[[], None] | None = None
        self._is_look_due = False
        self._look_at: float | None = None
        self._names = Names(cloud.random)
        self._bulk = Bulk(self)
        cloud.stock_outs.listeners.append(self.look_soon)
        self.checks_changed()

    # What it is

    @property
    def is_being_deleted(self) -> bool:
        return self._at_end is not None

    def is_stable(self, members: list[Member] | None = None) -> bool:
        if self._is_look_due or self.is_being_deleted:
            return False
        if any(machine.standby and machine.action != SETTLED for machine in self.machines.values()):
            return False
        return updater.is_stable(
            self.intent, self.members() if members is None else members, self.plan
        )

    # What is done to it

    def written(self) -> None:
        """Its resource was written: take the new intent."""
        self.read()
        for machine in self.machines.values():
            machine.keep()
        self.checks_changed()

    def checks_changed(self) -> None:
        """What its check asks, or how often, may have changed."""
        for machine in self.machines.values():
            machine.watch()
        self._tell()

    def resize(self, size: int) -> None:
        self.resource["targetSize"] = size
        self.written()

    def end(self, then: Callable[[], None]) -> None:
        """Delete every VM, drained, and do `then` when the last is gone."""
        self._at_end = then
        for machine in list(self.machines.values()):
            machine.delete()
        self.look_soon()

    def apply(self, steps: Iterable[Step]) -> None:
        """Steps that were asked for by name, outside of the budgets."""
        for step in steps:
            self._take(step)
        self.look_soon()

    def create_named(self, name: str, zone: str, is_held: bool = False) -> Machine:
        """A VM of that name, of a version that lacks VMs. A held one is only a place in the group
        until its `create`."""
        machine = Machine(self.cloud, self, name, zone, self.revision_for_new())
        self.machines[name] = machine
        if not is_held:
            machine.create()
        self.look_soon()
        return machine

    # Looking

    def look_soon(self) -> None:
        """Look as soon as everything of this moment has happened."""
        if not self._is_look_due:
            self._is_look_due = True
            self.cloud.at(self.cloud.now(), self._look)

    def _look(self) -> None:
        self._is_look_due = False
        if self.is_being_deleted:
            self._end_if_empty()
            return
        if self.cloud.acting.get(self.key) is not self:
            return
        standby_pool.tend(self)
        self.plan = updater.plan(
            self.intent, self.members(), self.cloud.now(), self.disruption, self.supply.full_zones()
        )
        for step in self.plan.steps:
            self._take(step)
        self._bulk.tend()
        self.resource[CARRIED] = sorted(
            {machine.revision.template for machine in self.machines.values()}
        )
        if any(isinstance(step, InPlace) for step in self.plan.steps):
            self.look_soon()  # what is done in no time has no event of its own
        self._look_later(self.plan.look_at)

    def _look_later(self, when: float | None) -> None:
        if when is None or when == self._look_at:
            self._look_at = when
            return
        self._look_at = when
        self.cloud.at(when, lambda: self.look_soon() if self._look_at == when else None)

    def _take(self, step: Step) -> None:
        match step:
            case Create(zone, revision, _, is_move):
                self._add(Machine(self.cloud, self, self.new_name(), zone, revision, is_move))
            case Delete(name, _, is_replaced):
                self.machines[name].delete(is_replaced)
            case Recreate(name, revision, _, is_repair):
                self.machines[name].recreate(revision, is_repair)
            case InPlace(name, revision, how):
                self.machines[name].update(revision, how)

    def _add(self, machine: Machine) -> None:
        self.machines[machine.name] = machine
        if self.is_bulk:
            self._bulk.add(machine)
        else:
            machine.create()

    def _end_if_empty(self) -> None:
        if not self.machines and self._at_end is not None:
            then, self._at_end = self._at_end, None
            self.cloud.stock_outs.listeners.remove(self.look_soon)
            then()

    def _tell(self) -> None:
        self.look_soon()
        for listener in self.listeners:
            listener()

    # What its machines ask and tell (machine.Owner)

    def new_name(self) -> str:
        return self._names.new(self.resource["baseInstanceName"], self.machines)

    def creation_failure(self, machine: Instance) -> Failure | None:
        return self.supply.failure(machine)

    def repair_zone(self, machine: Instance) -> str:
        return self.supply.repair_zone(machine)

    def failed(self, machine: Instance, failure: Failure) -> None:
        self.errors.append(error_entry(machine, failure))
        self.changed(machine)

    def changed(self, machine: Instance) -> None:
        self._tell()

    def gone(self, machine: Instance) -> None:
        if self.machines.get(machine.name) is machine:
            del self.machines[machine.name]
            self.configs.pop(machine.name, None)
        self.changed(machine)


def group_at(cloud: Cloud, key: Key) -> Group | None:
    """The acting group of a manager's or of an instance group's key."""
    return cast("Group | None", cloud.acting.get(Key(key.scope, "instanceGroupManagers", key.name)))


def service_written(cloud: Cloud, group: Key) -> None:
    """A backend service began or ceased to use a group, or was changed."""
    found = group_at(cloud, group)
    if found is not None:
        found.checks_changed()


def check_written(cloud: Cloud, check: Key) -> None:
    """A health check was written: the groups that it is asked for look anew at their VMs."""
    for group in groups(cloud):
        if check in (group.check_key, *readiness_checks(cloud, group.group_key)):
            group.checks_changed()


def groups(cloud: Cloud) -> list[Group]:
    """Every acting group."""
    return [acting for acting in cloud.acting.values() if isinstance(acting, Group)]
