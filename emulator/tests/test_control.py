"""The controls under `/control`, over a socket and by direct calls."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from google.api_core import exceptions
from google.cloud import compute_v1

from compute_emulator import Cloud, VirtualClock, serve
from compute_emulator.__main__ import main
from compute_emulator.control.config_file import configure
from compute_emulator.errors import JsonObject
from emulator.tests.clients import PROJECT, Clients, health_check, send
from emulator.tests.readme import ROOT


def call(cloud: Cloud, http: str, path: str, body: Any = None) -> tuple[int, Any]:
    return send(cloud, http, f"/control{path}", body)


CONTROLS = tuple(
    f"/{control}"
    for control in [
        "behaviours",
        "load",
        "stock-outs",
        "quotas",
        "faults",
        "operation-seconds",
        "time",
        "traffic",
        "zones",
        "later",
    ]
)


def test_the_controls_list_themselves_with_a_description() -> None:
    with serve(Cloud()) as server:
        listed = requests.get(f"{server.url}/control", timeout=10).json()["controls"]
    assert {"/control/behaviours", "/control/faults", "/control/time"} <= {
        each["path"] for each in listed
    }
    assert all(each["about"] for each in listed)


def test_an_unknown_control_is_named(cloud: Cloud) -> None:
    status, answer = call(cloud, "GET", "/weather")
    assert status == 404
    assert "GET /control/weather" in answer["error"]["message"]
    status, answer = call(cloud, "PATCH", "/load")
    assert (status, answer["error"]["message"]) == (
        405,
        "PATCH is not a method of /control/load; use DELETE, GET, POST, PUT",
    )


@pytest.mark.parametrize(
    ("path", "member", "entries", "name"),
    [
        ("/load", "load", {"fleet": {"cpu": 0.9}}, "other"),
        ("/stock-outs", "stock_outs", {"us-central1-a": {}}, "us-central1"),
        ("/quotas", "quotas", {"CPUS": 24}, "us-central1/INSTANCES"),
    ],
)
def test_maps_are_merged_replaced_and_cleared(
    cloud: Cloud, path: str, member: str, entries: JsonObject, name: str
) -> None:
    other = {name: next(iter(entries.values()))}
    call(cloud, "POST", path, entries)
    call(cloud, "POST", path, other)
    assert getattr(cloud, member) == entries | other
    call(cloud, "POST", path, {name: None})
    assert getattr(cloud, member) == entries
    call(cloud, "PUT", path, other)
    assert call(cloud, "GET", path) == (200, other)
    call(cloud, "DELETE", path)
    assert getattr(cloud, member) == {}


@pytest.mark.parametrize(
    ("http", "path", "body", "words"),
    [
        ("PUT", "/load", {"fleet": {"cpu": "high"}}, "load[fleet].cpu must be a number"),
        ("POST", "/load", {"fleet": {"metrics": 7}}, "load[fleet].metrics must be an object"),
        ("POST", "/load", [], "load: expected a JSON object"),
        (
            "POST",
            "/stock-outs",
            {"us-central1-a": {}, "mars-1": {}},
            "'mars-1' is not a zone, a region or *",
        ),
        ("PUT", "/quotas", {"CPUS": "many"}, "quotas[CPUS] must be a number"),
        ("PUT", "/behaviours", [{"colour": "red"}], "behaviours[0]: unknown member 'colour'"),
        (
            "POST",
            "/faults",
            [{"kind": "latency", "seconds": 1}, {"kind": "error", "times": "x"}],
            "times must be a whole number",
        ),
        (
            "PUT",
            "/operation-seconds",
            {"seconds": 2},
            "unknown member 'seconds'; use one of default, by_method",
        ),
        (
            "PUT",
            "/operation-seconds",
            {"default": 1, "by_method": {"clouds": 2}},
            "by_method: 'clouds' matches no method",
        ),
        ("POST", "/time", {"advance": -60}, "advance must be a number (0 or more), not -60"),
        ("POST", "/time", {}, "advance must be a number (0 or more), not None"),
        ("GET", "/calls/log?last=few", None, "last must be a whole number, not 'few'"),
        ("POST", "/instances", {"effect": "stop", "zone": 7}, "zone must be a glob, not 7"),
        (
            "POST",
            "/instances",
            {"effect": "stop", "most": "all"},
            "most must be a whole number, 0 or more, not 'all'",
        ),
        ("POST", "/instances", {"effect": "melt"}, "effect: 'melt' is not one of stop, preempt"),
        (
            "POST",
            "/instances",
            {"effect": "stop", "colour": "red"},
            "unknown member 'colour'; use one of effect, name",
        ),
        ("PUT", "/traffic", [{"error_rate": 2}], "traffic[0].error_rate must be from 0 to 1"),
        ("PUT", "/traffic", [{"error_header": 2}], "traffic[0].error_header must be a header"),
        ("POST", "/zones", {"mars-1": "DOWN"}, "'mars-1' is not a zone"),
        (
            "POST",
            "/later",
            {"after_seconds": "soon", "post": "/zones"},
            "after_seconds must be a number",
        ),
    ],
)
def test_an_invalid_value_is_rejected_and_the_message_says_why(
    cloud: Cloud, http: str, path: str, body: Any, words: str
) -> None:
    before = [call(cloud, "GET", each)[1] for each in CONTROLS]
    status, answer = call(cloud, http, path, body)
    assert (status, answer["error"]["code"]) == (400, 400)
    assert words in answer["error"]["message"]
    assert [call(cloud, "GET", each)[1] for each in CONTROLS] == before


def test_a_later_behaviour_takes_precedence_over_earlier_ones(cloud: Cloud) -> None:
    call(cloud, "PUT", "/behaviours", [{"template": "*", "boot_seconds": 5}])
    call(cloud, "POST", "/behaviours", {"template": "bad-*", "never_ready": True})
    assert [each["template"] for each in cloud.behaviours] == ["bad-*", "*"]
    call(cloud, "DELETE", "/behaviours")
    assert cloud.behaviours == []


def test_faults_are_added_counted_and_cleared(cloud: Cloud, clients: Clients) -> None:
    call(
        cloud,
        "POST",
        "/faults",
        {"kind": "error", "method": "compute.zones.get", "status": 503, "times": 1},
    )
    zones = clients.of(compute_v1.ZonesClient)
    with pytest.raises(exceptions.ServiceUnavailable):
        zones.get(project=PROJECT, zone="us-central1-a", retry=None)
    assert call(cloud, "GET", "/faults")[1]["faults"][0]["struck"] == 1
    assert call(cloud, "DELETE", "/faults")[1]["faults"] == []


@pytest.mark.parametrize(
    "wrong", [{"kind": "earthquake"}, {"method": "*"}, {"kind": "error", "colour": "red"}, 7]
)
def test_an_invalid_fault_is_rejected_with_the_valid_values(cloud: Cloud, wrong: Any) -> None:
    status, answer = call(cloud, "POST", "/faults", wrong)
    assert status == 400
    assert "/control/faults" in answer["error"]["message"]
    assert cloud.faults.active == []


def test_time_that_stands_still_can_be_advanced(cloud: Cloud, clients: Clients) -> None:
    running = clients.of(compute_v1.HealthChecksClient).insert_unary(
        project=PROJECT, health_check_resource=health_check()
    )
    before = call(cloud, "GET", "/time")[1]
    after = call(cloud, "POST", "/time", {"advance": 60})[1]
    assert after["now"] - before["now"] == 60
    assert before["next_event_at"] == before["now"] + 2
    assert cloud.operations.find("global", running.name)["status"] == "DONE"


def test_time_that_runs_cannot_be_advanced() -> None:
    assert call(Cloud(), "POST", "/time", {"advance": 60})[0] == 400


def test_operation_seconds_can_be_set_while_running(cloud: Cloud) -> None:
    call(cloud, "PUT", "/operation-seconds", {"default": 1, "by_method": {"compute.urlMaps.*": 30}})
    assert (cloud.operations.seconds, cloud.operations.seconds_by_method) == (
        1.0,
        {"compute.urlMaps.*": 30.0},
    )


def test_calls_are_listed_and_can_be_reset(cloud: Cloud, clients: Clients) -> None:
    clients.of(compute_v1.ZonesClient).get(project=PROJECT, zone="us-central1-a")
    answer = call(cloud, "GET", "/calls")[1]
    assert (answer["calls"], answer["total"], answer["mutations"]) == (
        {"compute.zones.get": 1},
        1,
        0,
    )
    assert call(cloud, "GET", "/calls/log?last=1")[1][0]["target"] == "zones/us-central1-a"
    assert call(cloud, "DELETE", "/calls")[1]["total"] == 0


def test_instances_are_counted_by_template(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [
        {"name": "a", "group": "fleet", "template": "v1"},
        {"name": "b", "group": "fleet", "template": "v2"},
        {"name": "c", "group": "other", "template": "v2"},
    ]
    monkeypatch.setattr("compute_emulator.engine.snapshot.instance_records", lambda cloud: records)
    assert call(cloud, "GET", "/instances")[1]["by_template"] == {"v1": 1, "v2": 2}
    assert call(cloud, "GET", "/instances?group=fleet")[1]["by_template"] == {"v1": 1, "v2": 1}


def test_the_state_shows_every_resource(cloud: Cloud, clients: Clients) -> None:
    clients.of(compute_v1.HealthChecksClient).insert_unary(
        project=PROJECT, health_check_resource=health_check()
    )
    answer = call(cloud, "GET", "/state")[1]
    assert list(answer["resources"]) == ["projects/demo/global/healthChecks/ready"]
    assert [each["status"] for each in answer["operations"]] == ["RUNNING"]


def test_coverage_lists_implemented_and_missing_methods(cloud: Cloud) -> None:
    answer = call(cloud, "GET", "/coverage")[1]
    assert "getHealth" in answer["backendServices"]["built"]
    assert answer["backendServices"]["missing"] == []
    assert "insert" in answer["instances"]["missing"]


def test_the_coverage_page_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--coverage"]) == 0
    page = (ROOT / "docs" / "compute-coverage.md").read_text()
    assert page == capsys.readouterr().out, (
        "python -m compute_emulator --coverage > docs/compute-coverage.md"
    )


def test_a_settings_file_sets_what_the_controls_set() -> None:
    cloud = Cloud(clock=VirtualClock())
    settings = {
        "behaviours": [{"template": "*", "boot_seconds": 1}],
        "faults": [{"kind": "latency", "seconds": 1}],
        "stock_outs": {"us-central1-a": {}},
        "operation_seconds": 3,
    }
    configure(cloud, settings)
    assert cloud.behaviours[0]["boot_seconds"] == 1
    assert cloud.faults.active[0].kind == "latency"
    assert cloud.operations.seconds == 3.0
    with pytest.raises(ValueError, match="weather"):
        configure(cloud, {"weather": "fine"})
