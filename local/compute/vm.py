"""The instance resource of a managed VM, as `instances.get` shows it."""

from __future__ import annotations

from local.compute.cloud import Cloud
from local.compute.errors import JsonObject
from local.compute.keys import HOST, Key

COPIED = ("tags", "labels", "serviceAccounts", "scheduling", "guestAccelerators", "canIpForward", "shieldedInstanceConfig")


def body(cloud: Cloud, group: Key, zone: str, template: JsonObject, preserved: JsonObject | None = None) -> JsonObject:
    """What a new VM of a group is, made from a template resource and from what its own config preserves."""
    properties = template.get("properties", {})
    number = cloud.random.randrange(1 << 22)
    interface = dict((properties.get("networkInterfaces") or [{}])[0])
    interface["networkIP"] = f"10.{128 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
    resource: JsonObject = {"status": "PROVISIONING", "networkInterfaces": [interface], "fingerprint": cloud.new_fingerprint()}
    describe(resource, cloud, group, zone, template, preserved)
    return resource


def describe(
    resource: JsonObject, cloud: Cloud, group: Key, zone: str, template: JsonObject, preserved: JsonObject | None = None
) -> None:
    """Give a VM what its template and its own config say; all of it can be changed without making the VM anew.

    Metadata of the config goes before the template's.
    """
    properties = template.get("properties", {})
    own = (preserved or {}).get("metadata", {})
    items = [item for item in properties.get("metadata", {}).get("items", []) if "key" in item and item["key"] not in own]
    items += [{"key": key, "value": value} for key, value in own.items()]
    made_by = [
        {"key": "instance-template", "value": template.get("selfLink", "").removeprefix(HOST)},
        {"key": "created-by", "value": cloud.path(group)},
    ]
    place = f"{HOST}projects/{cloud.project}/zones/{zone}"
    resource["machineType"] = f"{place}/machineTypes/{properties.get('machineType', '')}"
    resource["metadata"] = {"kind": "compute#metadata", "items": [*items, *made_by]}
    for name in COPIED:
        if name in properties:
            resource[name] = properties[name]
        else:
            resource.pop(name, None)
