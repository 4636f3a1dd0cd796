"""Facts about what takes time at Google: URL-map operations, propagation and certificates."""

from __future__ import annotations

from typing import Any

import pytest
from google.cloud import compute_v1

from compute_emulator import VirtualClock
from compute_emulator.traffic.topology import Topology, topology_of
from emulator.tests.clients import PROJECT, Clients, control
from emulator.tests.facts.source import fact
from emulator.tests.fleet import Fleet
from emulator.tests.load_balancer import SERVICES, load_balancer


@pytest.fixture
def routed(fleet: Fleet) -> Fleet:
    """A settled group behind a complete load balancer, without its data plane."""
    with load_balancer(fleet):
        pass
    return fleet


def patch_map(fleet: Fleet, **members: Any) -> Any:
    maps = fleet.clients.of(compute_v1.UrlMapsClient)
    return maps.patch_unary(
        project=PROJECT, url_map="um", url_map_resource=compute_v1.UrlMap(members)
    )


def operation(fleet: Fleet, started: Any) -> Any:
    operations = fleet.clients.of(compute_v1.GlobalOperationsClient)
    return operations.get(project=PROJECT, operation=started.name)


def served(fleet: Fleet) -> Topology:
    with fleet.cloud.lock:
        fleet.cloud.advance()
        return topology_of(fleet.cloud)


def descriptions(fleet: Fleet) -> list[str]:
    return [rule.url_map.get("description", "") for rule in served(fleet).rules]


@fact("API reference, globalOperations: PENDING, RUNNING, DONE", assumed="the queue")
def test_updates_of_one_url_map_run_one_after_the_other(routed: Fleet) -> None:
    routed.cloud.operations.seconds_by_method["compute.urlMaps.*"] = 10
    first, second = (patch_map(routed, description=text) for text in ("a", "b"))
    assert [operation(routed, each).status.name for each in (first, second)] == [
        "RUNNING",
        "PENDING",
    ]
    assert operation(routed, second).start_time == ""
    routed.run(10)
    assert [operation(routed, each).status.name for each in (first, second)] == ["DONE", "RUNNING"]
    routed.run(10)
    done = operation(routed, second)
    assert done.status.name == "DONE"
    assert done.insert_time < done.start_time < done.end_time


@fact("API reference, globalOperations", assumed="other resources do not queue")
def test_operations_on_different_resources_run_at_once(routed: Fleet) -> None:
    services = routed.clients.of(compute_v1.BackendServicesClient)
    started = [
        services.patch_unary(
            project=PROJECT,
            backend_service="bs",
            backend_service_resource=compute_v1.BackendService(
                fingerprint=services.get(project=PROJECT, backend_service="bs").fingerprint,
                timeout_sec=seconds,
            ),
        )
        for seconds in (40, 50)
    ]
    assert {operation(routed, each).status.name for each in started} == {"RUNNING"}


@fact(
    "documentation load-balancing/docs: global changes are eventually consistent",
    assumed="from the end of the operation",
)
def test_the_data_plane_follows_a_url_map_after_the_propagation_time(routed: Fleet) -> None:
    routed.cloud.propagation.seconds = 60
    patch_map(routed, description="new")  # an operation of 2 s
    maps = routed.clients.of(compute_v1.UrlMapsClient)
    assert maps.get(project=PROJECT, url_map="um").description == "new"
    assert descriptions(routed) == [""]
    routed.run(61.9)
    assert descriptions(routed) == [""]
    routed.run(0.2)
    assert descriptions(routed) == ["new"]


@fact(
    "documentation load-balancing/docs: global changes are eventually consistent",
    assumed="order is kept",
)
def test_changes_reach_the_data_plane_in_their_order(routed: Fleet) -> None:
    routed.cloud.propagation.seconds = 60
    patch_map(routed, description="one")
    routed.run(30)
    patch_map(routed, description="two")
    routed.run(33)
    assert descriptions(routed) == ["one"]
    routed.run(30)
    assert descriptions(routed) == ["two"]


@fact(
    "documentation load-balancing/docs: global changes are eventually consistent",
    assumed="backend services too",
)
def test_the_data_plane_follows_a_backend_service_after_the_propagation_time(
    routed: Fleet,
) -> None:
    routed.cloud.propagation.seconds = 60
    services = routed.clients.of(compute_v1.BackendServicesClient)
    kept = services.get(project=PROJECT, backend_service="bs")
    kept.backends = []
    routed.done(
        services.update_unary(project=PROJECT, backend_service="bs", backend_service_resource=kept)
    )
    (service,) = served(routed).services.values()
    assert len(service.backends) == 3
    routed.run(60)
    (service,) = served(routed).services.values()
    assert service.backends == ()


@fact(
    "documentation load-balancing/docs: global changes are eventually consistent",
    assumed="new and deleted ones",
)
def test_a_deleted_service_is_served_until_the_map_without_it_has_arrived(routed: Fleet) -> None:
    routed.serve(name="bs2")
    routed.cloud.propagation.seconds = 60
    routed.done(patch_map(routed, default_service=SERVICES + "bs2"))
    services = routed.clients.of(compute_v1.BackendServicesClient)
    routed.done(services.delete_unary(project=PROJECT, backend_service="bs"))
    assert {key.name for key in served(routed).services} == {"bs"}
    assert len(served(routed).vms) == 3
    routed.run(60)
    assert {key.name for key in served(routed).services} == {"bs2"}


@fact("documentation load-balancing/docs/ssl-certificates/google-managed-certs")
def test_a_managed_certificate_is_provisioning_first(clients: Clients) -> None:
    cloud, certificates = clients.cloud, clients.of(compute_v1.SslCertificatesClient)
    control(cloud, "PUT", "/delays", {"certificate_seconds": 1200})
    managed = compute_v1.SslCertificateManagedSslCertificate(domains=["models.example"])
    resource = compute_v1.SslCertificate(name="c", type_="MANAGED", managed=managed)
    clients.done(certificates.insert_unary(project=PROJECT, ssl_certificate_resource=resource))
    found = certificates.get(project=PROJECT, ssl_certificate="c")
    assert found.managed.status == "PROVISIONING"
    assert found.managed.domain_status == {"models.example": "PROVISIONING"}
    assert found.expire_time == ""
    assert isinstance(cloud.clock, VirtualClock)
    cloud.clock.advance(1200)
    found = certificates.get(project=PROJECT, ssl_certificate="c")
    assert found.managed.status == "ACTIVE"
    assert found.expire_time
