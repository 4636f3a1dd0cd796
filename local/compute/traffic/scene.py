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
from local.compute.traffic.rates import weight_of
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
    """A VM behind a backend service. `weight` is its share of the service's requests; `settings` are those of the entry in the
    service that names its group.
    """

    vm: Vm
    group: str
    weight: float
    is_healthy: bool
    settings: JsonObject = field(repr=False, default_factory=dict)

    @property
    def can_take(self) -> bool:
        """Whether new requests go to it: healthy, with capacity, neither draining nor leaving."""
        return self.is_healthy and self.weight > 0 and self.vm.takes_requests


@dataclass(frozen=True)
class Service:
    """A backend service. `is_classic`: of the load balancer that answers its own errors with 502. `tiers` are its backends in the
    order in which they are filled up: `room.py`.
    """

    key: Key
    timeout_seconds: float
    policy: str
    is_classic: bool
    backends: tuple[Backend, ...]
    tiers: tuple[tuple[Backend, ...], ...]
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
    tiers: dict[tuple[bool, str], list[Backend]] = {}
    for each in resource.get("backends") or []:
        group = group_at(cloud, cloud.key_of(each["group"]))
        if group is not None:
            found = _backends(cloud, resource, each, group, vms)
            backends += found
            tiers.setdefault((each.get("preference") != "PREFERRED", group.region), []).extend(found)
    ordered = sorted(tiers, key=lambda tier: tier[0])  # preferred first; of each, regions in the order of the service
    return Service(
        key=key,
        timeout_seconds=float(resource.get("timeoutSec", 30)),
        policy=resource.get("localityLbPolicy", "ROUND_ROBIN"),
        is_classic=resource.get("loadBalancingScheme") == "EXTERNAL",
        backends=tuple(backends),
        tiers=tuple(tuple(tiers[tier]) for tier in ordered),
        resource=resource,
    )


def _backends(
    cloud: Cloud, service: JsonObject, settings: JsonObject, group: Group, vms: dict[tuple[int, float], Vm]
) -> list[Backend]:
    """The VMs of one of a service's backends, put into `vms` too."""
    check, port = service_check(cloud, service), named_port(group, service)
    running = [machine for machine in group.machines.values() if machine.is_running and machine.running_since]
    found = []
    for machine in running:
        vm = _vm(cloud, group, machine)
        vm = vms.setdefault(vm.key, vm)
        found.append((vm, bool(port) and (check is None or machine.ready(check) == HEALTHY)))
    weight = weight_of(settings, sum(is_healthy and vm.takes_requests for vm, is_healthy in found))
    return [Backend(vm, f"{group.region}/{group.key.name}", weight, is_healthy, settings) for vm, is_healthy in found]


def _vm(cloud: Cloud, group: Group, machine: Machine) -> Vm:
    names = {
        "group": group.key.name,
        "template": machine.revision.template.rpartition("/")[2],
        "version": machine.revision.name or "",
        "zone": machine.zone,
        "name": machine.name,
    }
    return Vm(cloud, machine, names, changed(machine.behaviour.profile, cloud.traffic, names))
