"""The instance template: the machine of a release. Immutable, so its name is the hash of its
content and it has no drift. Pure.

A container runs on Container-Optimized OS through cloud-init; a startup script runs on a plain
image. The files in `startup/` are the same on every machine. User input is passed in separate
metadata items that the machine reads, so it can become neither shell nor YAML. Waits for nothing.
"""

from __future__ import annotations

import hashlib
import json
import pkgutil
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from infra.fleet import naming
from infra.fleet.model import Body, DesiredResource
from rollout.model import Release
from rollout.spec.defaults import boot_image
from rollout.spec.machines import disk_type, has_gpu
from rollout.spec.model import DEFAULT_NETWORK, Artifact, Machine, Serving, Spec

SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def name(model: str, spec: Spec) -> str:
    """`slipway-tiny-1f2e3d4c5b`: the same for two releases that would make the same machine,
    whatever they are called.
    """
    text = json.dumps(_properties(model, spec), sort_keys=True, separators=(",", ":"))
    return naming.template_name(model, hashlib.sha256(text.encode()).hexdigest())


def desired(model: str, release: Release) -> DesiredResource:
    """The template under the name with which the release was accepted, even if its content would
    hash to another one by now.
    """
    properties = _properties(model, release.spec)
    properties["labels"]["slipway-release"] = naming.label_value(release.version)
    body = {
        "name": release.template,
        "description": naming.description(model, "template"),
        "properties": properties,
    }
    return DesiredResource(
        naming.template(release.template),
        body,
        why=f"release {release.version} has no template yet",
    )


def _properties(model: str, spec: Spec) -> Body:
    machine, artifact = spec.machine, spec.artifact
    properties: Body = {
        "machineType": machine.type,
        "disks": [_boot_disk(machine, artifact)],
        "networkInterfaces": [_network(machine)],
        "serviceAccounts": [{"email": machine.service_account or "default", "scopes": [SCOPE]}],
        "scheduling": _scheduling(machine),
        "shieldedInstanceConfig": {
            "enableSecureBoot": machine.shielded_vm.secure_boot,
            "enableVtpm": machine.shielded_vm.vtpm,
            "enableIntegrityMonitoring": machine.shielded_vm.integrity_monitoring,
        },
        "labels": {**machine.labels, "slipway-model": model},
        "metadata": {
            "items": [{"key": key, "value": value} for key, value in sorted(metadata(spec).items())]
        },
    }
    if machine.accelerator:
        accelerator = {
            "acceleratorType": machine.accelerator.type,
            "acceleratorCount": machine.accelerator.count,
        }
        properties["guestAccelerators"] = [accelerator]
    if machine.reservation != "any":
        properties["reservationAffinity"] = _reservation(machine.reservation)
    if machine.tags:
        properties["tags"] = {"items": list(machine.tags)}
    return properties


def _boot_disk(machine: Machine, artifact: Artifact) -> Body:
    source = {
        "sourceImage": machine.image or boot_image(artifact, machine.type),
        "diskSizeGb": str(machine.disk.size_gb),
        "diskType": machine.disk.type or disk_type(machine.type),
    }
    return {
        "boot": True,
        "autoDelete": True,
        "mode": "READ_WRITE",
        "type": "PERSISTENT",
        "initializeParams": source,
    }


def _network(machine: Machine) -> Body:
    """With a subnetwork the default network is omitted: a subnetwork determines its network, which
    may be another one.
    """
    interface: Body = {}
    if machine.subnetwork:
        interface["subnetwork"] = machine.subnetwork
    if not machine.subnetwork or naming.canonical(machine.network) != DEFAULT_NETWORK:
        interface["network"] = machine.network
    if machine.external_ip:
        interface["accessConfigs"] = [{"name": "external-nat", "type": "ONE_TO_ONE_NAT"}]
    return interface


def _reservation(name: str) -> Body:
    """Without it, instances use any reservation that matches. A named one has to have room."""
    if name == "none":
        return {"consumeReservationType": "NO_RESERVATION"}
    key = "compute.googleapis.com/reservation-name"
    return {"consumeReservationType": "SPECIFIC_RESERVATION", "key": key, "values": [name]}


def _scheduling(machine: Machine) -> Body:
    """Machines with GPUs cannot be live-migrated. Spot machines cannot either, and are deleted when
    preempted.
    """
    if machine.spot:
        return {
            "provisioningModel": "SPOT",
            "preemptible": True,
            "automaticRestart": False,
            "onHostMaintenance": "TERMINATE",
            "instanceTerminationAction": "DELETE",
        }
    maintenance = "TERMINATE" if has_gpu(machine) else "MIGRATE"
    return {
        "provisioningModel": "STANDARD",
        "automaticRestart": True,
        "onHostMaintenance": maintenance,
    }


def metadata(spec: Spec) -> dict[str, str]:
    """The machine's metadata: the constant cloud-config, and the user's input in separate items."""
    artifact = spec.artifact
    items = {
        "slipway-port": str(spec.serving.port),
        "slipway-args": _lines(f"={argument}" for argument in artifact.args),
        "slipway-env": _lines(
            _pairs({"PORT": str(spec.serving.port), **_weights(artifact), **artifact.env})
        ),
        "slipway-secrets": _lines(_pairs(artifact.secrets)),
        "slipway-metrics-port": _other_port(spec.serving),
        "slipway-gpu": "true" if has_gpu(spec.machine) else "",
    }
    if artifact.image:
        items |= {
            "slipway-image": artifact.image,
            "user-data": user_data(),
            "slipway-shm-mb": str(artifact.shm_size_mb or ""),
            "slipway-ulimits": _lines(
                f"{name}={limit}" for name, limit in vars(artifact.ulimits).items()
            ),
            "google-logging-enabled": "true",
            "google-monitoring-enabled": "true",
        }
    elif artifact.startup_script:
        items["startup-script"] = artifact.startup_script
    return {key: value for key, value in items.items() if value}


def _other_port(serving: Serving) -> str:
    """The port of its metrics, if it has one of their own."""
    port = serving.metrics_port
    return str(port) if port and port != serving.port else ""


def _weights(artifact: Artifact) -> dict[str, str]:
    return {"MODEL_WEIGHTS": artifact.weights} if artifact.weights else {}


def _pairs(values: Mapping[str, str]) -> Iterable[str]:
    return (f"{key}={value}" for key, value in sorted(values.items()))


def _lines(items: Iterable[str]) -> str:
    lines = list(items)
    if any(character in line for line in lines for character in "\n\r\0"):
        raise ValueError(
            "args, env and secrets are passed line by line and cannot contain line breaks;"
            " validation refuses them"
        )
    return "\n".join(lines)


@cache
def user_data() -> str:
    """The cloud-config of every machine with a container, assembled from `startup/`. A constant."""
    text = _text("cloud-config.yaml")
    for part in ("serve.sh", "slipway.service"):
        text = text.replace(
            f"      @{part}@\n", "".join(_indent(line) for line in _text(part).splitlines())
        )
    return text


def _indent(line: str) -> str:
    return f"      {line}\n" if line else "\n"


def _text(file: str) -> str:
    content: Any = pkgutil.get_data(__package__, f"startup/{file}")
    return str(content, "utf-8")
