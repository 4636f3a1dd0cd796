"""Facts about a group's VMs: properties from the template, and defaults."""

from __future__ import annotations

from typing import Any

import pytest
from google.cloud import compute_v1

from emulator.tests.clients import PROJECT
from emulator.tests.facts.source import fact
from emulator.tests.fleet import Fleet, version


def vm_of(fleet: Fleet, **properties: Any) -> Any:
    """The only VM of a group whose template has these properties."""
    fleet.template("special", **properties)
    fleet.create(size=1, versions=[version("special")])
    fleet.settle()
    [made] = fleet.instances()
    zone, name = made.instance.split("/zones/")[1].split("/instances/")
    return fleet.clients.of(compute_v1.InstancesClient).get(
        project=PROJECT, zone=zone, instance=name
    )


@fact(
    "API reference, ShieldedInstanceConfig: enableSecureBoot false, enableVtpm and"
    " enableIntegrityMonitoring true by default"
)
def test_a_vm_has_a_vtpm_and_is_monitored_by_default(fleet: Fleet) -> None:
    kept = vm_of(
        fleet, shielded_instance_config=compute_v1.ShieldedInstanceConfig(enable_secure_boot=True)
    )
    shielded = kept.shielded_instance_config
    assert (
        shielded.enable_secure_boot,
        shielded.enable_vtpm,
        shielded.enable_integrity_monitoring,
    ) == (True, True, True)
    assert kept.reservation_affinity.consume_reservation_type == "ANY_RESERVATION"


@fact("API reference, ShieldedInstanceConfig.enableSecureBoot: false by default")
def test_secure_boot_is_off_by_default(fleet: Fleet) -> None:
    shielded = vm_of(fleet).shielded_instance_config
    assert (
        shielded.enable_secure_boot,
        shielded.enable_vtpm,
        shielded.enable_integrity_monitoring,
    ) == (False, True, True)


@fact(
    "API reference, networkInterfaces[].accessConfigs: with one the VM has an external address,"
    " otherwise it has none"
)
@pytest.mark.parametrize(
    ("access_configs", "types"), [([compute_v1.AccessConfig()], ["ONE_TO_ONE_NAT"]), ([], [])]
)
def test_a_vm_has_an_external_address_only_on_request(
    fleet: Fleet, access_configs: list[Any], types: list[str]
) -> None:
    interface = compute_v1.NetworkInterface(
        network="global/networks/default", access_configs=access_configs
    )
    configs = vm_of(fleet, network_interfaces=[interface]).network_interfaces[0].access_configs
    assert [each.type_ for each in configs] == types
    assert all(each.nat_i_p for each in configs)


@fact(
    "API reference, InstanceProperties: minCpuPlatform, advancedMachineFeatures,"
    " confidentialInstanceConfig, reservationAffinity"
)
def test_a_vm_has_the_properties_of_its_template(fleet: Fleet) -> None:
    affinity = compute_v1.ReservationAffinity(
        consume_reservation_type="SPECIFIC_RESERVATION",
        key="compute.googleapis.com/reservation-name",
        values=["mine"],
    )
    kept = vm_of(
        fleet,
        min_cpu_platform="Intel Skylake",
        advanced_machine_features=compute_v1.AdvancedMachineFeatures(threads_per_core=1),
        confidential_instance_config=compute_v1.ConfidentialInstanceConfig(
            enable_confidential_compute=True
        ),
        reservation_affinity=affinity,
    )
    assert (kept.min_cpu_platform, kept.advanced_machine_features.threads_per_core) == (
        "Intel Skylake",
        1,
    )
    assert kept.confidential_instance_config.enable_confidential_compute
    assert kept.reservation_affinity == affinity
