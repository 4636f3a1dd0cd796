"""Apache Libcloud's driver for Compute Engine, unmodified, over HTTP.

It supports global load balancing, templates and instances. It supports only zonal groups, which the
emulator does not have.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from libcloud.common.google import ResourceNotFoundError
from libcloud.compute.providers import get_driver
from libcloud.compute.types import Provider

from compute_emulator import Cloud, ScaledClock, Server, serve
from emulator.tests.clients import names


@pytest.fixture
def server() -> Iterator[Server]:
    with serve(Cloud(clock=ScaledClock(600), operation_seconds=5, check_responses=True)) as running:
        yield running


@pytest.fixture
def driver(server: Server, tmp_path: Path) -> Any:
    """A driver with a token from a file, connected to the emulator."""
    token = tmp_path / "token.json"
    token.write_text(
        json.dumps(
            {"access_token": "t", "token_type": "Bearer", "expire_time": "2099-01-01T00:00:00Z"}
        )
    )
    made: Any = get_driver(Provider.GCE)(
        "somebody@example.com",
        "unused",
        project="demo",
        auth_type="IA",
        credential_file=str(token),
        secure=False,
    )
    made.connection.host, made.connection.port = "127.0.0.1", server.port
    made.connection.connect()
    made.connection.poll_interval = 0.05
    made.zone, made.region = made.ex_get_zone("us-central1-a"), made.ex_get_region("us-central1")
    return made


def test_it_lists_locations_sizes_images_and_networks(driver: Any) -> None:
    assert "us-central1-b" in names(driver.ex_list_zones())
    assert names(driver.ex_get_region("us-central1").zones) == [
        f"us-central1-{zone}" for zone in "abcf"
    ]
    assert "n1-standard-1" in names(driver.list_sizes())
    assert "us-central1-a" in names(driver.list_locations())
    assert any(name.startswith("debian-12") for name in names(driver.list_images()))
    image = driver.ex_get_image_from_family("debian-12", ex_project_list=["debian-cloud"])
    assert image.name.startswith("debian-12")
    assert driver.ex_get_project().name == "demo"
    assert names(driver.ex_list_networks()) == ["default"]
    assert names(driver.ex_list_subnetworks()) == ["default"]
    assert "pd-ssd" in names(driver.ex_list_disktypes())
    for what in ("nodes", "volumes"):
        assert getattr(driver, f"list_{what}")() == []
    for what in (
        "snapshots",
        "routes",
        "targetpools",
        "targetinstances",
        "autoscalers",
        "instancegroupmanagers",
    ):
        assert getattr(driver, f"ex_list_{what}")() == []


def test_it_creates_and_deletes_a_load_balancer(driver: Any) -> None:
    check = driver.ex_create_healthcheck("hc", path="/ready", interval=7)
    service = driver.ex_create_backendservice("bs", healthchecks=[check])
    url_map = driver.ex_create_urlmap("um", "bs")
    proxy = driver.ex_create_targethttpproxy("tp", "um")
    certificate = driver.ex_create_sslcertificate("cert", certificate="---", private_key="---")
    assert certificate
    secure = driver.ex_create_targethttpsproxy(
        "tps", url_map, [driver.ex_get_sslcertificate("cert")]
    )
    address = driver.ex_create_address("front", region="global")
    rule = driver.ex_create_forwarding_rule(
        "fr", target=proxy, address=address, global_rule=True, port_range="80"
    )
    assert driver.ex_get_forwarding_rule("fr", global_rule=True).address == address.address
    assert driver.ex_get_backendservice("bs").healthchecks[0].interval == 7
    assert names(driver.ex_list_urlmaps()) == ["um"]
    assert names(driver.ex_list_targethttpproxies()) == ["tp"]
    assert names(driver.ex_list_targethttpsproxies()) == ["tps"]
    assert names(driver.ex_list_forwarding_rules(global_rules=True)) == ["fr"]
    for destroy, what in (
        (driver.ex_destroy_forwarding_rule, rule),
        (driver.ex_destroy_targethttpproxy, proxy),
        (driver.ex_destroy_targethttpsproxy, secure),
        (driver.ex_destroy_urlmap, url_map),
        (driver.ex_destroy_backendservice, service),
        (driver.ex_destroy_healthcheck, check),
        (driver.ex_destroy_address, address),
    ):
        assert destroy(what)
    assert driver.ex_list_backendservices() == []
    with pytest.raises(ResourceNotFoundError):
        driver.ex_get_urlmap("um")


def test_it_creates_templates_and_firewalls_and_lists_the_instances_of_a_group(
    driver: Any, server: Server
) -> None:
    template = driver.ex_create_instancetemplate(
        "it-v1", size="n1-standard-1", source=None, image="debian-12"
    )
    assert names(driver.ex_list_instancetemplates()) == ["it-v1"]
    firewall = driver.ex_create_firewall("fw", [{"IPProtocol": "tcp", "ports": ["80"]}])
    assert names(driver.ex_list_firewalls()) == ["fw"]
    group = {
        "name": "g",
        "targetSize": 2,
        "versions": [{"instanceTemplate": "global/instanceTemplates/it-v1"}],
    }
    made = requests.post(
        f"{server.url}/compute/v1/projects/demo/regions/us-central1/instanceGroupManagers",
        json=group,
        timeout=10,
    ).json()
    requests.post(
        f"{server.url}/compute/v1/projects/demo/regions/us-central1/operations/{made['name']}/wait",
        timeout=30,
    )
    with server.cloud.lock:
        nodes = server.cloud.changed.wait_for(lambda: len(server.cloud.snapshot()) == 2, timeout=30)
    assert nodes
    nodes = driver.list_nodes(ex_zone="all")
    assert len(nodes) == 2
    assert (
        driver.ex_get_node(nodes[0].name, zone="all").extra["machineType"].endswith("n1-standard-1")
    )
    assert driver.ex_destroy_firewall(firewall)
    with pytest.raises(Exception, match="already being used"):
        driver.ex_destroy_instancetemplate(template)
