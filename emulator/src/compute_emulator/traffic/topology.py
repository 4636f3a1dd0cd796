"""What the data plane serves, read from a cloud under its lock: rules with their URL maps,
backend services with their VMs.

A topology is a consistent snapshot: requests use one topology until the next one is applied, and
VMs that leave keep answering until then. Mixing it with the cloud's newer state would show VMs
that leave without those that replace them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from compute_emulator.engine.backends import attached_since, named_port, service_check
from compute_emulator.engine.cloud import Cloud
from compute_emulator.engine.groups import Group, group_at
from compute_emulator.engine.managed_instance import ManagedInstance
from compute_emulator.engine.references import services_of_url_map
from compute_emulator.errors import JsonObject
from compute_emulator.keys import Key, parse
from compute_emulator.rules.group import AWAY
from compute_emulator.rules.health import HEALTHY, ProbeHistory
from compute_emulator.traffic import unsupported
from compute_emulator.traffic.backend_rates import weight_of
from compute_emulator.traffic.response_profile import ResponseProfile, with_overrides
from compute_emulator.traffic.tls import Certificate

LEAVING = AWAY | {"RECREATING"}
PROXIES = ("targetHttpProxies", "targetHttpsProxies")


@dataclass(frozen=True, eq=False)
class Vm:
    """A managed instance whose VM is running; after a restart it has another `key`.

    `takes_requests`: it gets no new requests once it drains or leaves. `labels`: its template's.
    """

    key: tuple[int, float]
    names: dict[str, str]
    profile: ResponseProfile
    takes_requests: bool
    liveness: ProbeHistory
    readiness: ProbeHistory
    labels: dict[str, str] = field(default_factory=dict)

    def health(self, now: float) -> tuple[bool, bool]:
        """Whether its app is alive and ready. `now` is by the cloud's clock."""
        is_ready = self.readiness.at(now)
        return is_ready or self.liveness.at(now), is_ready


@dataclass(frozen=True)
class Backend:
    """A VM behind a backend service. `weight` is its share of the service's requests; `can_take`
    tells whether it gets new ones: healthy, with capacity, neither draining nor leaving.
    `settings` are the entry of the service that names its group.
    """

    vm: Vm
    group: str
    weight: float
    is_healthy: bool
    can_take: bool
    settings: JsonObject = field(repr=False, default_factory=dict)


@dataclass(frozen=True)
class Service:
    """A backend service. `is_classic`: its load balancer answers its own errors with 502.
    `tiers` are its backends in the order in which they fill up (`backend_capacity.py`).
    `unsupported` says what the data plane does not support of it.
    """

    key: Key
    timeout_seconds: float
    policy: str
    is_classic: bool
    backends: tuple[Backend, ...]
    tiers: tuple[tuple[Backend, ...], ...]
    resource: JsonObject = field(repr=False)
    unsupported: str = ""


