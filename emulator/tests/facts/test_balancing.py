"""Facts about load balancing of groups: health checks, backend services, URL maps, draining, order
of deletion.
"""

from __future__ import annotations

from typing import Any

import pytest
from google.cloud import compute_v1

from compute_emulator.control.instances import apply_effect
from emulator.tests.clients import PROJECT, rejection, send
from emulator.tests.facts.helpers import BASE
from emulator.tests.facts.source import fact
from emulator.tests.fleet import SCOPE, Fleet, version

CHECKS, SERVICES, MAPS = (
    f"{BASE}/global/{name}" for name in ("healthChecks", "backendServices", "urlMaps")
)
GROUP = f"projects/{PROJECT}/{SCOPE}/instanceGroups/tiny"
MANAGED = {
    "protocol": "HTTP",
    "loadBalancingScheme": "EXTERNAL_MANAGED",
    "healthChecks": ["global/healthChecks/ready"],
}


def service(fleet: Fleet, name: str = "bs", **members: Any) -> int:
    return send(fleet.cloud, "POST", SERVICES, {"name": name} | MANAGED | members)[0]


def settle(fleet: Fleet) -> None:
    """Let every running operation finish."""
    fleet.clock.advance(10)
    fleet.cloud.advance()


# Health checks


@fact("API reference, healthChecks: interval and timeout 5 s, both thresholds 2, port 80, path /")
def test_a_health_check_has_its_defaults(fleet: Fleet) -> None:
    assert send(fleet.cloud, "POST", CHECKS, {"name": "plain", "type": "HTTP"})[0] == 200
    kept = send(fleet.cloud, "GET", f"{CHECKS}/plain")[1]
    numbers = [
        kept[name]
        for name in ("checkIntervalSec", "timeoutSec", "healthyThreshold", "unhealthyThreshold")
    ]
    assert (numbers, kept["httpHealthCheck"]["port"], kept["httpHealthCheck"]["requestPath"]) == (
        [5, 5, 2, 2],
        80,
        "/",
    )


@fact("API reference, port: 80 for HTTP and TCP, 443 for HTTPS, SSL and HTTP2")
@pytest.mark.parametrize(
    ("kind", "port"), [("TCP", 80), ("HTTP", 80), ("HTTPS", 443), ("SSL", 443), ("HTTP2", 443)]
)
def test_the_default_port_of_a_check_follows_its_type(fleet: Fleet, kind: str, port: int) -> None:
    assert send(fleet.cloud, "POST", CHECKS, {"name": "plain", "type": kind})[0] == 200
    assert (
        send(fleet.cloud, "GET", f"{CHECKS}/plain")[1][f"{kind.lower()}HealthCheck"]["port"] == port
    )


@fact("API reference, healthChecks: inconsistent values", assumed="the wording")
@pytest.mark.parametrize(
    "wrong",
    [
        {"timeoutSec": 6},
        {"tcpHealthCheck": {"port": 80}},
        {"httpHealthCheck": {"portSpecification": "USE_NAMED_PORT"}},
        {"httpHealthCheck": {"port": 70_000}},
    ],
)
def test_an_inconsistent_health_check_is_rejected(fleet: Fleet, wrong: dict[str, Any]) -> None:
    assert rejection(fleet.cloud, "POST", CHECKS, {"name": "wrong", "type": "HTTP"} | wrong)[
        :2
    ] == (
        400,
        "invalid",
    )


@fact("API reference, healthChecks: no fingerprint; deletion is rejected while in use")
def test_a_health_check_in_use_cannot_be_deleted(six: Fleet) -> None:
    assert "fingerprint" not in send(six.cloud, "GET", f"{CHECKS}/alive")[1]
    assert rejection(six.cloud, "DELETE", f"{CHECKS}/alive")[:2] == (
        400,
        "resourceInUseByAnotherResource",
    )


@fact("API reference, healthyThreshold and unhealthyThreshold: this many results in a row")
def test_health_changes_after_the_threshold(fleet: Fleet) -> None:
    change = {"checkIntervalSec": 10, "healthyThreshold": 3, "unhealthyThreshold": 2}
    assert send(fleet.cloud, "PATCH", f"{CHECKS}/ready", change)[0] == 200
    fleet.cloud.set_behaviours([{"ready_after_seconds": 0}])
    fleet.create(size=1, healing=False)
    fleet.serve()
    fleet.settle()
    fleet.run(28)
    assert fleet.health() == {}
    fleet.run(2)
    assert fleet.health() == {"HEALTHY": 1}
    apply_effect(fleet.cloud, "unready")
    fleet.run(9)
    assert fleet.health() == {"HEALTHY": 1}
    fleet.run(12)
    assert fleet.health() == {"UNHEALTHY": 1}


# Backend services


