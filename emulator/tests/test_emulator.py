"""`Emulator`, the public interface: it starts, changes and shows what the other tests examine in
detail.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests

import compute_emulator
from compute_emulator import (
    ConnectionDropped,
    Emulator,
    RequestRefused,
    VirtualClock,
    method_of,
)

URL = "https://compute.googleapis.com/compute/v1/projects/demo/"
GROUP = "regions/us-central1/instanceGroupManagers"
DISK = {
    "boot": True,
    "initializeParams": {"sourceImage": "projects/cos-cloud/global/images/family/cos-stable"},
}
TEMPLATE = {
    "name": "v1",
    "properties": {
        "machineType": "e2-small",
        "disks": [DISK],
        "networkInterfaces": [{"network": "global/networks/default"}],
    },
}
CHECK = {"name": "hc", "type": "HTTP", "httpHealthCheck": {"port": 8080}}


@pytest.fixture
def emulator() -> Emulator:
    return Emulator(clock=VirtualClock(), check_responses=True)


@pytest.fixture
def served(emulator: Emulator) -> Emulator:
    """Three healthy instances behind a backend service."""
    group = {
        "name": "g",
        "targetSize": 3,
        "versions": [{"instanceTemplate": "global/instanceTemplates/v1"}],
        "autoHealingPolicies": [{"healthCheck": "global/healthChecks/hc"}],
    }
    service = {
        "name": "bs",
        "healthChecks": ["global/healthChecks/hc"],
        "backends": [{"group": "regions/us-central1/instanceGroups/g"}],
    }
    emulator.call("POST", "global/instanceTemplates", TEMPLATE)
    emulator.call("POST", "global/healthChecks", CHECK)
    emulator.call("POST", GROUP, group)
    emulator.call("POST", "global/backendServices", service)
    emulator.advance(120)
    return emulator


def get(emulator: Emulator, path: str, around: compute_emulator.emulator.Around | None) -> int:
    with requests.Session() as session:
        session.mount("https://", emulator.adapter(around))
        return session.get(URL + path).status_code


# Clients


def test_every_public_name_exists() -> None:
    assert all(hasattr(compute_emulator, name) for name in compute_emulator.__all__)


def test_a_program_sees_the_same_project_in_process_and_over_http(emulator: Emulator) -> None:
    emulator.call("POST", "global/healthChecks", CHECK)
    assert get(emulator, "global/healthChecks/hc", None) == 200
    with emulator.serve() as server:
        url = f"{server.url}/compute/v1/projects/demo/global/healthChecks/hc"
        assert requests.get(url, timeout=10).json() == emulator.call(
            "GET", "global/healthChecks/hc"
        )


def test_a_rejected_call_raises_with_the_response(emulator: Emulator) -> None:
    with pytest.raises(RequestRefused, match="'projects/demo/global/urlMaps/m' was not found") as e:
        emulator.call("GET", "global/urlMaps/m")
    assert e.value.response.status == 404


def test_an_adapter_can_intercept_every_request(emulator: Emulator) -> None:
    seen: list[str] = []

    def around(
        request: requests.PreparedRequest, send: Callable[[], requests.Response]
    ) -> requests.Response:
        seen.append(f"{request.method} {str(request.url).removeprefix(URL)}")
        return send()

    assert get(emulator, "zones/us-central1-a", around) == 200
    assert seen == ["GET zones/us-central1-a"]


def test_an_interceptor_can_drop_the_connection_before_and_after_the_call(
    emulator: Emulator,
) -> None:
    def before(
        request: requests.PreparedRequest, send: Callable[[], requests.Response]
    ) -> requests.Response:
        raise ConnectionDropped("before")

    def after(
        request: requests.PreparedRequest, send: Callable[[], requests.Response]
    ) -> requests.Response:
        send()
        raise ConnectionDropped("after")

    for around in (before, after):
        with pytest.raises(requests.ConnectionError, match=around.__name__):
            get(emulator, "zones/us-central1-a", around)
    assert emulator.calls.counts == {"compute.zones.get": 1}


@pytest.mark.parametrize(
    ("http", "target", "expected"),
    [
        ("PATCH", f"{URL}global/urlMaps/m?requestId=1", ("compute.urlMaps.patch", "m", True)),
        ("GET", "/compute/v1/projects/p/zones/z", ("compute.zones.get", "z", False)),
        ("POST", f"{URL}global/urlMaps", ("compute.urlMaps.insert", "", True)),
        ("POST", f"{URL}global/operations/o/wait", ("compute.globalOperations.wait", "o", False)),
        ("GET", f"{URL}global/unknown/x", None),
    ],
)
def test_the_method_of_a_request(
    http: str, target: str, expected: tuple[str, str, bool] | None
) -> None:
    assert method_of(http, target) == expected


# Time and operations


def test_time_passes_only_on_a_virtual_clock(emulator: Emulator) -> None:
    began = emulator.now()
    emulator.advance(60)
    assert emulator.now() == began + 60
    with pytest.raises(TypeError, match="VirtualClock"):
        Emulator().advance(60)


def test_operations_take_as_long_as_set_and_can_be_finished(emulator: Emulator) -> None:
    emulator.operation_seconds = 30
    emulator.operation_seconds_by_method["compute.urlMaps.*"] = 90
    name = emulator.call("POST", "global/healthChecks", CHECK)["name"]
    assert emulator.next_event_at() == emulator.now() + 30
    emulator.advance(29)
    assert [each["status"] for each in emulator.operations()] == ["RUNNING"]
    with emulator.paused():
        emulator.finish_operations()
    found = emulator.operation(name)
    assert found is not None
    assert found["status"] == "DONE"
    assert emulator.operation("operation-unknown") is None


# Conditions


def test_conditions_decide_what_happens_to_instances(served: Emulator) -> None:
    served.set_behaviours([{"template": "v1", "boot_seconds": 5}])
    served.stock_outs["*"] = {}
    served.quotas["CPUS"] = 100
    served.load["g"] = {"cpu": 0.5}
    assert len(served.affect_instances("stop", group="g", most=1)) == 1
    served.advance(60)
    assert sum(each["ready"] for each in served.instances()) == 2
    assert {each["error"] for each in served.instances()} == {
        None,
        "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS",
    }
    served.stock_outs.clear()
    served.advance(600)
    assert sum(each["ready"] for each in served.instances(group="g")) == 3
    assert served.behaviours == [{"template": "v1", "boot_seconds": 5}]
    assert served.control("GET", "/load") == {"g": {"cpu": 0.5}}
    assert served.control("GET", "/quotas") == {"CPUS": 100}


def test_a_zone_can_be_taken_down_and_brought_up(served: Emulator) -> None:
    served.set_zone_state("us-central1-a", "DOWN")
    assert served.call("GET", "zones/us-central1-a")["status"] == "DOWN"
    served.set_zone_state("us-central1-a", "UP")
    assert served.call("GET", "zones/us-central1-a")["status"] == "UP"


def test_faults_traffic_and_scheduled_controls_are_set_as_over_http(emulator: Emulator) -> None:
    emulator.set_traffic([{"template": "v2*", "error_rate": 0.1}])
    emulator.faults.add("error", "compute.zones.get", status=503)
    emulator.schedule({"after_seconds": 60, "delete": "/faults"})
    with pytest.raises(RequestRefused, match="503"):
        emulator.call("GET", "zones/us-central1-a")
    emulator.advance(60)
    assert emulator.call("GET", "zones/us-central1-a")["status"] == "UP"
    assert emulator.control("GET", "/traffic") == [{"template": "v2*", "error_rate": 0.1}]
    with pytest.raises(RequestRefused, match="error_rate"):
        emulator.set_traffic([{"error_rate": 2}])


# State


def test_resources_are_found_stored_and_removed_behind_the_api(emulator: Emulator) -> None:
    emulator.call("POST", "global/healthChecks", CHECK)
    found = emulator.find("healthChecks", "hc")
    assert found is not None
    assert emulator.find("healthChecks", "hc", "global") is found
    assert emulator.find("healthChecks", "hc", "regions/us-central1") is None
    emulator.put("healthChecks", found | {"name": "copy"})
    assert [key.name for key, _ in emulator.resources("healthChecks")] == ["hc", "copy"]
    emulator.remove("healthChecks", "hc")
    assert emulator.find("healthChecks", "hc") is None
    assert emulator.calls.mutations == 1
    assert [call.method for call in emulator.calls.log] == ["compute.healthChecks.insert"]


def test_a_view_of_a_group_agrees_with_its_records(served: Emulator) -> None:
    served.affect_instances("kill", most=1)
    served.advance(20)
    view = served.group("g", "us-central1")
    assert view is not None
    assert view.has_readiness_check
    assert view.body["targetSize"] == 3
    assert [
        (each.name, each.zone, each.template, each.status, each.action, each.is_ready)
        for each in view.instances
    ] == [
        tuple(each[name] for name in ("name", "zone", "template", "status", "action", "ready"))
        for each in served.instances("g")
    ]
    assert [each.is_alive for each in view.instances] == [
        each["alive"] == "HEALTHY" for each in served.instances("g")
    ]
    assert view.is_stable == served.call("GET", f"{GROUP}/g")["status"]["isStable"]
    assert served.group("other", "us-central1") is None


def test_a_revived_instance_ends_its_verification(served: Emulator) -> None:
    healing = {"healthCheck": "global/healthChecks/hc", "initialDelaySec": 600}
    served.call("PATCH", f"{GROUP}/g", {"autoHealingPolicies": [healing]})
    served.set_behaviours([{"never_ready": True}])
    served.call("POST", f"{GROUP}/g/resize?size=4")
    served.advance(60)
    assert [each["action"] for each in served.instances("g")].count("VERIFYING") == 1
    served.affect_instances("revive")
    served.advance(30)
    assert {each["action"] for each in served.instances("g")} == {"NONE"}


def test_the_data_plane_serves_a_forwarding_rule(emulator: Emulator) -> None:
    with emulator.data_plane() as plane:
        assert emulator.control("GET", "/data-plane")["forwarding_rules"] == {}
        assert plane.url_of(compute_emulator.Key("global", "forwardingRules", "fr")) is None


def test_the_networks_of_a_host_project_can_be_read(emulator: Emulator) -> None:
    emulator.catalogue["networks"] = ["projects/host/global/networks/shared"]
    session = requests.Session()
    session.mount("https://", emulator.adapter())

    def status(project: str) -> int:
        url = f"https://compute.googleapis.com/compute/v1/projects/{project}"
        return session.get(f"{url}/global/networks/shared").status_code

    assert [status(project) for project in ("host", "another")] == [200, 404]
