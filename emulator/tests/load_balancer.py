"""A complete load balancer, from forwarding rule to VMs, with the data plane on, for real requests
in tests.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import requests
from google.cloud import compute_v1

from compute_emulator.keys import Key
from compute_emulator.traffic.data_plane import DataPlane
from compute_emulator.traffic.load_generator import Report, load
from emulator.tests.clients import PROJECT
from emulator.tests.fleet import Fleet

SERVICES = "global/backendServices/"
RULE = Key("global", "forwardingRules", "fr")


class LoadBalancer:
    """`fleet` is the group `tiny` behind the backend service `bs`, the default of the URL map
    `um`.
    """

    def __init__(self, fleet: Fleet, plane: DataPlane) -> None:
        self.fleet, self.plane, self.cloud, self.clients = fleet, plane, fleet.cloud, fleet.clients

    # Building

    def route(self, **members: Any) -> None:
        """Replace the contents of the URL map, apart from its name."""
        maps = self.clients.of(compute_v1.UrlMapsClient)
        kept = maps.get(project=PROJECT, url_map="um")
        resource = compute_v1.UrlMap({"name": "um", "fingerprint": kept.fingerprint} | members)
        self._done(maps.update_unary(project=PROJECT, url_map="um", url_map_resource=resource))

    def second(
        self, template: str = "v2", size: int = 3, service: str = "bs2", **members: Any
    ) -> Fleet:
        """Add another group, `other`, behind its own backend service."""
        other = copy.copy(self.fleet)
        other.name = "other"
        other.create(
            size,
            versions=[
                compute_v1.InstanceGroupManagerVersion(
                    instance_template=f"global/instanceTemplates/{template}"
                )
            ],
        )
        other.serve(name=service, **members)
        self.settle()
        return other

    def change_service(self, service: str = "bs", **members: Any) -> None:
        services = self.clients.of(compute_v1.BackendServicesClient)
        kept = services.get(project=PROJECT, backend_service=service)
        resource = compute_v1.BackendService({"fingerprint": kept.fingerprint} | members)
        self._done(
            services.patch_unary(
                project=PROJECT, backend_service=service, backend_service_resource=resource
            )
        )
        if "backends" in members:
            self.run(60)  # until the service's check has seen new groups

    def settle(self) -> None:
        """Wait until the groups are stable and their health has reached the data plane."""
        self.fleet.settle()
        self.run(60)

    def run(self, seconds: float) -> None:
        self.fleet.run(seconds)
        self.plane.refresh()

    def _done(self, operation: Any) -> None:
        self.fleet.done(operation)
        self.plane.refresh()

    # Using

    @property
    def url(self) -> str:
        url = self.plane.url_of(RULE)
        assert url is not None
        return url

    def get(self, path: str = "/", **members: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=120, allow_redirects=False, **members)

    def releases(self, count: int, path: str = "/") -> Counter[str]:
        """How many of `count` requests each release answered."""
        return self.load(path, most=count, seconds=60).releases

    def load(self, path: str = "/", **members: Any) -> Report:
        return asyncio.run(load(self.url + path, **members))

    def service_instances(self, service: str = "bs") -> list[Any]:
        """The VMs of a backend service as `/control/data-plane` lists them."""
        found: list[Any] = self.plane.state()["backend_services"][
            f"projects/{PROJECT}/global/backendServices/{service}"
        ]
        return found


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for a condition that another thread fulfils."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "the condition never became true"
        time.sleep(0.01)


@contextmanager
def load_balancer(
    fleet: Fleet, size: int = 3, drain: int = 30, scheme: str = "EXTERNAL_MANAGED", **backend: Any
) -> Iterator[LoadBalancer]:
    """A settled load balancer with its data plane; all ports are closed at the end."""
    fleet.create(size)
    fleet.serve(drain=drain, **backend)
    clients = fleet.clients
    if scheme != "EXTERNAL_MANAGED":
        services = clients.of(compute_v1.BackendServicesClient)
        kept = services.get(project=PROJECT, backend_service="bs")
        changed = compute_v1.BackendService(
            load_balancing_scheme=scheme, fingerprint=kept.fingerprint
        )
        fleet.done(
            services.patch_unary(
                project=PROJECT, backend_service="bs", backend_service_resource=changed
            )
        )
    url_map = compute_v1.UrlMap(name="um", default_service=SERVICES + "bs")
    proxy = compute_v1.TargetHttpProxy(name="tp", url_map="global/urlMaps/um")
    rule = compute_v1.ForwardingRule(
        name="fr",
        target="global/targetHttpProxies/tp",
        port_range="80",
        load_balancing_scheme=scheme,
    )
    for client, member, resource in (
        (compute_v1.UrlMapsClient, "url_map_resource", url_map),
        (compute_v1.TargetHttpProxiesClient, "target_http_proxy_resource", proxy),
        (compute_v1.GlobalForwardingRulesClient, "forwarding_rule_resource", rule),
    ):
        fleet.done(clients.of(client).insert_unary(project=PROJECT, **{member: resource}))
    with DataPlane(fleet.cloud) as plane:
        made = LoadBalancer(fleet, plane)
        made.settle()
        yield made