@fact(
    "API reference, getHealth; observed in ingress-gce#554 and #1398: healthStatus is absent"
    " until a result is known"
)
def test_health_is_unknown_at_first_which_is_not_unhealthy(fleet: Fleet) -> None:
    fleet.create(size=1)
    fleet.serve()
    status, answer = send(fleet.cloud, "POST", f"{SERVICES}/bs/getHealth", {"group": GROUP})
    assert (status, answer) == (200, {"kind": "compute#backendServiceGroupHealth"})


@fact("API reference, getHealth: state, instance, address and port of each instance")
def test_health_includes_instance_address_and_port(six: Fleet) -> None:
    six.serve()
    six.run(30)
    entries = send(six.cloud, "POST", f"{SERVICES}/bs/getHealth", {"group": GROUP})[1][
        "healthStatus"
    ]
    assert {each["instance"] for each in entries} == {each.instance for each in six.instances()}
    assert all(
        each["healthState"] == "HEALTHY" and each["port"] == 8080 and each["ipAddress"]
        for each in entries
    )


@fact(
    "API reference, backendServices.portName: the group needs a named port of that name, else"
    " nothing is healthy"
)
def test_without_the_named_port_no_instance_is_healthy(six: Fleet) -> None:
    assert service(six, portName="grpc", backends=[{"group": GROUP}]) == 200
    six.run(60)
    assert six.health() == {"UNHEALTHY": 6}


@fact(
    "API reference, backends[].group: the instance group, not its manager; healthChecks: at"
    " most one",
    assumed="the wording",
)
@pytest.mark.parametrize(
    "wrong",
    [
        {"backends": [{"group": f"{SCOPE}/instanceGroupManagers/tiny"}]},
        {"healthChecks": ["global/healthChecks/alive", "global/healthChecks/ready"]},
        {"backends": [{"group": GROUP, "capacityScaler": 0.05}]},
        {"backends": [{"group": GROUP, "capacityScaler": 1.5}]},
        {"backends": [{"group": GROUP, "balancingMode": "RATE"}]},
        {"backends": [{"group": GROUP, "balancingMode": "CONNECTION"}]},
        {"backends": [{"group": GROUP, "balancingMode": "UTILIZATION", "maxUtilization": 1.1}]},
        {"connectionDraining": {"drainingTimeoutSec": 3601}},
    ],
)
def test_an_invalid_backend_service_is_rejected(six: Fleet, wrong: dict[str, Any]) -> None:
    assert service(six, **wrong) == 400


@fact("API reference, backendServices: timeoutSec 30", assumed="no draining by default")
def test_a_backend_service_has_its_defaults(fleet: Fleet) -> None:
    assert service(fleet) == 200
    kept = send(fleet.cloud, "GET", f"{SERVICES}/bs")[1]
    assert (
        kept["timeoutSec"],
        kept["portName"],
        kept["connectionDraining"]["drainingTimeoutSec"],
    ) == (30, "http", 0)


@fact(
    "Observed in ansible#70230 and k8s-multicluster-ingress#70: an update without a fingerprint"
    " gets 400 required, with a stale one 412"
)
@pytest.mark.parametrize("http", ["PUT", "PATCH"])
def test_a_backend_service_update_needs_the_current_fingerprint(fleet: Fleet, http: str) -> None:
    service(fleet)
    settle(fleet)
    path = f"{SERVICES}/bs"
    kept = send(fleet.cloud, "GET", path)[1]
    body = {name: kept[name] for name in ("name", *MANAGED)}
    missing = (400, "required", "Required field 'resource.fingerprint' not specified")
    assert rejection(fleet.cloud, http, path, body) == missing
    given = body | {"fingerprint": kept["fingerprint"]}
    assert send(fleet.cloud, http, path, given)[0] == 200
    assert rejection(fleet.cloud, http, path, given) == (
        412,
        "conditionNotMet",
        "Invalid fingerprint.",
    )


@fact("Observed with gcloud 528, `remove-backend`: a PUT without backends empties the list")
def test_a_put_without_backends_removes_the_last_one(six: Fleet) -> None:
    six.serve()
    kept = send(six.cloud, "GET", f"{SERVICES}/bs")[1]
    del kept["backends"]
    assert send(six.cloud, "PUT", f"{SERVICES}/bs", kept)[0] == 200
    settle(six)
    assert "backends" not in send(six.cloud, "GET", f"{SERVICES}/bs")[1]
    six.done(six.call("delete_unary"))


@fact(
    "Documentation, connection draining: with several services, the longest timeout applies to"
    " a group"
)
def test_the_longest_draining_timeout_of_a_groups_services_applies(six: Fleet) -> None:
    six.serve(name="short", drain=20)
    six.serve(name="long", drain=200)
    six.run(30)
    six.resize(5)
    six.run(190)
    assert six.current_actions() == {"none": 5, "deleting": 1}
    six.run(30)
    assert six.current_actions() == {"none": 5}


@fact("Documentation, connection draining: a draining instance gets no new requests")
def test_a_draining_vm_is_no_longer_behind_the_service(six: Fleet) -> None:
    six.serve(drain=200)
    six.run(30)
    six.versions(version("v2"))
    six.settle()
    six.run(30)
    six.resize(3)
    six.run(5)
    assert six.health() == {"HEALTHY": 3}


