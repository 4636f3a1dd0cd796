"""The acting half of a regional managed instance group: its machines, and the look that moves it towards its intent.

    something changed -> look_soon -> look: plan (pure, rules/updater.py) -> machines -> events -> something changed

A look is scheduled only by a change (a patch, a VM's event, a verdict) or when the plan names a moment. Changes at one
moment share one look. A settled group schedules nothing.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from local.compute import configs
from local.compute.behaviour import Behaviour, CreationError, behaviour_for
from local.compute.capacity import Failure, Need, config, exceeded, quota, sold_out, stock_out
from local.compute.cloud import Cloud
from local.compute.configs import Config
from local.compute.errors import JsonObject
from local.compute.intents import check_key, check_of, disruption, intent_of
from local.compute.keys import Key, parse
from local.compute.machine import Machine
from local.compute.rules import updater
from local.compute.rules.group import (
    SETTLED,
    Create,
    Delete,
    Disruption,
    InPlace,
    Intent,
    Member,
    Plan,
    Recreate,
    Revision,
    Step,
)
from local.compute.rules.health import Check
from local.compute.services import asks_readiness, drain_seconds, readiness_checks

if TYPE_CHECKING:
    from local.compute.resize_requests import ResizeRequest

KEPT_ERRORS = 500
CARRIED = "_carried"
"""Member of the kept resource, never shown: the templates that VMs still carry, which keeps those templates in use."""
ALPHABET = "0123456789bcdfghjklmnpqrstvwxz"


class Group:
    """One managed instance group in action. Its resource in the cloud's table is what it is asked to be."""

    def __init__(self, cloud: Cloud, key: Key) -> None:
        self.cloud = cloud
        self.key = key
        self.group_key = Key(key.scope, "instanceGroups", key.name)
        self.machines: dict[str, Machine] = {}
        self.configs: dict[str, Config] = {}
        self.resize_requests: dict[str, ResizeRequest] = {}
        self.errors: deque[JsonObject] = deque(maxlen=KEPT_ERRORS)
        self.autoscaler: Key | None = None
        self.listeners: list[Callable[[], None]] = []
        self.plan = Plan()
        self._at_end: Callable[[], None] | None = None
        self._is_look_due = False
        self._look_at: float | None = None
        self._caused: Counter[tuple[str, CreationError]] = Counter()
        self._number = 0
        self.intent: Intent
        self.check_key: Key | None
        cloud.stock_outs.listeners.append(self.look_soon)
        self.written()

    # What it is

    @property
    def resource(self) -> JsonObject:
        return self.cloud.get(self.key)

    @property
    def instance_group(self) -> JsonObject:
        return self.cloud.get(self.group_key)

    @property
    def region(self) -> str:
        return self.key.scope.removeprefix("regions/")

    @property
    def is_being_deleted(self) -> bool:
        return self._at_end is not None

    def members(self) -> list[Member]:
        """The VMs that are meant to run; VMs in reserve are none of the updater's business."""
        check, in_service = self.check(), [machine for machine in self.machines.values() if not machine.standby]
        if not self.configs:
            return [machine.member(check) for machine in in_service]
        return [machine.member(check, configs.need(self, machine)) for machine in in_service]

    def is_stable(self, members: list[Member] | None = None) -> bool:
        if self._is_look_due or self.is_being_deleted:
            return False
        if any(machine.standby and machine.action != SETTLED for machine in self.machines.values()):
            return False
        return updater.is_stable(self.intent, self.members() if members is None else members, self.plan)

    # What is done to it

    def written(self) -> None:
        """Its resource was written: take the new intent."""
        resource = self.resource
        zones = tuple(zone["zone"].rpartition("/")[2] for zone in resource["distributionPolicy"]["zones"])
        self.intent = intent_of(resource, zones)
        self.check_key = check_key(resource)
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
        """A VM of that name, of a version that lacks VMs. A held one is only a place in the group until its `create`."""
        revision = next(iter((self.intent.wanted() - Counter(m.revision for m in self.machines.values())).elements()), None)
        machine = Machine(self, name, zone, revision or self.intent.versions[0].revision)
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
        self.plan = updater.plan(self.intent, self.members(), self.cloud.now(), self.disruption, self.full_zones())
        for step in self.plan.steps:
            self._take(step)
        self.resource[CARRIED] = sorted({machine.revision.template for machine in self.machines.values()})
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
                self._add(Machine(self, self.new_name(), zone, revision, is_move))
            case Delete(name, _, is_replaced):
                self.machines[name].delete(is_replaced)
            case Recreate(name, revision, _, is_repair):
                self.machines[name].recreate(revision, is_repair)
            case InPlace(name, revision, how):
                self.machines[name].update(revision, how)

    def _add(self, machine: Machine) -> None:
        self.machines[machine.name] = machine
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

    def new_name(self) -> str:
        """Base name and four random characters, or the next number where the base ends in `#` signs."""
        base: str = self.resource["baseInstanceName"]
        hashes = re.search(r"#+$", base)
        while True:
            if hashes:
                self._number += 1
                name = base[: hashes.start()] + str(self._number).zfill(len(hashes[0]))
            else:
                name = f"{base}-" + "".join(self.cloud.random.choices(ALPHABET, k=4))
            if name not in self.machines:
                return name

    def disruption(self, old: Revision, new: Revision) -> Disruption:
        return disruption(self.cloud, old, new)

    def full_zones(self) -> frozenset[str]:
        """Zones without capacity for the group's VMs now."""
        if not self.cloud.stock_outs:
            return frozenset()
        need = Need.of(self.template(self.intent.versions[0].revision).get("properties", {}))
        return frozenset(sold_out(self.cloud.stock_outs, self.intent.zones, need, self.cloud.now()))

    # What its machines ask and tell (machine.Owner)

    def template(self, revision: Revision) -> JsonObject:
        key = parse(revision.template)
        return (self.cloud.find(key) if key is not None else None) or {}

    def preserved(self, machine: Machine) -> JsonObject | None:
        return configs.preserved(self, machine) if self.configs else None

    def behaviour(self, machine: Machine) -> Behaviour:
        return behaviour_for(self.cloud.behaviours, self.key.name, machine.zone, self.template(machine.revision))

    def check(self) -> Check | None:
        check = check_of(self.cloud, self.check_key)
        if check is None or self.check_key is None:
            return None
        return replace(check, asks_readiness=asks_readiness(self.cloud, self.group_key, self.check_key))

    def drain_seconds(self) -> float:
        return drain_seconds(self.cloud, self.group_key)

    def creation_failure(self, machine: Machine, together: int = 1) -> Failure | None:
        """Why a VM cannot be made now, or why not so many of its kind together."""
        cloud = self.cloud
        need = Need.of(self.template(machine.revision).get("properties", {}))
        full = sold_out(cloud.stock_outs, self.intent.zones, need, cloud.now()) if cloud.stock_outs else {}
        if machine.zone in full:
            open_zones = [zone for zone in self.intent.zones if zone not in full]
            return stock_out(cloud.project, machine.zone, need, open_zones, full[machine.zone].get("message"))
        if cloud.quotas:
            others = [need] * (together - 1)
            over = exceeded(cloud.quotas, self.region, need, needs_of(cloud, self.key.scope) + others, needs_of(cloud) + others)
            if over is not None:
                return quota(*over, self.region)
        caused = machine.behaviour.creation_error
        return self._caused_failure(machine, caused, need) if caused is not None else None

    def _caused_failure(self, machine: Machine, caused: CreationError, need: Need) -> Failure | None:
        where = (machine.revision.template, caused)
        self._caused[where] += 1
        if caused.times is not None and self._caused[where] > caused.times:
            return None
        match caused.kind:
            case "stock_out":
                return stock_out(self.cloud.project, machine.zone, need)
            case "quota":
                return quota("CPUS", 0.0, self.region)
            case _:
                return config(caused.message)

    def failed(self, machine: Machine, failure: Failure) -> None:
        version = {"instanceTemplate": machine.revision.template}
        if machine.revision.name:
            version["name"] = machine.revision.name
        self.errors.append(
            {
                "timestamp": self.cloud.timestamp(),
                "error": {"code": failure.code, "message": f"Instance '{machine.name}' creation failed: {failure.message}"},
                "instanceActionDetails": {
                    "action": machine.action,
                    "instance": self.cloud.link(*machine.key),
                    "version": version,
                },
            }
        )
        self.changed(machine)

    def changed(self, machine: Machine) -> None:
        self._tell()

    def gone(self, machine: Machine) -> None:
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


def needs_of(cloud: Cloud, scope: str | None = None) -> list[Need]:
    """What the managed VMs that exist take, of a region or of the whole project."""
    return [
        Need.of(group.template(machine.revision).get("properties", {}))
        for group in groups(cloud)
        if scope in (None, group.key.scope)
        for machine in group.machines.values()
        if machine.resource is not None and not machine.standby
    ]
