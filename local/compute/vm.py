"""The instance resource of a managed VM, as `instances.get` shows it."""

from __future__ import annotations

from local.compute.cloud import Cloud
from local.compute.errors import JsonObject
from local.compute.keys import HOST, Key

COPIED = ("tags", "labels", "serviceAccounts", "scheduling", "guestAccelerators", "canIpForward", "shieldedInstanceConfig")


def body(cloud: Cloud, group: Key, zone: str, template: JsonObject) -> JsonObject:
    """What a new VM of a group is, made from a template resource."""
    properties = template.get("properties", {})
    place = f"{HOST}projects/{cloud.project}/zones/{zone}"
    number = cloud.random.randrange(1 << 22)
    interface = dict((properties.get("networkInterfaces") or [{}])[0])
    interface["networkIP"] = f"10.{128 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
    items = [item for item in properties.get("metadata", {}).get("items", []) if "key" in item]
    made_by = [
        {"key": "instance-template", "value": template.get("selfLink", "").removeprefix(HOST)},
        {"key": "created-by", "value": cloud.path(group)},
    ]
    return {
        "status": "PROVISIONING",
        "machineType": f"{place}/machineTypes/{properties.get('machineType', '')}",
        "networkInterfaces": [interface],
        "metadata": {"kind": "compute#metadata", "items": [*items, *made_by]},
        "fingerprint": cloud.new_fingerprint(),
        **{name: properties[name] for name in COPIED if name in properties},
    }