# URL maps and the resources that refer to them


@fact(
    "API reference, weightedBackendServices: EXTERNAL_MANAGED splits by weights from 0 to 1000;"
    " the classic scheme does not"
)
def test_only_the_managed_scheme_splits_traffic_by_weights(fleet: Fleet) -> None:
    for name, scheme in [("a", "EXTERNAL_MANAGED"), ("b", "EXTERNAL_MANAGED"), ("old", "EXTERNAL")]:
        assert service(fleet, name, loadBalancingScheme=scheme) == 200
    settle(fleet)

    def split(*weights: tuple[str, int]) -> int:
        parts = [
            {"backendService": f"global/backendServices/{name}", "weight": weight}
            for name, weight in weights
        ]
        body = {
            "name": f"map-{len(weights)}-{weights[0][0]}",
            "defaultRouteAction": {"weightedBackendServices": parts},
        }
        return send(fleet.cloud, "POST", MAPS, body)[0]

    assert [split(("a", 95), ("b", 5)), split(("a", 1001)), split(("old", 1), ("b", 1))] == [
        200,
        400,
        400,
    ]


@fact(
    "API reference, urlMaps fingerprint; observed with gcloud 528, `url-maps import`: PATCH"
    " without one",
    assumed="a PATCH without one is accepted",
)
def test_a_url_map_put_needs_a_fingerprint_and_a_patch_does_not(fleet: Fleet) -> None:
    service(fleet)
    settle(fleet)
    body = {"name": "um", "defaultService": "global/backendServices/bs"}
    assert send(fleet.cloud, "POST", MAPS, body)[0] == 200
    settle(fleet)
    assert rejection(fleet.cloud, "PUT", f"{MAPS}/um", body)[:2] == (400, "required")
    assert send(fleet.cloud, "PATCH", f"{MAPS}/um", {"description": "x"})[0] == 200
    assert rejection(fleet.cloud, "PATCH", f"{MAPS}/um", {"fingerprint": "AAAAAAAAAAA="})[:2] == (
        412,
        "conditionNotMet",
    )


@fact("API reference, forwardingRules.portRange: a single port is returned as a range")
def test_a_chain_is_created_in_order_and_deleted_in_reverse(six: Fleet) -> None:
    six.serve()
    glob = f"{BASE}/global"
    steps = [
        ("urlMaps", {"name": "um", "defaultService": "global/backendServices/bs"}),
        ("targetHttpProxies", {"name": "tp", "urlMap": "global/urlMaps/um"}),
        (
            "forwardingRules",
            {
                "name": "fr",
                "target": "global/targetHttpProxies/tp",
                "portRange": "80",
                "loadBalancingScheme": "EXTERNAL_MANAGED",
            },
        ),
    ]
    for collection, body in steps:
        assert send(six.cloud, "POST", f"{glob}/{collection}", body)[0] == 200
        settle(six)
    assert send(six.cloud, "GET", f"{glob}/forwardingRules/fr")[1]["portRange"] == "80-80"
    in_use = [
        f"{glob}/targetHttpProxies/tp",
        f"{glob}/urlMaps/um",
        f"{glob}/backendServices/bs",
        f"{CHECKS}/ready",
    ]
    for path in in_use:
        assert rejection(six.cloud, "DELETE", path)[:2] == (400, "resourceInUseByAnotherResource")
    for path in [f"{glob}/forwardingRules/fr", *in_use]:
        assert send(six.cloud, "DELETE", path)[0] == 200
        settle(six)
    six.done(six.call("delete_unary"))


@fact(
    "observed, kubernetes/ingress-gce#554 and #1398: healthStatus is empty until probes ran",
    assumed="the first probe is one interval after the attachment",
)
def test_a_backend_is_healthy_only_after_probes_since_its_attachment(six: Fleet) -> None:
    six.run(600)
    six.serve()  # an operation of 2 s; two probes, 5 s apart
    assert six.health() == {}
    six.run(5)
    assert six.health() == {}
    six.run(5)
    assert six.health() == {"HEALTHY": 6}


@fact(
    "API reference, regionInstanceGroups.setNamedPorts: needs the instance group's fingerprint,"
    " not the manager's"
)
def test_setting_named_ports_needs_the_instance_groups_fingerprint(six: Fleet) -> None:
    path = f"{BASE}/{SCOPE}/instanceGroups/tiny/setNamedPorts"
    manager = six.get().fingerprint
    body = {"namedPorts": [{"name": "http", "port": 8080}], "fingerprint": manager}
    assert rejection(six.cloud, "POST", path, body)[:2] == (412, "conditionNotMet")
    groups = six.clients.of(compute_v1.RegionInstanceGroupsClient)
    own = groups.get(project=PROJECT, region="us-central1", instance_group="tiny").fingerprint
    assert send(six.cloud, "POST", path, body | {"fingerprint": own})[0] == 200
