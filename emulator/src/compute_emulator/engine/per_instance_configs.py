"""Per-instance configs: what a managed VM has in addition to its template, and whether it is
applied yet.

A config is written at once and applied later: when the VM is recreated, when its update is
requested by name, or by a proactive group within its budget. A deleted config remains, marked,
until the VM no longer has what it set. Metadata reaches the VM; disks and addresses are only
reported.

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
"""A group's configs by VM name."""


def preserved_state(configs: Configs, instance: Instance) -> JsonObject | None:
    """The config for a VM that is being created or updated now. Removes a config that is marked as
    deleted.
    """
    config = configs.get(instance.name)
    if config is not None and config.is_deleted:
        del configs[instance.name]
        return None
    return config.preserved_state if config is not None else None


def required_disruption(configs: Configs, instance: Instance) -> Disruption:
    """What it takes to apply a VM's config: metadata reaches a running VM, disks and addresses need
    a restart.

    A VM that is being changed gets its config at the end of that change.
    """
    config = configs.get(instance.name)
    if config is None or instance.resource is None or instance.action not in (SETTLED, "VERIFYING"):
        return Disruption.NONE
    desired, has = (
        {} if config.is_deleted else config.preserved_state,
        instance.applied_config or {},
    )
    differing = {name for name in desired.keys() | has.keys() if desired.get(name) != has.get(name)}
    if not differing:
        return Disruption.REFRESH if config.is_deleted else Disruption.NONE
    return Disruption.REFRESH if differing == {"metadata"} else Disruption.RESTART


def status(config: Config, instance: Instance | None) -> str:
    """The status of a config, in the API's terms."""
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