@dataclass(frozen=True)
class Rule:
    """A forwarding rule that leads to a URL map; with `certificates` if it uses TLS."""

    key: Key
    is_https: bool
    url_map: JsonObject = field(repr=False)
    certificates: tuple[Certificate, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Topology:
    """`unrouted` are the VMs behind backend services that no served URL map names: they get no new
    requests, but finish those they have.
    """

    rules: tuple[Rule, ...] = ()
    services: dict[Key, Service] = field(default_factory=dict)
    unrouted: frozenset[tuple[int, float]] = frozenset()
    vms: dict[tuple[int, float], Vm] = field(default_factory=dict)


def topology_of(cloud: Cloud) -> Topology:
    """The caller must hold the cloud's lock."""
    rules = tuple(_rules(cloud))
    service_keys = {
        key
        for rule in rules
        for url in services_of_url_map(rule.url_map)
        if (key := parse(url)) is not None
    }
    vms: dict[tuple[int, float], Vm] = {}
    services = {}
    for key in service_keys:
        resource = _served(cloud, key)
        if resource is not None and key.collection == "backendServices":
            services[key] = _service(cloud, key, resource, vms)
    return Topology(rules, services, _unrouted(cloud, services), vms)


def _unrouted(cloud: Cloud, services: dict[Key, Service]) -> frozenset[tuple[int, float]]:
    groups = {
        group
        for group, attached in cloud.attached.items()
        if any(service not in services for service in attached)
    }
    return frozenset(
        _key(instance)
        for group in groups
        if (found := group_at(cloud, group)) is not None
        for instance in found.instances.values()
        if instance.is_running and instance.running_since
    )


def _rules(cloud: Cloud) -> Iterator[Rule]:
    for scope in cloud.scopes_with("forwardingRules"):
        for rule in cloud.list_in(scope, "forwardingRules"):
            proxy = parse(rule.get("target", ""))
            if proxy is None or proxy.collection not in PROXIES:
                continue
            resource = _served(cloud, proxy) or {}
            url_map = parse(resource.get("urlMap", ""))
            found = _served(cloud, url_map) if url_map is not None else None
            if found is not None:
                is_https = proxy.collection == "targetHttpsProxies"
                yield Rule(
                    cloud.key_of(rule["selfLink"]),
                    is_https,
                    found,
                    tuple(_certificates(cloud, resource)),
                )


def _served(cloud: Cloud, key: Key) -> JsonObject | None:
    """The version of a resource that has reached the data plane."""
    return cloud.propagation.served(key, cloud.find(key), cloud.now())


def _certificates(cloud: Cloud, proxy: JsonObject) -> Iterator[Certificate]:
    """In the proxy's order; the first is the primary one."""
    for url in proxy.get("sslCertificates") or []:
        key = cloud.key_of(url)
        found = cloud.find(key) or {}
        if found.get("type") == "MANAGED":
            if found["managed"]["status"] != "ACTIVE":
                continue
            yield Certificate(domains=tuple(found["managed"]["domains"]))
        elif found:
            yield Certificate(found["certificate"], cloud.private_keys.get(key, ""))


def _service(
    cloud: Cloud, key: Key, resource: JsonObject, vms: dict[tuple[int, float], Vm]
) -> Service:
    backends: list[Backend] = []
    tiers: dict[tuple[bool, str], list[Backend]] = {}
    for each in resource.get("backends") or []:
        group = group_at(cloud, cloud.key_of(each["group"]))
        if group is not None:
            found = _backends(cloud, resource, each, group, vms)
            backends += found
            tiers.setdefault((each.get("preference") != "PREFERRED", group.region), []).extend(
                found
            )
    ordered = sorted(
        tiers, key=lambda tier: tier[0]
    )  # preferred first, then by region in the order of the service
    return Service(
        key=key,
        timeout_seconds=float(resource.get("timeoutSec", 30)),
        policy=resource.get("localityLbPolicy", "ROUND_ROBIN"),
        is_classic=resource.get("loadBalancingScheme") == "EXTERNAL",
        backends=tuple(backends),
        tiers=tuple(tuple(tiers[tier]) for tier in ordered),
        resource=resource,
        unsupported=unsupported.in_service(resource),
    )


def _backends(
    cloud: Cloud,
    service: JsonObject,
    settings: JsonObject,
    group: Group,
    vms: dict[tuple[int, float], Vm],
) -> list[Backend]:
    """The VMs of one of a service's backends; adds them to `vms`."""
    check, port = service_check(cloud, service), named_port(group, service)
    since = attached_since(cloud, service, group)
    found = []
    for instance in group.instances.values():
        if instance.is_running and instance.running_since:
            vm = vms.setdefault(_key(instance), _vm(cloud, group, instance))
            found.append(
                (vm, bool(port) and (check is None or instance.readiness(check, since) == HEALTHY))
            )
    able = [is_healthy and vm.takes_requests for vm, is_healthy in found]
    weight, name = weight_of(settings, sum(able)), f"{group.region}/{group.key.name}"
    return [
        Backend(vm, name, weight, is_healthy, can_take and weight > 0, settings)
        for (vm, is_healthy), can_take in zip(found, able, strict=True)
    ]


def _vm(cloud: Cloud, group: Group, instance: ManagedInstance) -> Vm:
    names = {
        "group": group.key.name,
        "template": instance.revision.template.rpartition("/")[2],
        "version": instance.revision.name or "",
        "zone": instance.zone,
        "name": instance.name,
    }
    since = instance.running_since
    properties = group.template(instance.revision).get("properties", {})
    return Vm(
        key=_key(instance),
        names=names,
        profile=with_overrides(instance.behaviour.profile, cloud.traffic, names),
        takes_requests=not instance.is_draining and instance.action not in LEAVING,
        liveness=ProbeHistory(since, instance.liveness_changes),
        readiness=ProbeHistory(since, instance.readiness_changes),
        labels=properties.get("labels", {}),
    )


def _key(instance: ManagedInstance) -> tuple[int, float]:
    return id(instance), instance.running_since
