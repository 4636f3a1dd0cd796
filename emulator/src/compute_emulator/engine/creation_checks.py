"""Why no VM of a template can be created in a zone, whatever capacity and quota there are: its
machine type, accelerator, disk type, image, network or service account does not exist there, does
not fit the others, or may not be used.

Compute Engine checks a template only for itself when it is inserted; these errors are those of its
VMs, in `lastAttempt` and `listErrors`. `group_capacity.py` asks before each attempt. Templates are
immutable, so the answer is computed once for each template, machine type and zone. Two settings of
the `Cloud` change it:

    cloud.catalogue["images"] = ["global/images/family/mine"]       also networks, subnetworks:
                                                                     what the project has of its own
    cloud.service_accounts["llama@*"] = "denied"                    or "missing"

What another project has is not known: its images, networks and subnetworks are taken to exist.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from compute_emulator import keys
from compute_emulator.engine.capacity import Failure
from compute_emulator.engine.cloud import Cloud
from compute_emulator.engine.regions import REGIONS
from compute_emulator.errors import JsonObject
from compute_emulator.keys import PROJECT_NUMBER
from compute_emulator.rules import accelerators, images, machine_types
from compute_emulator.rules.disk_types import DISK_TYPES

INVALID, NOT_FOUND = "INVALID_FIELD_VALUE", "RESOURCE_NOT_FOUND"
DEFAULT_NETWORK = "default"
GOOGLE_ZONES = frozenset(zone for zones in REGIONS.values() for zone in zones)
"""The zones whose hardware is known. Zones that a test made up have everything."""
SERVICE_AGENT = "{number}@cloudservices.gserviceaccount.com"
"""The account as which a managed instance group creates VMs. Source: documentation, "Google APIs
Service Agent"."""


def creation_failure(
    cloud: Cloud, template: JsonObject, machine_type: str, zone: str
) -> Failure | None:
    """The first thing that keeps VMs of the template out of the zone. `machine_type` replaces the
    template's if it is not empty.
    """
    found = cloud.creation_failures
    key = (str(template.get("id", "")), machine_type, zone)
    if key not in found:
        found[key] = next(_failures(cloud, template, machine_type, zone), None)
    return found[key]


def zones_without_hardware(
    cloud: Cloud, template: JsonObject, machine_type: str, zones: tuple[str, ...]
) -> frozenset[str]:
    """The zones that do not have the template's machine type or accelerators at all."""
    found = cloud.zones_without_hardware
    key = (str(template.get("id", "")), machine_type, zones)
    if key not in found:
        properties = template.get("properties", {})
        found[key] = frozenset(
            zone for zone in zones if any(_missing_hardware(cloud, properties, machine_type, zone))
        )
    return found[key]


def _failures(
    cloud: Cloud, template: JsonObject, machine_type: str, zone: str
) -> Iterator[Failure]:
    properties = template.get("properties", {})
    name = machine_type or properties.get("machineType", "")
    yield from _missing_hardware(cloud, properties, machine_type, zone)
    yield from _incompatible_accelerators(properties, name)
    for index, disk in enumerate(properties.get("disks") or []):
        yield from _disk_failures(cloud, disk, index, name, zone)
    for index, interface in enumerate(properties.get("networkInterfaces") or []):
        yield from _network_failures(cloud, interface, index, zone)
    yield from _service_account_failures(cloud, properties)


def _missing_hardware(
    cloud: Cloud, properties: JsonObject, machine_type: str, zone: str
) -> Iterator[Failure]:
    name = machine_type or properties.get("machineType", "")
    if not machine_type_is_in_zone(name, zone):
        url = f"zones/{zone}/machineTypes/{name}"
        why = f"Machine type with name '{name}' does not exist in zone '{zone}'."
        yield Failure(INVALID, f"Invalid value for field 'resource.machineType': '{url}'. {why}")
    for each in properties.get("guestAccelerators") or []:
        kind = each.get("acceleratorType", "")
        if not accelerator_is_in_zone(kind, zone):
            yield _not_found(f"projects/{cloud.project}/zones/{zone}/acceleratorTypes/{kind}")


def machine_type_is_in_zone(name: str, zone: str) -> bool:
    accelerator = accelerators.built_in(name)
    return machine_types.size_of(name) is not None and (
        accelerator is None or accelerator_is_in_zone(accelerator, zone)
    )


def accelerator_is_in_zone(name: str, zone: str) -> bool:
    return accelerators.exists(name) and (
        zone not in GOOGLE_ZONES or accelerators.is_in_zone(name, zone)
    )


