"""The instance resource of a managed VM as `instances.get` shows it, and what a stateful policy
preserves of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from compute_emulator.engine.cloud import Cloud
from compute_emulator.errors import JsonObject
from compute_emulator.keys import HOST, Key
from compute_emulator.rules.group import Overrides

RW = "READ_WRITE"
INTERFACE = "nic0"
COPIED = (
    "tags",
    "serviceAccounts",
    "scheduling",
    "guestAccelerators",
    "canIpForward",
    "minCpuPlatform",
    "advancedMachineFeatures",
    "confidentialInstanceConfig",
)
SHIELDED = {"enableSecureBoot": False, "enableVtpm": True, "enableIntegrityMonitoring": True}
ANY_RESERVATION = {"consumeReservationType": "ANY_RESERVATION"}
NO_OVERRIDES = Overrides()


@dataclass(frozen=True, slots=True)
class InstanceSource:
    """The inputs that define a VM. Specific ones override general ones: `preserved_state` (its
    per-instance config) and `stateful_state` (the stateful policy), then `overrides` (the group's),
    then `template`. `machine_type` replaces the template's type.
    """

    template: JsonObject
    overrides: Overrides | None = None
    machine_type: str = ""
    preserved_state: JsonObject | None = None
    stateful_state: JsonObject | None = None


def new_resource(cloud: Cloud, group: Key, zone: str, source: InstanceSource) -> JsonObject:
    """The resource of a new VM of a group."""
    properties = source.template.get("properties", {})
    number = cloud.random.randrange(1 << 22)
    interface = dict((properties.get("networkInterfaces") or [{}])[0])
    interface["networkIP"] = f"10.{128 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
    if source.stateful_state:
        interface["networkIP"] = (
            _address(source.stateful_state, "internalIPs") or interface["networkIP"]
        )
    if interface.get("accessConfigs"):
        interface["accessConfigs"] = [
            _access(config, number) for config in interface["accessConfigs"]
        ]
    resource: JsonObject = {
        "status": "PROVISIONING",
        "networkInterfaces": [interface],
        "fingerprint": cloud.new_fingerprint(),
    }
    apply_source(resource, cloud, group, zone, source)
    return resource


def _access(config: JsonObject, number: int) -> JsonObject:
    """An access configuration with an address from the block that RFC 2544 reserves for benchmarks,
    which nobody uses on the Internet.
    """
    usual = {
        "kind": "compute#accessConfig",
        "type": "ONE_TO_ONE_NAT",
        "name": "External NAT",
        "networkTier": "PREMIUM",
    }
    return (
        usual
        | {"natIP": f"198.{18 + (number >> 16 & 1)}.{number >> 8 & 255}.{number & 255}"}
        | config
    )


def apply_source(
    resource: JsonObject, cloud: Cloud, group: Key, zone: str, source: InstanceSource
) -> None:
    """Set what can change without recreating the VM."""
    template = source.template
    properties = template.get("properties", {})
    made_by = [
        {"key": "instance-template", "value": template.get("selfLink", "").removeprefix(HOST)},
        {"key": "created-by", "value": cloud.path(group)},
    ]
    place = f"{HOST}projects/{cloud.project}/zones/{zone}"
    resource["machineType"] = (
        f"{place}/machineTypes/{source.machine_type or properties.get('machineType', '')}"
    )
    resource["metadata"] = {
        "kind": "compute#metadata",
        "items": [*_metadata(properties, source), *made_by],
    }
    given = properties
    overrides = source.overrides or NO_OVERRIDES
    if overrides.labels:
        given = properties | {"labels": properties.get("labels", {}) | dict(overrides.labels)}
    for name in (*COPIED, "labels"):
        if name in given:
            resource[name] = given[name]
        else:
            resource.pop(name, None)
    shielded, reservations = given.get("shieldedInstanceConfig"), given.get("reservationAffinity")
    resource["shieldedInstanceConfig"] = SHIELDED | shielded if shielded else SHIELDED
    resource["reservationAffinity"] = reservations or ANY_RESERVATION
    disks = ((source.preserved_state or {}).get("disks") or {}) | (
        (source.stateful_state or {}).get("disks") or {}
    )
    if disks:
        resource["disks"] = [
            {
                "kind": "compute#attachedDisk",
                "deviceName": name,
                "source": disk.get("source", ""),
                "mode": disk.get("mode", RW),
            }
            for name, disk in sorted(disks.items())
        ]
    else:
        resource.pop("disks", None)


def _metadata(properties: JsonObject, source: InstanceSource) -> list[JsonObject]:
    over = dict((source.overrides or NO_OVERRIDES).metadata) | (source.preserved_state or {}).get(
        "metadata", {}
    )
    hidden = {"", *over}
    items = [
        item
        for item in properties.get("metadata", {}).get("items", [])
        if item.get("key", "") not in hidden
    ]
    return items + [{"key": key, "value": value} for key, value in over.items()]


def stateful_state(policy: JsonObject, resource: JsonObject) -> JsonObject:
    """What a stateful policy preserves of a VM, as a PreservedState: the disks and addresses that
    it names.
    """
    zone, name = resource["zone"], resource["name"]
    found: JsonObject = {}
    if policy.get("disks"):
        found["disks"] = {
            device: {
                "autoDelete": rule.get("autoDelete", "NEVER"),
                "mode": RW,
                "source": f"{zone}/disks/{name}-{device}",
            }
            for device, rule in policy["disks"].items()
        }
    if INTERFACE in policy.get("internalIPs", {}):
        address = {"literal": resource["networkInterfaces"][0]["networkIP"]}
        rule = policy["internalIPs"][INTERFACE]
        found["internalIPs"] = {
            INTERFACE: {"autoDelete": rule.get("autoDelete", "NEVER"), "ipAddress": address}
        }
    return found


def _address(state: JsonObject, member: str) -> str:
    found: str = state.get(member, {}).get(INTERFACE, {}).get("ipAddress", {}).get("literal", "")
    return found
