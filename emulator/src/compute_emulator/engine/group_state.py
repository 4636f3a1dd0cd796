"""The state of a managed instance group: its intent, its instances, and answers to their questions.
It changes nothing; `groups.py` acts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from compute_emulator.control.behaviours import Behaviour, behaviour_for
from compute_emulator.engine import per_instance_configs
from compute_emulator.engine.attached_services import drain_seconds, probes_readiness
from compute_emulator.engine.cloud import Cloud
from compute_emulator.engine.group_intent import (
    check_key,
    check_of,
    disruption,
    flexible_types,
    intent_of,
)
from compute_emulator.engine.instance import Instance
from compute_emulator.engine.managed_instance import ManagedInstance
from compute_emulator.engine.per_instance_configs import Configs
from compute_emulator.errors import JsonObject
from compute_emulator.keys import Key, parse
from compute_emulator.rules.group import LEAVING, Disruption, Intent, Member, Overrides, Revision
from compute_emulator.rules.health import Check


class GroupState:
    """One group and its instances. Its resource in the cloud's table is its intent."""

    def __init__(self, cloud: Cloud, key: Key) -> None:
        self.cloud = cloud
        self.key = key
        self.group_key = Key(key.scope, "instanceGroups", key.name)
        self.instances: dict[str, ManagedInstance] = {}
        self.configs: Configs = {}
        self.configured_at = ""  # when the all-instances configuration last changed
        self.intent: Intent
        self.overrides: Overrides | None = None
        self.check_key: Key | None
        self.read()

    def read(self) -> None:
        """Read the intent from the resource."""
        resource = self.resource
        zones = tuple(
            zone["zone"].rpartition("/")[2] for zone in resource["distributionPolicy"]["zones"]
        )
        self.intent = intent_of(resource, zones)
        overrides = self.intent.versions[0].revision.overrides
        if overrides != self.overrides:
            self.overrides, self.configured_at = overrides, self.cloud.timestamp()
        self.check_key = check_key(resource)

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
    def machine_types(self) -> tuple[str, ...]:
        """The machine types that its VMs may have, preferred ones first; empty: the template's
        type.
        """
        return flexible_types(self.resource)

    @property
    def is_bulk(self) -> bool:
        """Whether its VMs are created all at once."""
        return bool(self.resource["targetSizePolicy"]["mode"] == "BULK")

    def members(self) -> list[Member]:
        """The VMs that are meant to run. Standby VMs are not the updater's concern."""
        check, in_service = (
            self.check(),
            [instance for instance in self.instances.values() if not instance.standby],
        )
        if not self.configs:
            return [instance.member(check) for instance in in_service]
        return [
            instance.member(check, per_instance_configs.required_disruption(self.configs, instance))
            for instance in in_service
        ]

    def revision_for_new(self) -> Revision:
        """The version that would lack a VM if there were one more: VMs created outside of the
        updater's plan keep the split too.
        """
        staying = [
            instance
            for instance in self.instances.values()
            if not instance.standby and instance.action not in LEAVING
        ]
        desired = replace(
            self.intent, target_size=max(self.intent.target_size, len(staying) + 1)
        ).desired()
        lacking = desired - Counter(instance.revision for instance in staying)
        return next(iter(lacking.elements()), self.intent.versions[0].revision)

    def disruption(self, old: Revision, new: Revision) -> Disruption:
        return disruption(self.cloud, old, new)

    # What its instances ask

    def template(self, revision: Revision) -> JsonObject:
        key = parse(revision.template)
        return (self.cloud.find(key) if key is not None else None) or {}

    def preserved_state(self, instance: Instance) -> JsonObject | None:
        return (
            per_instance_configs.preserved_state(self.configs, instance) if self.configs else None
        )

    def stateful_policy(self) -> JsonObject:
        policy: JsonObject = (self.resource.get("statefulPolicy") or {}).get("preservedState") or {}
        return policy

    def behaviour(self, instance: Instance) -> Behaviour:
        return behaviour_for(
            self.cloud.behaviours, self.key.name, instance.zone, self.template(instance.revision)
        )

    def check(self) -> Check | None:
        key = self.check_key
        return check_of(
            self.cloud,
            key,
            probes_readiness=key is not None and probes_readiness(self.cloud, self.group_key, key),
        )

    def drain_seconds(self) -> float:
        return drain_seconds(self.cloud, self.group_key)