def _incompatible_accelerators(properties: JsonObject, machine_type: str) -> Iterator[Failure]:
    cpus, _ = machine_types.size_of(machine_type) or (0, 0)
    for index, each in enumerate(properties.get("guestAccelerators") or []):
        kind, count = each.get("acceleratorType", ""), int(each.get("acceleratorCount", 0))
        problem = accelerators.count_problem(kind, count, cpus)
        if not accelerators.can_attach(machine_type, kind):
            yield Failure(
                "UNSUPPORTED_OPERATION",
                f"[{machine_type}, {kind}] features are not compatible for creating instance.",
            )
        elif problem is not None:
            field = f"resource.guestAccelerators[{index}].acceleratorCount"
            yield Failure(INVALID, f"Invalid value for field '{field}': '{count}'. {problem}")


def _disk_failures(
    cloud: Cloud, disk: JsonObject, index: int, machine_type: str, zone: str
) -> Iterator[Failure]:
    params = disk.get("initializeParams") or {}
    if disk.get("boot") and index > 0:
        why = "Boot disk must be the first disk attached to the instance."
        yield Failure(INVALID, f"Invalid value for field 'resource.disks[{index}]': ''. {why}")
    disk_type = params.get("diskType", "").rpartition("/")[2]
    if disk_type and disk_type not in DISK_TYPES:
        yield _not_found(f"projects/{cloud.project}/zones/{zone}/diskTypes/{disk_type}")
    if disk_type and not machine_types.takes_disk(machine_type, disk_type):
        yield Failure(
            "UNSUPPORTED_OPERATION",
            f"{disk_type} disk type cannot be used by {machine_type} machine type.",
        )
    url = params.get("sourceImage", "")
    if not url:
        if disk.get("boot") and not (params.get("sourceSnapshot") or disk.get("source")):
            why = "Boot disk must have a source specified"
            yield Failure(INVALID, f"Invalid value for field 'resource.disks[{index}]': ''. {why}")
        return
    architecture = image_architecture(cloud, url)
    if architecture is None:
        field = f"resource.disks[{index}].initializeParams.sourceImage"
        yield _unknown_reference(field, cloud, url, "image")
    elif disk.get("boot") and architecture != machine_types.architecture_of(machine_type):
        yield Failure(
            "INVALID_USAGE",
            f"Invalid resource usage: 'Requested boot disk architecture ({architecture}) is not"
            " compatible with machine type architecture"
            f" ({machine_types.architecture_of(machine_type)}).'.",
        )


def image_architecture(cloud: Cloud, url: str) -> str | None:
    """The architecture of an image or family; None if there is no such image."""
    project, key = keys.project_of(url) or cloud.project, keys.parse(url)
    if key is None:
        return None
    name = key.name.removeprefix("family/")
    if project in images.FAMILIES:
        is_family = key.name.startswith("family/")
        image = (images.latest_of if is_family else images.image_named)(project, name)
        return None if image is None else image.architecture
    if project == cloud.project and not _has(cloud, "images", key):
        return None
    return images.Image(project, name, name).architecture


def _network_failures(
    cloud: Cloud, interface: JsonObject, index: int, zone: str
) -> Iterator[Failure]:
    where = f"resource.networkInterfaces[{index}]"
    for member in ("network", "subnetwork"):
        url = interface.get(member, "")
        key = keys.parse(url)
        if not url or keys.project_of(url) not in (None, cloud.project):
            continue
        if key is None or not (key.name == DEFAULT_NETWORK or _has(cloud, f"{member}s", key)):
            yield _unknown_reference(f"{where}.{member}", cloud, url, member)


def _has(cloud: Cloud, collection: str, key: keys.Key) -> bool:
    return any(keys.parse(each) == key for each in cloud.catalogue.get(collection, ()))


def _service_account_failures(cloud: Cloud, properties: JsonObject) -> Iterator[Failure]:
    for account in properties.get("serviceAccounts") or []:
        email = account.get("email", "")
        state = next(
            (state for glob, state in cloud.service_accounts.items() if fnmatchcase(email, glob)),
            None,
        )
        if state == "missing":
            message = f"The resource '{email}' of type 'serviceAccount' was not found."
            yield Failure("EXTERNAL_RESOURCE_NOT_FOUND", message)
        if state == "denied":
            agent = SERVICE_AGENT.format(number=PROJECT_NUMBER)
            yield Failure(
                "SERVICE_ACCOUNT_ACCESS_DENIED",
                f"The user does not have access to service account '{email}'.  User: '{agent}'. "
                " Ask a project owner to grant you the iam.serviceAccountUser role on the service"
                " account",
            )


def _unknown_reference(field: str, cloud: Cloud, url: str, word: str) -> Failure:
    key = keys.parse(url)
    path = url if key is None else keys.path(keys.project_of(url) or cloud.project, key)
    why = f"The referenced {word} resource cannot be found."
    return Failure(INVALID, f"Invalid value for field '{field}': '{path}'. {why}")


def _not_found(path: str) -> Failure:
    return Failure(NOT_FOUND, f"The resource '{path}' was not found")
