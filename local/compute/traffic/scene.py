"""What there is to serve, read from a cloud under its lock: rules with their URL maps, backend services with their VMs.

A scene is a still picture; whether a VM may still be sent to is asked again for each request (`Vm.takes_requests`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from local.compute.backends import named_port, service_check
from local.compute.cloud import Cloud
from local.compute.collections.url_maps import references
from local.compute.errors import JsonObject
from local.compute.groups import Group, group_at
from local.compute.keys import Key, parse
from local.compute.machine import Machine
from local.compute.rules.group import AWAY
from local.compute.rules.health import HEALTHY, Answers
from local.compute.traffic.profile import Profile, changed
from local.compute.traffic.tls import Certificate

LEAVING = AWAY | {"RECREATING"}
PROXIES = ("targetHttpProxies", "targetHttpsProxies")


@dataclass(frozen=True, eq=False)
class Vm:
    """A managed instance whose VM runs; after a restart it is another one."""

    cloud: Cloud
    machine: Machine
    names: dict[str, str]
    profile: Profile

    @property
    def key(self) -> tuple[int, float]:
        return id(self.machine), self.machine.running_since

    def answers(self) -> tuple[bool, bool]:
        """Whether the app in it is alive and ready at this very moment."""
        now, since = self.cloud.clock(), self.machine.running_since
        is_ready = Answers(since, self.machine.ready_turns).at(now)
        return is_ready or Answers(since, self.machine.alive_turns).at(now), is_ready

    @property
    def takes_requests(self) -> bool:
        """New requests go to it no more once it drains or leaves."""
        return self.machine.is_running and not self.machine.is_draining and self.machine.action not in LEAVING


@dataclass(frozen=True)
class Backend:
    """A VM behind a backend service. `weight` is its share of the service's requests."""

    vm: Vm
    group: str
    weight: float
    is_healthy: bool


@dataclass(frozen=True)
class Service:
    """A backend service. `is_classic`: of the load balancer that answers its own errors with 502."""

    key: Key
    timeout_seconds: float
    policy: str
    is_classic: bool
    backends: tuple[Backend, ...]
    resource: JsonObject = field(repr=False)


@dataclass(frozen=True)
class Rule:
    """A forwarding rule that leads to a URL map; with `certificates` if it speaks TLS."""

    key: Key
    is_https: bool
    url_map: JsonObject = field(repr=False)
    certificates: tuple[Certificate, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Scene:
    rules: tuple[Rule, ...] = ()
    services: dict[Key, Service] = field(default_factory=dict)
    vms: dict[tuple[int, float], Vm] = field(default_factory=dict)


def scene_of(cloud: Cloud) -> Scene:
    """The cloud's lock must be held."""
    rules = tuple(_rules(cloud))
    wanted = {key for rule in rules for url in references(rule.url_map) if (key := parse(url)) is not None}
    vms: dict[tuple[int, float], Vm] = {}
    services = {}
    for key in wanted:
        resource = cloud.find(key)
        if resource is not None and key.collection == "backendServices":
            services[key] = _service(cloud, key, resource, vms)
    return Scene(rules, services, vms)


def _rules(cloud: Cloud) -> Iterator[Rule]:
    for scope in cloud.scopes_with("forwardingRules"):
        for rule in cloud.all_in(scope, "forwardingRules"):
            proxy = parse(rule["target"])
            if proxy is None or proxy.collection not in PROXIES:
                continue
            resource = cloud.find(proxy) or {}
            url_map = parse(resource.get("urlMap", ""))
            found = cloud.find(url_map) if url_map is not None else None
            if found is not None:
                is_https = proxy.collection == "targetHttpsProxies"
                yield Rule(cloud.key_of(rule["selfLink"]), is_https, found, tuple(_certificates(cloud, resource)))


def _certificates(cloud: Cloud, proxy: JsonObject) -> Iterator[Certificate]:
    """In the order of the proxy; the first is its primary one."""
    for url in proxy.get("sslCertificates") or []:
        key = cloud.key_of(url)
        found = cloud.find(key) or {}
        if found.get("type") == "MANAGED":
            yield Certificate(domains=tuple(found["managed"]["domains"]))
        elif found:
            yield Certificate(found["certificate"], cloud.private_keys.get(key, ""))


def _service(cloud: Cloud, key: Key, resource: JsonObject, vms: dict[tuple[int, float], Vm]) -> Service:
    backends: list[Backend] = []
    check = service_check(cloud, resource)
    for each in resource.get("backends") or []:
        group = group_at(cloud, cloud.key_of(each["group"]))
        if group is None:
            continue
        share = float(each.get("capacityScaler", 1.0)) * float(each.get("maxRatePerInstance") or 1.0)
        port = named_port(group, resource)
        for machine in group.machines.values():
            if not machine.is_running or not machine.running_since:
                continue
            vm = _vm(cloud, group, machine)
            vm = vms.setdefault(vm.key, vm)
            is_healthy = bool(port) and (check is None or machine.ready(check) == HEALTHY)
            backends.append(Backend(vm, f"{group.region}/{group.key.name}", share, is_healthy))
    return Service(
        key=key,
        timeout_seconds=float(resource.get("timeoutSec", 30)),
        policy=resource.get("localityLbPolicy", "ROUND_ROBIN"),
        is_classic=resource.get("loadBalancingScheme") == "EXTERNAL",
        backends=tuple(backends),
        resource=resource,
    )


def _vm(cloud: Cloud, group: Group, machine: Machine) -> Vm:
    names = {
        "group": group.key.name,
        "template": machine.revision.template.rpartition("/")[2],
        "version": machine.revision.name or "",
        "zone": machine.zone,
        "name": machine.name,
    }
    return Vm(cloud, machine, names, changed(machine.behaviour.profile, cloud.traffic, names))
