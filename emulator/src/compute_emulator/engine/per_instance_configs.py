"""Per-instance configs: what a managed VM keeps of its own, over its template, and whether the VM
has it yet.

A config is written at once and applied later: when the VM is made anew, when its update is asked
for by name, or by a proactive group within its budget. A deleted config stays, marked, until the VM
has lost what it said. Metadata reaches the VM; disks and addresses are only told of.

Source: Compute API reference, PerInstanceConfig; compute/docs/instance-groups/updating-migs.
"""

from __future__ import annotations

from dataclasses import dataclass

from compute_emulator.engine.instance import Instance
from compute_emulator.errors import JsonObject
from compute_emulator.rules.group import SETTLED, Disruption


@dataclass(frozen=True)
class Config:
    """`preserved_state` is the API's PreservedState."""

    preserved_state: JsonObject
    fingerprint: str
    is_deleted: bool = False


Configs = dict[str, Config]
"""A group's configs by the names of their VMs."""


def preserved_state(configs: Configs, instance: Instance) -> JsonObject | None:
    """What a VM is given of its own when it is made or updated now. A config marked as deleted ends
    here."""
    config = configs.get(instance.name)
    if config is not None and config.is_deleted:
        del configs[instance.name]
        return None
    return config.preserved_state if config is not None else None


def required_disruption(configs: Configs, instance: Instance) -> Disruption:
    """What it takes to give a VM its config: metadata reaches a running VM, disks and addresses
    need a restart.

    A VM that is being changed takes its config at the end of that change.
    """
    config = configs.get(instance.name)
    if config is None or instance.resource is None or instance.action not in (SETTLED, "VERIFYING"):
        return Disruption.NONE
    wanted, has = {} if config.is_deleted else config.preserved_state, instance.applied_config or {}
    differing = {name for name in wanted.keys() | has.keys() if wanted.get(name) != has.get(name)}
    if not differing:
        return Disruption.REFRESH if config.is_deleted else Disruption.NONE
    return Disruption.REFRESH if differing == {"metadata"} else Disruption.RESTART


def status(config: Config, instance: Instance | None) -> str:
    """How far a config has come, in the API's words."""
    is_busy = instance is not None and instance.action not in (SETTLED, "VERIFYING")
    if config.is_deleted:
        return "DELETING" if is_busy else "UNAPPLIED_DELETION"
    if (
        instance is not None
        and instance.resource is not None
        and instance.applied_config == config.preserved_state
    ):
        return "EFFECTIVE"
    return "APPLYING" if is_busy else "UNAPPLIED"


def as_resource(name: str, config: Config, instance: Instance | None) -> JsonObject:
    state = {"preservedState": config.preserved_state, "fingerprint": config.fingerprint}
    return {"name": name, **state, "status": status(config, instance)}
