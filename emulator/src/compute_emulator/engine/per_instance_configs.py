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
    """`preserved` is the API's PreservedState."""

    preserved: JsonObject
    fingerprint: str
    is_deleted: bool = False


Configs = dict[str, Config]
"""A group's configs by the names of their VMs."""


def preserved(configs: Configs, machine: Instance) -> JsonObject | None:
    """What a VM is given of its own when it is made or updated now. A config marked as deleted ends
    here."""
    config = configs.get(machine.name)
    if config is not None and config.is_deleted:
        del configs[machine.name]
        return None
    return config.preserved if config is not None else None


def need(configs: Configs, machine: Instance) -> Disruption:
    """What it takes to give a VM its config: metadata reaches a running VM, disks and addresses
    need a restart.

    A VM that is being changed takes its config at the end of that change.
    """
    config = configs.get(machine.name)
    if config is None or machine.resource is None or machine.action not in (SETTLED, "VERIFYING"):
        return Disruption.NONE
    wanted, has = {} if config.is_deleted else config.preserved, machine.applied or {}
    differing = {name for name in wanted.keys() | has.keys() if wanted.get(name) != has.get(name)}
    if not differing:
        return Disruption.REFRESH if config.is_deleted else Disruption.NONE
    return Disruption.REFRESH if differing == {"metadata"} else Disruption.RESTART


def status(config: Config, machine: Instance | None) -> str:
    """How far a config has come, in the API's words."""
    is_busy = machine is not None and machine.action not in (SETTLED, "VERIFYING")
    if config.is_deleted:
        return "DELETING" if is_busy else "UNAPPLIED_DELETION"
    if machine is not None and machine.resource is not None and machine.applied == config.preserved:
        return "EFFECTIVE"
    return "APPLYING" if is_busy else "UNAPPLIED"


def shown(name: str, config: Config, machine: Instance | None) -> JsonObject:
    state = {"preservedState": config.preserved, "fingerprint": config.fingerprint}
    return {"name": name, **state, "status": status(config, machine)}
