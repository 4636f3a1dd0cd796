"""A group as a load balancer sees it: the health of its VMs and the port they serve on."""

from __future__ import annotations

from compute_emulator.engine.cloud import Cloud
from compute_emulator.engine.group_intent import check_of
from compute_emulator.engine.groups import Group, group_at
from compute_emulator.engine.managed_instance import ManagedInstance
from compute_emulator.errors import JsonObject
from compute_emulator.keys import Key, parse
from compute_emulator.rules.group import AWAY
from compute_emulator.rules.health import HEALTHY, UNKNOWN, Check


def group_health(cloud: Cloud, service: JsonObject, group: Key | str) -> list[JsonObject]:
    """The `healthStatus` of a group's VMs by the backend service's own check: readiness, not the
    group's liveness check.

    VMs that are not running, not probed yet, or leaving are not listed. A group without the
    service's named port has no healthy VM.
    """
    found = group_at(cloud, cloud.key_of(group) if isinstance(group, str) else group)
    if found is None:
        return []
    check = service_check(cloud, service)
    port = named_port(found, service)
    since = attached_since(cloud, service, found)
    entries = []
    for instance in found.instances.values():
        verdict = instance.readiness(check, since) if check is not None else HEALTHY
        if instance.action in AWAY or not instance.is_running or verdict == UNKNOWN:
            continue
        entries.append(
            _entry(cloud, instance, "HEALTHY" if verdict == HEALTHY and port else "UNHEALTHY", port)
        )
    return entries


def _entry(cloud: Cloud, instance: ManagedInstance, state: str, port: int) -> JsonObject:
    interfaces = (instance.resource or {}).get("networkInterfaces") or [{}]
    entry: JsonObject = {
        "healthState": state,
        "instance": cloud.link(*instance.key),
        "ipAddress": interfaces[0].get("networkIP", ""),
    }
    return entry | ({"port": port} if port else {})


def attached_since(cloud: Cloud, service: JsonObject, group: Group) -> float:
    """When the service began to probe the group's VMs: when the group became its backend. Source:
    kubernetes/ingress-gce#554 and #1398: `healthStatus` is empty until probes ran.
    """
    group_key = Key(group.key.scope, "instanceGroups", group.key.name)
    return cloud.attached.get(group_key, {}).get(cloud.key_of(service["selfLink"]), 0.0)


def service_check(cloud: Cloud, service: JsonObject) -> Check | None:
    urls = service.get("healthChecks") or []
    return check_of(cloud, parse(urls[0])) if urls else None


def named_port(group: Group, service: JsonObject) -> int:
    """The port on the group's VMs that the service sends to; 0 if the group has no port of that
    name.
    """
    named = group.instance_group.get("namedPorts") or []
    port_name = service.get("portName", "http")
    return next((int(each["port"]) for each in named if each.get("name") == port_name), 0)
