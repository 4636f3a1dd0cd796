"""Whether a group can create its next VM now: capacity, quota, machine type and zone, and why not.

`groups.py` asks before each attempt. The arithmetic is in `capacity.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from compute_emulator.control.behaviours import CreationError
from compute_emulator.engine.capacity import (
    Failure,
    Need,
    exceeded_quota,
    failure_of_kind,
    quota_failure,
    stock_out_failure,
    zones_without_capacity,
)
from compute_emulator.engine.cloud import Cloud
from compute_emulator.engine.creation_checks import creation_failure, zones_without_hardware
from compute_emulator.engine.group_state import GroupState
from compute_emulator.engine.instance import Instance
from compute_emulator.errors import JsonObject
from compute_emulator.rules.flexibility import choose
from compute_emulator.rules.group import LEAVING, Revision
from compute_emulator.rules.placement import zone_for_new


class GroupCapacity:
    """Capacity for one group's new VMs. Remembers only how often a behaviour has failed a
    creation.
    """

    __slots__ = ("_failure_counts", "_group")

    def __init__(self, group: GroupState) -> None:
        self._group = group
        self._failure_counts: Counter[tuple[str, CreationError]] = Counter()

    def full_zones(self) -> frozenset[str]:
        """Zones without capacity for the group's VMs now, with any machine type that the group
        allows.
        """
        group, cloud = self._group, self._group.cloud
        stock_outs, revision = _stock_outs(cloud), group.intent.versions[0].revision
        template, zones = group.template(revision), group.intent.zones
        full = [
            zones_without_hardware(cloud, template, each, zones)
            for each in group.machine_types or ("",)
        ]
        if stock_outs:
            need, now = _need(group, revision), cloud.now()
            full = [
                lacking
                | frozenset(zones_without_capacity(stock_outs, zones, need.of_type(each), now))
                for each, lacking in zip(group.machine_types or ("",), full, strict=True)
            ]
        return frozenset.intersection(*full)

    def zone_for_new(self) -> str:
        """The zone for a VM that is created outside of the updater's plan."""
        zones = Counter(
            instance.zone
            for instance in self._group.instances.values()
            if instance.action not in LEAVING
        )
        return zone_for_new(
            self._group.intent.shape, self._group.intent.zones, zones, {}, self.full_zones()
        )

    def repair_zone(self, instance: Instance) -> str:
        """The zone in which a VM is repaired: its own, unless that zone has no capacity and the
        group may change it.
        """
        full = self.full_zones() if self._group.intent.healing.changes_zone else frozenset()
        if instance.zone not in full or full >= set(self._group.intent.zones):
            return instance.zone
        zones = Counter(
            each.zone for each in self._group.instances.values() if each.action not in LEAVING
        )
        return zone_for_new("BALANCED", self._group.intent.zones, zones, {}, full)

    def failure(self, instance: Instance, count: int = 1) -> Failure | None:
        """Why this VM, or `count` of its kind, cannot be created now. Sets its machine type."""
        need = _need(self._group, instance.revision)
        if self._group.machine_types:
            allowed = self._group.machine_types
            instance.machine_type, failure = choose(
                allowed,
                lambda each: self._failure_with(each, instance, need.of_type(each), count),
            )
        else:
            instance.machine_type, failure = "", self._failure_with("", instance, need, count)
        error = instance.behaviour.creation_error
        return (
            failure
            if failure is not None or error is None
            else self._behaviour_failure(instance, error, need)
        )

    def _failure_with(
        self, machine_type: str, instance: Instance, need: Need, count: int
    ) -> Failure | None:
        """What prevents the VM on this machine type (empty: the template's)."""
        template = self._group.template(instance.revision)
        return creation_failure(
            self._group.cloud, template, machine_type, instance.zone
        ) or self._capacity_failure(need, instance.zone, count)

    def _capacity_failure(self, need: Need, zone: str, count: int) -> Failure | None:
        """Missing capacity or quota."""
        group, cloud = self._group, self._group.cloud
        stock_outs = _stock_outs(cloud)
        full = (
            zones_without_capacity(stock_outs, group.intent.zones, need, cloud.now())
            if stock_outs
            else {}
        )
        if zone in full:
            open_zones = [each for each in group.intent.zones if each not in full]
            rule = full[zone]
            return stock_out_failure(
                cloud.project, zone, need, open_zones, rule.get("message"), rule.get("code")
            )
        if cloud.quotas:
            region, others = group.key.scope.removeprefix("regions/"), [need] * (count - 1)
            over = exceeded_quota(
                cloud.quotas,
                region,
                need,
                needs_of(cloud, group.key.scope) + others,
                needs_of(cloud) + others,
            )
            if over is not None:
                return quota_failure(*over, region)
        return None

    def _behaviour_failure(
        self, instance: Instance, error: CreationError, need: Need
    ) -> Failure | None:
        where = (instance.revision.template, error)
        self._failure_counts[where] += 1
        if error.times is not None and self._failure_counts[where] > error.times:
            return None
        cloud, region = self._group.cloud, self._group.key.scope.removeprefix("regions/")
        return failure_of_kind(
            error.kind, error.message, cloud.project, region, instance.zone, need
        )


def _stock_outs(cloud: Cloud) -> Mapping[str, JsonObject]:
    """The stock-outs that were set, overridden by zones that are down."""
    if not cloud.zones_down:
        return cloud.stock_outs
    down = "The zone 'projects/{}/zones/{}' is currently unavailable."
    return cloud.stock_outs | {
        zone: {"message": down.format(cloud.project, zone)} for zone in sorted(cloud.zones_down)
    }


def _need(group: GroupState, revision: Revision) -> Need:
    return Need.of(group.template(revision).get("properties", {}))


def needs_of(cloud: Cloud, scope: str | None = None) -> list[Need]:
    """What the existing managed VMs of a region, or of the whole project, use."""
    return [
        _need(group, instance.revision).of_type(instance.machine_type)
        for key, group in cloud.groups.items()
        if scope in (None, key.scope)
        for instance in group.instances.values()
        if instance.resource is not None and not instance.standby
    ]


def error_entry(instance: Instance, failure: Failure) -> JsonObject:
    """An entry of `listErrors` for a creation that failed now."""
    version = {"instanceTemplate": instance.revision.template}
    if instance.revision.name:
        version["name"] = instance.revision.name
    return {
        "timestamp": instance.cloud.timestamp(),
        "error": {
            "code": failure.code,
            "message": f"Instance '{instance.name}' creation failed: {failure.message}",
        },
        "instanceActionDetails": {
            "action": instance.action,
            "instance": instance.cloud.link(*instance.key),
            "version": version,
        },
    }
