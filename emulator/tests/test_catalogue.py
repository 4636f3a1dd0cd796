"""Resources that Google provides: regions, zones, machine types, images, networks."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from compute_emulator import VirtualClock
from emulator.tests.clients import PROJECT, REGION, Clients
from emulator.tests.fleet import Fleet


def test_regions_list_their_zones(clients: Clients) -> None:
    region = clients.of(compute_v1.RegionsClient).get(project=PROJECT, region="us-central1")
    assert [url.rpartition("/")[2] for url in region.zones] == [
        f"us-central1-{letter}" for letter in "abcf"
    ]
    zone = clients.of(compute_v1.ZonesClient).get(project=PROJECT, zone="us-central1-f")
    assert zone.region == region.self_link
    with pytest.raises(exceptions.NotFound):
        clients.of(compute_v1.RegionsClient).get(project=PROJECT, region="moon-1")


def test_a_region_reports_its_quotas_and_their_usage(clients: Clients, clock: VirtualClock) -> None:
    limits = {
        "CPUS": 24,
        f"{REGION}/CPUS": 8,
        "INSTANCES": 100,
        "N2_CPUS": 4,
        "G2_CPUS": 4,
        "GPUS_ALL_REGIONS": 1,
    }
    clients.cloud.quotas.update(limits)
    fleet = Fleet(clients, clock)
    fleet.create(3)
    fleet.settle()

    def usage(resource: Any) -> dict[str, tuple[float, float]]:
        return {each.metric: (each.limit, each.usage) for each in resource.quotas}

    regions = clients.of(compute_v1.RegionsClient)
    here, elsewhere = (regions.get(project=PROJECT, region=name) for name in (REGION, "us-east1"))
    assert usage(here) == {"CPUS": (8, 3), "INSTANCES": (100, 3), "N2_CPUS": (4, 0)}
    assert usage(elsewhere) == {"CPUS": (24, 0), "INSTANCES": (100, 0), "N2_CPUS": (4, 0)}
    assert usage(clients.of(compute_v1.ProjectsClient).get(project=PROJECT)) == {
        "GPUS_ALL_REGIONS": (1, 0)
    }


def test_machine_types_have_cpus_and_memory(clients: Clients) -> None:
    machine_types = clients.of(compute_v1.MachineTypesClient)
    found = machine_types.get(project=PROJECT, zone="us-central1-a", machine_type="n1-standard-4")
    assert (found.guest_cpus, found.memory_mb) == (4, 15_360)
    with pytest.raises(exceptions.NotFound):
        machine_types.get(project=PROJECT, zone="us-central1-a", machine_type="abacus-1")
    assert "g2-standard-12" in [
        each.name for each in machine_types.list(project=PROJECT, zone="us-central1-a")
    ]


def test_an_image_family_returns_an_image_of_another_project(clients: Clients) -> None:
    image = clients.of(compute_v1.ImagesClient).get_from_family(
        project="cos-cloud", family="cos-121-lts"
    )
    assert image.self_link.endswith("projects/cos-cloud/global/images/cos-121-lts-v20260101")


def test_accelerators_networks_and_the_project_exist(clients: Clients) -> None:
    accelerators = clients.of(compute_v1.AcceleratorTypesClient).list(
        project=PROJECT, zone="us-central1-a"
    )
    assert "nvidia-l4" in [each.name for each in accelerators]
    assert (
        clients.of(compute_v1.NetworksClient).get(project=PROJECT, network="default").name
        == "default"
    )
    assert clients.of(compute_v1.ProjectsClient).get(project=PROJECT).name == PROJECT


def test_there_are_no_instances_before_a_group_creates_some(clients: Clients) -> None:
    assert (
        list(clients.of(compute_v1.InstancesClient).list(project=PROJECT, zone="us-central1-a"))
        == []
    )
    with pytest.raises(exceptions.NotFound):
        clients.of(compute_v1.InstancesClient).get(
            project=PROJECT, zone="us-central1-a", instance="vm"
        )
