"""Facts about the ranges and forms of fields that the reference states only in descriptions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from emulator.tests.clients import send
from emulator.tests.facts.helpers import BASE, GROUPS
from emulator.tests.facts.source import fact
from emulator.tests.fleet import Fleet

COS = "projects/cos-cloud/global/images/family/cos-stable"
NETWORK = {"network": "global/networks/default"}
NAT = {"type": "ONE_TO_ONE_NAT"}


def refused_field(fleet: Fleet, path: str, body: dict[str, Any]) -> str:
    """The field that an insert is refused for."""
    status, answer = send(fleet.cloud, "POST", path, {"name": "x", **body})
    assert (status, answer["error"]["errors"][0]["reason"]) == (400, "invalid")
    return str(answer["error"]["message"].split("'")[1])


def template(**properties: Any) -> dict[str, Any]:
    disk = {"boot": True, "initializeParams": {"sourceImage": COS}}
    usual = {"machineType": "e2-small", "disks": [disk], "networkInterfaces": [NETWORK]}
    return {"properties": usual | properties}


@fact(
    "API reference, initializeParams.diskSizeGb: at least 10 GB; networkInterfaces.accessConfigs:"
    " only one, ONE_TO_ONE_NAT",
    assumed="the template is refused",
)
@pytest.mark.parametrize(
    ("properties", "field"),
    [
        (
            {"disks": [{"boot": True, "initializeParams": {"diskSizeGb": "9"}}]},
            "disks[0].initializeParams.diskSizeGb",
        ),
        (
            {"networkInterfaces": [NETWORK | {"accessConfigs": [NAT, NAT]}]},
            "networkInterfaces[0].accessConfigs",
        ),
        (
            {"networkInterfaces": [NETWORK | {"accessConfigs": [{"type": "DIRECT_IPV6"}]}]},
            "networkInterfaces[0].accessConfigs[0].type",
        ),
    ],
)
def test_disks_and_access_configs_of_templates(
    fleet: Fleet, properties: dict[str, Any], field: str
) -> None:
    path = f"{BASE}/global/instanceTemplates"
    assert refused_field(fleet, path, template(**properties)) == f"resource.properties.{field}"


@fact(
    "API reference, initializeParams.sourceImage: it, a snapshot or a source is required",
    assumed="a group reports it for each VM",
)
def test_a_boot_disk_needs_a_source(fleet: Fleet) -> None:
    body = {"name": "bare"} | template(disks=[{"boot": True}])
    send(fleet.cloud, "POST", f"{BASE}/global/instanceTemplates", body)
    fleet.clock.advance(60)
    fleet.create(size=1, versions=[{"instance_template": "global/instanceTemplates/bare"}])
    fleet.run(10)
    (listed,) = send(fleet.cloud, "GET", f"{GROUPS}/tiny/listErrors")[1]["items"][:1]
    assert "Boot disk must have a source specified" in listed["error"]["message"]


@fact(
    "API reference: timeoutSec 1 to 2,147,483,647; affinityCookieTtlSec at most two weeks;"
    " logConfig.sampleRate 0 to 1"
)
@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"timeoutSec": 0}, "timeoutSec"),
        ({"affinityCookieTtlSec": 1_209_601}, "affinityCookieTtlSec"),
        ({"logConfig": {"enable": True, "sampleRate": 1.5}}, "logConfig.sampleRate"),
        (
            {"backends": [{"balancingMode": "RATE", "maxRatePerInstance": -1.0}]},
            "backends[0].maxRatePerInstance",
        ),
    ],
)
def test_ranges_of_backend_services(fleet: Fleet, members: dict[str, Any], field: str) -> None:
    body = {"protocol": "HTTP", "loadBalancingScheme": "EXTERNAL_MANAGED", **members}
    assert refused_field(fleet, f"{BASE}/global/backendServices", body) == f"resource.{field}"


@fact("API reference, NamedPort: port 1 to 65535, name of 1 to 63 characters by RFC 1035")
@pytest.mark.parametrize(
    ("port", "field"),
    [
        ({"name": "http", "port": 0}, "namedPorts[0]"),
        ({"name": "http", "port": 65_536}, "namedPorts[0]"),
        ({"name": "Bad Name", "port": 80}, "namedPorts[0].name"),
    ],
)
def test_named_ports_of_new_groups(fleet: Fleet, port: dict[str, Any], field: str) -> None:
    versions = [{"instanceTemplate": "global/instanceTemplates/v1"}]
    body = {"targetSize": 0, "versions": versions, "namedPorts": [port]}
    assert refused_field(fleet, GROUPS, body) == f"resource.{field}"


@fact(
    "API reference, FixedOrPercent.percent: 0 to 100; scalingSchedules.minRequiredReplicas and"
    " coolDownPeriodSec are sizes and durations",
    assumed="negative ones are refused",
)
@pytest.mark.parametrize(
    ("members", "field"),
    [
        (
            {"scaleInControl": {"maxScaledInReplicas": {"percent": 101}}},
            "scaleInControl.maxScaledInReplicas.percent",
        ),
        ({"coolDownPeriodSec": -1}, "coolDownPeriodSec"),
        (
            {"scalingSchedules": {"s": {"schedule": "0 8 * * *", "minRequiredReplicas": -1}}},
            "scalingSchedules[s].minRequiredReplicas",
        ),
    ],
)
def test_ranges_of_autoscalers(six: Fleet, members: dict[str, Any], field: str) -> None:
    body = {
        "target": "regions/us-central1/instanceGroupManagers/tiny",
        "autoscalingPolicy": {"maxNumReplicas": 3, **members},
    }
    path = f"{BASE}/regions/us-central1/autoscalers"
    assert refused_field(six, path, body) == f"resource.autoscalingPolicy.{field}"


@fact("API reference, hostRules.hosts: * is the first character, followed by - or . or nothing")
@pytest.mark.parametrize("host", ["a*.example.com", "*a.example.com", "*.example.*"])
def test_host_patterns_begin_with_their_asterisk(fleet: Fleet, host: str) -> None:
    service = {"name": "bs", "protocol": "HTTP", "loadBalancingScheme": "EXTERNAL_MANAGED"}
    send(fleet.cloud, "POST", f"{BASE}/global/backendServices", service)
    fleet.clock.advance(60)
    matcher = {"name": "m", "defaultService": "global/backendServices/bs"}
    body = {
        "defaultService": "global/backendServices/bs",
        "hostRules": [{"hosts": [host], "pathMatcher": "m"}],
        "pathMatchers": [matcher],
    }
    assert refused_field(fleet, f"{BASE}/global/urlMaps", body) == "resource.hostRules[0].hosts"


@fact(
    "Recorded answers of the real service (Config Connector, bs-global): capacityScaler is 1",
    assumed="a number that was sent as text, or as 1.0, is also returned as 1",
)
@pytest.mark.parametrize("sent", [1, 1.0, "1", "1.0"])
def test_a_whole_number_is_returned_without_a_fraction(six: Fleet, sent: object) -> None:
    backend = {"group": "regions/us-central1/instanceGroups/tiny", "capacityScaler": sent}
    check = {"name": "hc", "type": "HTTP"}
    service = {
        "name": "bs",
        "loadBalancingScheme": "EXTERNAL_MANAGED",
        "healthChecks": ["global/healthChecks/hc"],
        "backends": [backend],
    }
    for collection, body in (("healthChecks", check), ("backendServices", service)):
        send(six.cloud, "POST", f"{BASE}/global/{collection}", body)
        six.clock.advance(60)
    _, read = send(six.cloud, "GET", f"{BASE}/global/backendServices/bs")
    assert json.dumps(read["backends"][0]["capacityScaler"]) == "1"
