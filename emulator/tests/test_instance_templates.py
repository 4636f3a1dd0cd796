"""The contents of instance templates."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from emulator.tests.clients import PROJECT, REGION, Clients, template


def insert(clients: Clients, given: Any) -> Any:
    templates = clients.of(compute_v1.InstanceTemplatesClient)
    clients.done(templates.insert_unary(project=PROJECT, instance_template_resource=given))
    return templates.get(project=PROJECT, instance_template=given.name).properties


def test_scheduling_gets_its_defaults(clients: Clients) -> None:
    plain = insert(clients, template("plain")).scheduling
    assert (plain.on_host_maintenance, plain.automatic_restart, plain.provisioning_model) == (
        "MIGRATE",
        True,
        "STANDARD",
    )
    spot = insert(
        clients, template("spot", scheduling=compute_v1.Scheduling(provisioning_model="SPOT"))
    ).scheduling
    assert (spot.on_host_maintenance, spot.automatic_restart, spot.preemptible) == (
        "TERMINATE",
        False,
        True,
    )


L4 = [compute_v1.AcceleratorConfig(accelerator_type="nvidia-l4", accelerator_count=1)]
T4 = [compute_v1.AcceleratorConfig(accelerator_type="nvidia-tesla-t4", accelerator_count=1)]
STOPS = compute_v1.Scheduling(on_host_maintenance="TERMINATE")


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({"machine_type": "zones/us-central1-a/machineTypes/n1-standard-1"}, "not a URL"),
        ({"machine_type": None}, r"Required field 'resource\.properties\.machineType'"),
        ({"disks": []}, r"Required field 'resource\.properties\.disks'"),
        ({"network_interfaces": []}, "networkInterfaces"),
        ({"guest_accelerators": T4}, "do not support live migration"),
        ({"machine_type": "g2-standard-4"}, "do not support live migration"),
        (
            {"machine_type": "g2-standard-4", "guest_accelerators": T4, "scheduling": STOPS},
            "comes with nvidia-l4",
        ),
        (
            {
                "scheduling": compute_v1.Scheduling(
                    provisioning_model="SPOT", automatic_restart=True
                )
            },
            "AutomaticRestart is true",
        ),
        (
            {"metadata": compute_v1.Metadata(items=[{"key": "a", "value": "x" * 262_145}])},
            "too large",
        ),
        (
            {"metadata": compute_v1.Metadata(items=[{"key": "a b", "value": ""}])},
            "Must be a match of regex",
        ),
        ({"metadata": compute_v1.Metadata(items=[{"key": "a"}, {"key": "a"}])}, "must be unique"),
    ],
)
def test_an_invalid_template_is_rejected(clients: Clients, properties: Any, words: str) -> None:
    with pytest.raises(exceptions.BadRequest, match=words):
        insert(clients, template(**properties))


def test_accelerators_must_match_the_machine_type(clients: Clients) -> None:
    l4 = template("l4", machine_type="g2-standard-12", guest_accelerators=L4, scheduling=STOPS)
    assert insert(clients, l4).guest_accelerators[0].accelerator_type == "nvidia-l4"
    assert insert(
        clients, template("t4", guest_accelerators=T4, scheduling=STOPS)
    ).guest_accelerators


def test_templates_can_be_regional(clients: Clients) -> None:
    templates = clients.of(compute_v1.RegionInstanceTemplatesClient)
    clients.done(
        templates.insert_unary(
            project=PROJECT, region=REGION, instance_template_resource=template()
        )
    )
    assert [each.name for each in templates.list(project=PROJECT, region=REGION)] == ["it-v1"]
    assert list(clients.of(compute_v1.InstanceTemplatesClient).list(project=PROJECT)) == []
