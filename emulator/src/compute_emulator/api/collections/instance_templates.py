"""Instance templates, global and regional. They are immutable.

Their properties are validated here, because Compute Engine validates them on insert. Source:
Compute API reference, instanceTemplates; guest accelerators:
compute/docs/instances/setting-vm-host-options.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re

from compute_emulator.api.call import Call, Handlers
from compute_emulator.api.collections.standard import Kind, add_standard_handlers
from compute_emulator.engine.cloud import Cloud
from compute_emulator.errors import Invalid, JsonObject, Required
from compute_emulator.rules.accelerators import built_in
from compute_emulator.rules.machine_types import size_of

HANDLERS = Handlers()

TAG = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
LABEL_KEY, LABEL_VALUE = re.compile(r"[a-z][-_a-z0-9]{0,62}"), re.compile(r"[-_a-z0-9]{0,63}")
NAT, MIN_DISK_GB = "ONE_TO_ONE_NAT", 10
MAX_NAMES = 64
"""Network tags, and labels, of a VM."""
VALUE_BYTES, TOTAL_BYTES = 262_144, 512 * 1024


def complete(call: Call, resource: JsonObject) -> None:
    properties = resource.get("properties")
    if properties is None:
        raise Required("resource.properties")
    machine_type = properties.get("machineType")
    if not machine_type:
        raise Required("resource.properties.machineType")
    if "/" in machine_type:
        raise Invalid(
            "resource.properties.machineType",
            machine_type,
            "Must be the name of a machine type, not a URL.",
        )
    if size_of(machine_type) is None:
        raise Invalid(
            "resource.properties.machineType",
            machine_type,
            "Instance properties must provide existing machine type.",
        )
    resource.setdefault("description", "")
    _check_disks(properties)
    _check_network(call.cloud, properties)
    _check_accelerators(properties, machine_type)
    _check_scheduling(properties)
    _check_reservation(properties)
    _check_shielding(properties)
    _check_metadata(properties)
    _check_names(properties)


def _check_disks(properties: JsonObject) -> None:
    disks = properties.get("disks") or []
    if not disks:
        raise Required("resource.properties.disks")
    if not any(disk.get("boot") for disk in disks):
        raise Invalid("resource.properties.disks", "", "At least one disk must be a boot disk.")
    for index, disk in enumerate(disks):
        disk |= {"kind": "compute#attachedDisk", "index": index}
        disk.setdefault("deviceName", f"persistent-disk-{index}")
        disk_type = (disk.get("initializeParams") or {}).get("diskType", "")
        if "/" in disk_type:
            raise Invalid(
                f"resource.properties.disks[{index}].initializeParams.diskType",
                disk_type,
                f"DiskType '{disk_type}' must be a valid resource name (not an url).",
            )
        size = (disk.get("initializeParams") or {}).get("diskSizeGb")
        if size is not None and int(size) < MIN_DISK_GB:
            raise Invalid(
                f"resource.properties.disks[{index}].initializeParams.diskSizeGb",
                size,
                f"Disk size must be at least {MIN_DISK_GB} GB.",
            )
        disk.setdefault("type", "PERSISTENT")
        disk.setdefault("mode", "READ_WRITE")


def _check_network(cloud: Cloud, properties: JsonObject) -> None:
    interfaces = properties.get("networkInterfaces") or []
    if not interfaces:
        raise Required("resource.properties.networkInterfaces")
    for index, interface in enumerate(interfaces):
        interface |= {"kind": "compute#networkInterface"}
        interface.setdefault("name", f"nic{index}")
        cloud.full_links(interface, "network", "subnetwork")
        where = f"resource.properties.networkInterfaces[{index}].accessConfigs"
        configs = interface.get("accessConfigs") or []
        if len(configs) > 1:
            raise Invalid(where, len(configs), "At most one access config is supported.")
        kind = configs[0].get("type", NAT) if configs else NAT
        if kind != NAT:
            raise Invalid(f"{where}[0].type", kind, f"Must be {NAT}.")
        for config in configs:
            config |= {"kind": "compute#accessConfig", "type": NAT}
            config.setdefault("networkTier", "PREMIUM")


def _check_accelerators(properties: JsonObject, machine_type: str) -> None:
    given = properties.get("guestAccelerators") or []
    own = built_in(machine_type)
    for index, accelerator in enumerate(given):
        kind = accelerator.get("acceleratorType", "")
        where = f"resource.properties.guestAccelerators[{index}].acceleratorType"
        if "/" in kind:
            raise Invalid(where, kind, "Must be the name of an accelerator type, not a URL.")
        if own is not None and kind.removesuffix("-vws") != own:
            raise Invalid(where, kind, f"Machine type {machine_type} comes with {own}.")
    maintenance = (properties.get("scheduling") or {}).get("onHostMaintenance", "MIGRATE")
    if (given or own) and maintenance != "TERMINATE":
        raise Invalid(
            "resource.properties.scheduling.onHostMaintenance",
            maintenance,
            "Instances with guest accelerators do not support live migration.",
        )


def _check_scheduling(properties: JsonObject) -> None:
    """VMs that can be preempted, Spot VMs and the older preemptible ones, neither restart nor
    migrate. The older ones have no provisioning model.
    """
    scheduling = properties.setdefault("scheduling", {})
    if scheduling.get("provisioningModel") == "SPOT":
        scheduling["preemptible"] = True
    can_be_preempted = scheduling.setdefault("preemptible", False)
    scheduling.setdefault("automaticRestart", not can_be_preempted)
    scheduling.setdefault("onHostMaintenance", "TERMINATE" if can_be_preempted else "MIGRATE")
    if not can_be_preempted:
        scheduling.setdefault("provisioningModel", "STANDARD")
        return
    why = ""
    if scheduling["onHostMaintenance"] != "TERMINATE":
        why = "OnHostMaintenance isn't TERMINATE"
    if scheduling["automaticRestart"]:
        why = "AutomaticRestart is true"
    if why:
        raise Invalid(
            "resource.properties.scheduling.preemptible",
            "true",
            f"Scheduling must have preemptible be false when {why}.",
        )


def _check_reservation(properties: JsonObject) -> None:
    """Only a specific reservation has a name."""
    affinity = properties.get("reservationAffinity")
    if affinity is None:
        return
    where = "resource.properties.reservationAffinity"
    kind = affinity.setdefault("consumeReservationType", "ANY_RESERVATION")
    for name in ("key", "values"):
        if kind == "SPECIFIC_RESERVATION" and not affinity.get(name):
            raise Required(f"{where}.{name}")
        if kind != "SPECIFIC_RESERVATION" and affinity.get(name):
            raise Invalid(f"{where}.{name}", affinity[name], f"Must not be set with {kind}.")


def _check_shielding(properties: JsonObject) -> None:
    """Integrity monitoring compares measurements that the vTPM takes."""
    given = properties.get("shieldedInstanceConfig") or {}
    if given.get("enableIntegrityMonitoring") and given.get("enableVtpm") is False:
        raise Invalid(
            "resource.properties.shieldedInstanceConfig.enableIntegrityMonitoring",
            "true",
            "Integrity monitoring requires vTPM to be enabled.",
        )


def _check_metadata(properties: JsonObject) -> None:
    metadata = properties.get("metadata")
    if metadata is None:
        return
    metadata["kind"] = "compute#metadata"
    total, seen = 0, set()
    for index, item in enumerate(metadata.get("items") or []):
        where = f"resource.properties.metadata.items[{index}]"
        key, size = item.get("key", ""), len(item.get("value", "").encode())
        if not key:
            raise Required(f"{where}.key")
        if key in seen:
            raise Invalid(f"{where}.key", key, "Metadata keys must be unique.")
        seen.add(key)
        if size > VALUE_BYTES:
            raise Invalid(
                f"{where}.value",
                f"{size} bytes",
                f"Metadata value is too large, limit is {VALUE_BYTES} bytes.",
            )
        total += size + len(key)
    if total >= TOTAL_BYTES:
        raise Invalid(
            "resource.properties.metadata",
            f"{total} bytes",
            f"Metadata is too large, limit is {TOTAL_BYTES}.",
        )
    metadata["fingerprint"] = _fingerprint(metadata.get("items") or [])


def _fingerprint(items: list[JsonObject]) -> str:
    """The same for the same items, so that two templates with equal metadata do not differ."""
    digest = hashlib.sha256(json.dumps(items, sort_keys=True).encode()).digest()
    return base64.urlsafe_b64encode(digest[:8]).decode()


def _check_names(properties: JsonObject) -> None:
    """Tags, labels and resource policies are names; a VM has at most one service account."""
    for index, policy in enumerate(properties.get("resourcePolicies") or []):
        if "/" in policy:
            where = f"resource.properties.resourcePolicies[{index}]"
            raise Invalid(where, policy, "Must be the name of a resource policy, not a URL.")
    counts = {
        "tags.items": len((properties.get("tags") or {}).get("items") or []),
        "labels": len(properties.get("labels") or {}),
    }
    for name, count in counts.items():
        if count > MAX_NAMES:
            raise Invalid(f"resource.properties.{name}", count, f"At most {MAX_NAMES}.")
    for index, tag in enumerate((properties.get("tags") or {}).get("items") or []):
        if not TAG.fullmatch(tag):
            raise Invalid(
                f"resource.properties.tags.items[{index}]",
                tag,
                f"Must be a match of regex '{TAG.pattern}'",
            )
    for name, value in (properties.get("labels") or {}).items():
        if not LABEL_KEY.fullmatch(name) or not LABEL_VALUE.fullmatch(value):
            raise Invalid(
                "resource.properties.labels",
                f"{name}: {value}",
                "Label keys and values must be lower case names.",
            )
    accounts = properties.get("serviceAccounts") or []
    if len(accounts) > 1:
        raise Invalid(
            "resource.properties.serviceAccounts",
            len(accounts),
            "At most one service account is allowed.",
        )


add_standard_handlers(
    HANDLERS,
    Kind(
        collection="instanceTemplates",
        word="instance_template",
        schema="InstanceTemplate",
        discovery=("instanceTemplates", "regionInstanceTemplates"),
        complete=complete,
    ),
)
