"""Real requests through the emulator's load balancers to its instances."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from google.cloud import compute_v1

from compute_emulator import Cloud, VirtualClock
from compute_emulator.api import wire
from compute_emulator.control import dispatch
from compute_emulator.control.instances import apply_effect
from compute_emulator.traffic.data_plane import REFRESH_SECONDS
from emulator.tests.clients import PROJECT, Clients
from emulator.tests.fleet import Fleet, version
from emulator.tests.readme import ROOT
from emulator.tests.site import SERVICES, Site, site, until


@pytest.fixture
def fleet(clients: Clients, clock: VirtualClock) -> Fleet:
    return Fleet(clients, clock)


@pytest.fixture
def here(fleet: Fleet) -> Iterator[Site]:
    with site(fleet) as made:
        yield made


def ask(cloud: Cloud, http: str, path: str, body: Any = None) -> Any:
    sent = b"" if body is None else json.dumps(body).encode()
    return json.loads(dispatch.handle(cloud, wire.Request(http, f"/control{path}", sent)).body)


def matcher(**members: Any) -> dict[str, Any]:
    """Members of a URL map in which every host uses one path matcher."""
    return {
        "default_service": SERVICES + "bs",
        "host_rules": [compute_v1.HostRule(hosts=["*"], path_matcher="pm")],
        "path_matchers": [
            compute_v1.PathMatcher({"name": "pm", "default_service": SERVICES + "bs"} | members)
        ],
    }


def test_healthy_instances_answer_in_turn_with_their_release(here: Site) -> None:
    answers = [here.get("/hello") for _ in range(6)]
    assert {answer.json()["release"] for answer in answers} == {"v1"}
    assert [each["requests"] for each in here.served()] == [2, 2, 2]
    assert answers[0].headers["x-release"] == "v1"
    assert answers[0].headers["via"] == "1.1 google"


def test_a_rule_without_a_description_shows_its_address_there(here: Site) -> None:
    rules = here.clients.of(compute_v1.GlobalForwardingRulesClient)
    assert rules.get(project=PROJECT, forwarding_rule="fr").description == f"served on {here.url}"
    assert ask(here.cloud, "GET", "/data-plane")["forwarding_rules"] == {
        "projects/demo/global/forwardingRules/fr": {"url": here.url}
    }


def test_weights_split_the_requests_between_two_releases(here: Site) -> None:
    here.second()
    here.route(
        default_route_action=compute_v1.HttpRouteAction(
            weighted_backend_services=[
                compute_v1.WeightedBackendService(backend_service=SERVICES + "bs", weight=80),
                compute_v1.WeightedBackendService(backend_service=SERVICES + "bs2", weight=20),
            ]
        )
    )
    found = here.releases(1000)
    assert sum(found.values()) == 1000
    assert 140 <= found["v2"] <= 260  # five standard deviations around 200


def test_a_path_and_a_header_choose_the_backend_and_rewrites_reach_it(here: Site) -> None:
    here.second()
    canary = compute_v1.HttpHeaderMatch(header_name="x-canary", exact_match="yes")
    rewrite = compute_v1.UrlRewrite(path_prefix_rewrite="/v9/", host_rewrite="inner.example")
    tells = compute_v1.HttpHeaderAction(
        request_headers_to_add=[
            compute_v1.HttpHeaderOption(header_name="X-Tier", header_value="canary", replace=True)
        ],
        request_headers_to_remove=["x-secret"],
        response_headers_to_add=[
            compute_v1.HttpHeaderOption(header_name="x-seen", header_value="1", replace=True)
        ],
    )
    here.route(
        **matcher(
            route_rules=[
                compute_v1.HttpRouteRule(
                    priority=1,
                    match_rules=[
                        compute_v1.HttpRouteRuleMatch(prefix_match="/api/", header_matches=[canary])
                    ],
                    route_action=compute_v1.HttpRouteAction(
                        url_rewrite=rewrite,
                        weighted_backend_services=[
                            compute_v1.WeightedBackendService(
                                backend_service=SERVICES + "bs2", weight=1
                            )
                        ],
                    ),
                    header_action=tells,
                )
            ]
        )
    )
    plain = here.get("/api/models")
    assert (plain.json()["release"], plain.json()["path"]) == ("v1", "/api/models")
    chosen = here.get(
        "/api/models?q=1", headers={"x-canary": "yes", "x-secret": "s", "x-echo": "1"}
    )
    answer = chosen.json()
    assert (answer["release"], answer["path"], answer["host"]) == (
        "v2",
        "/v9/models?q=1",
        "inner.example",
    )
    assert (answer["headers"]["x-tier"], "x-secret" in answer["headers"]) == ("canary", False)
    assert answer["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert chosen.headers["x-seen"] == "1"


def test_the_host_and_the_longest_path_choose_the_backend(here: Site) -> None:
    here.second()
    paths = [
        compute_v1.PathRule(paths=["/models/*"], service=SERVICES + "bs2"),
        compute_v1.PathRule(paths=["/models/old/*"], service=SERVICES + "bs"),
        compute_v1.PathRule(
            paths=["/gone"],
            url_redirect=compute_v1.HttpRedirectAction(path_redirect="/models/", strip_query=True),
        ),
    ]
    here.route(
        default_service=SERVICES + "bs",
        host_rules=[compute_v1.HostRule(hosts=["*.two.example"], path_matcher="pm")],
        path_matchers=[
            compute_v1.PathMatcher(name="pm", default_service=SERVICES + "bs", path_rules=paths)
        ],
    )
    host = {"host": "api.two.example"}
    assert here.get("/models/x").json()["release"] == "v1"  # by address, which no host rule names
    assert here.get("/models/x", headers=host).json()["release"] == "v2"
    assert here.get("/models/old/x", headers=host).json()["release"] == "v1"
    assert (
        here.get("/gone?now=1", headers=host).headers["location"]
        == "http://api.two.example/models/"
    )


def test_a_redirect_is_answered_by_the_balancer_itself(here: Site) -> None:
    redirect = compute_v1.HttpRedirectAction(
        https_redirect=True, redirect_response_code="PERMANENT_REDIRECT"
    )
    here.route(default_url_redirect=redirect)
    answer = here.get("/a?b=c")
    assert (answer.status_code, answer.headers["location"]) == (
        308,
        here.url.replace("http:", "https:") + "/a?b=c",
    )
    assert here.plane.metrics.requests == {}


def test_a_mirror_gets_every_request_and_the_client_does_not_notice(here: Site) -> None:
    here.second()
    mirror = compute_v1.RequestMirrorPolicy(backend_service=SERVICES + "bs2")
    here.route(
        default_service=SERVICES + "bs",
        default_route_action=compute_v1.HttpRouteAction(request_mirror_policy=mirror),
    )
    assert here.releases(20) == {"v1": 20}
    until(lambda: sum(each["requests"] for each in here.served("bs2")) == 20)


def test_bodies_reach_the_instance_complete_chunked_or_not(here: Site) -> None:
    whole = requests.post(here.url, data="a" * 200_000, headers={"x-echo": "1"}, timeout=30)
    parts = requests.post(
        here.url, data=iter([b"one ", b"two"]), headers={"x-echo": "1"}, timeout=30
    )
    assert len(whole.json()["body"]) == 200_000
    assert parts.json()["body"] == "one two"


def test_invalid_http_is_rejected_without_harm(here: Site) -> None:
    assert requests.get(here.url, headers={"x-long": "a" * 70_000}, timeout=30).status_code == 431
    assert here.get().status_code == 200


# Errors


@pytest.mark.parametrize(("scheme", "status"), [("EXTERNAL_MANAGED", 503), ("EXTERNAL", 502)])
def test_the_balancer_answers_if_no_instance_is_healthy(
    fleet: Fleet, scheme: str, status: int
) -> None:
    with site(fleet, scheme=scheme) as here:
        apply_effect(here.cloud, "unready")
        here.run(60)
        answer = here.get()
        assert answer.status_code == status
        if scheme == "EXTERNAL_MANAGED":
            assert answer.text == "no healthy upstream"


def test_an_instance_slower_than_the_timeout_causes_a_504(here: Site) -> None:
    here.change_service(timeout_sec=1)
    ask(here.cloud, "PUT", "/traffic", [{"latency_seconds": 20}])
    answer = here.get(headers={"x": "1"})
    assert (answer.status_code, answer.text) == (504, "upstream request timeout")


def test_a_dead_instance_breaks_requests_until_its_check_notices(here: Site) -> None:
    here.route(
        default_service=SERVICES + "bs",
        default_route_action=compute_v1.HttpRouteAction(
            retry_policy=compute_v1.HttpRetryPolicy(num_retries=0)
        ),
    )
    apply_effect(here.cloud, "kill")
    here.plane.refresh()
    assert here.get().status_code == 502
    here.run(60)
    assert here.get().status_code == 503


def test_a_gateway_error_is_retried_on_another_instance(here: Site) -> None:
    victim = here.served()[0]["name"]
    ask(here.cloud, "PUT", "/traffic", [{"name": victim, "error_rate": 1, "error_status": 503}])
    report = here.load(most=30, seconds=60)
    assert report.statuses == {200: 30}
    assert sum(here.plane.metrics.retries.values()) >= 10


def test_fault_injection_in_the_url_map_hits_its_share_of_requests(here: Site) -> None:
    abort = compute_v1.HttpFaultAbort(http_status=418, percentage=100)
    here.route(
        default_service=SERVICES + "bs",
        default_route_action=compute_v1.HttpRouteAction(
            fault_injection_policy=compute_v1.HttpFaultInjection(abort=abort)
        ),
    )
    assert here.get().status_code == 418


# Behaviour of instances


def test_a_release_answers_with_its_configured_errors_and_latency(here: Site) -> None:
    ask(
        here.cloud,
        "PUT",
        "/traffic",
        [{"template": "v1", "error_rate": 0.25, "latency_seconds": 0.02}],
    )
    report = here.load(most=400, seconds=60)
    assert 55 <= report.statuses[500] <= 145  # five standard deviations around 100
    assert min(report.durations) >= 0.02
    ask(here.cloud, "DELETE", "/traffic")
    assert here.load(most=50, seconds=60).statuses == {200: 50}


def test_requests_beyond_the_concurrency_wait_and_beyond_the_queue_are_rejected(here: Site) -> None:
    here.route(
        default_service=SERVICES + "bs",
        default_route_action=compute_v1.HttpRouteAction(
            retry_policy=compute_v1.HttpRetryPolicy(num_retries=0)
        ),
    )
    ask(here.cloud, "PUT", "/traffic", [{"concurrency": 1, "queue": 1, "latency_seconds": 0.3}])
    report = here.load(most=9, seconds=60, connections=9)
    assert report.statuses == {200: 6, 503: 3}
    assert max(report.durations) >= 0.6


def test_behaviours_set_how_the_instances_of_a_template_answer(fleet: Fleet) -> None:
    fleet.cloud.set_behaviours([{"template": "v1", "error_rate": 1, "error_status": 507}])
    with site(fleet) as here:
        assert here.get().status_code == 507
    with pytest.raises(ValueError, match="error_rate"):
        fleet.cloud.set_behaviours([{"error_rate": 2}])


@pytest.mark.parametrize(
    "wrong",
    [{"colour": "red"}, {"concurrency": 0}, {"error_status": 99}, 7, {"latency_seconds": "1"}],
)
def test_invalid_traffic_settings_are_rejected(cloud: Cloud, wrong: Any) -> None:
    assert ask(cloud, "POST", "/traffic", wrong)["error"]["code"] == 400
    assert cloud.traffic == []


# Draining, rollouts, capacity


def test_a_draining_instance_finishes_its_requests_and_gets_no_new_ones(here: Site) -> None:
    ask(here.cloud, "PUT", "/traffic", [{"latency_seconds": 1.5}])
    answers: list[requests.Response] = []
    threads = [threading.Thread(target=lambda: answers.append(here.get())) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: [each["in_flight"] for each in here.served()] == [1, 1, 1])
    here.fleet.resize(1)
    here.plane.refresh()
    assert sorted(each["takes_requests"] for each in here.served()) == [False, False, True]
    ask(here.cloud, "PUT", "/traffic", [])
    assert here.releases(10) == {"v1": 10}
    assert sorted(each["requests"] for each in here.served()) == [1, 1, 11]
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200, 200, 200]


def test_requests_in_flight_at_the_end_of_draining_are_cut_off(here: Site) -> None:
    here.route(
        default_service=SERVICES + "bs",
        default_route_action=compute_v1.HttpRouteAction(
            retry_policy=compute_v1.HttpRetryPolicy(num_retries=0)
        ),
    )
    here.change_service(timeout_sec=3600)
    ask(here.cloud, "PUT", "/traffic", [{"latency_seconds": 3600}])  # no response before the end
    answers: list[requests.Response] = []
    threads = [threading.Thread(target=lambda: answers.append(here.get())) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: [each["in_flight"] for each in here.served()] == [1, 1, 1])
    here.fleet.resize(0)
    here.run(31)  # the draining timeout is 30 s
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [502, 502, 502]


def test_a_rollout_under_load_fails_no_request(here: Site) -> None:
    reports = []
    thread = threading.Thread(
        target=lambda: reports.append(here.load(seconds=60, rate=300, most=900))
    )
    thread.start()
    here.fleet.versions(version("v2"))
    while not here.fleet.get().status.is_stable:
        here.run(5)
    here.run(60)
    thread.join()
    assert set(reports[0].statuses) == {200}
    assert here.releases(9) == {"v2": 9}


def test_the_previous_topology_serves_until_the_next_one_even_if_its_instances_change(
    here: Site,
) -> None:
    with here.cloud.lock:  # the watcher cannot read the cloud
        here.fleet.versions(version("v2"))
        here.fleet.run(600)
        assert here.fleet.get().status.is_stable
        assert here.releases(9) == {"v1": 9}
    here.plane.refresh()
    assert here.releases(9) == {"v2": 9}


def test_a_backend_without_capacity_gets_no_requests(here: Site) -> None:
    other = here.second()
    groups = f"projects/{PROJECT}/regions/us-central1/instanceGroups/"
    here.change_service(
        backends=[
            compute_v1.Backend(group=groups + here.fleet.name, capacity_scaler=0.0),
            compute_v1.Backend(group=groups + other.name, capacity_scaler=1.0),
        ]
    )
    assert here.releases(20) == {"v2": 20}


def test_backends_share_requests_by_their_capacity(here: Site) -> None:
    other = here.second()
    groups = f"projects/{PROJECT}/regions/us-central1/instanceGroups/"
    here.change_service(
        backends=[
            compute_v1.Backend(group=groups + here.fleet.name, capacity_scaler=1.0),
            compute_v1.Backend(group=groups + other.name, capacity_scaler=0.25),
        ]
    )
    assert here.releases(150) == {"v1": 120, "v2": 30}


# Concurrency


def test_a_holder_of_the_clouds_lock_can_refresh_the_topology_while_the_watcher_waits(
    here: Site,
) -> None:
    for latency in (0.001, 0.002, 0.003):
        with here.cloud.lock:
            time.sleep(3 * REFRESH_SECONDS)  # the watcher tries to refresh and waits for the lock
            ask(here.cloud, "PUT", "/traffic", [{"latency_seconds": latency}])
    assert here.get().status_code == 200


# Lifecycle


def test_without_a_data_plane_nothing_listens_and_the_control_reports_it(cloud: Cloud) -> None:
    assert ask(cloud, "GET", "/data-plane")["on"] is False


def test_all_ports_are_closed_on_stop(fleet: Fleet) -> None:
    with site(fleet) as here:
        urls = [here.url, *(each["url"] for each in here.served())]
    for url in urls:
        with pytest.raises(requests.ConnectionError):
            requests.get(url, timeout=10)


def test_the_program_serves_traffic_on_request() -> None:
    command = [sys.executable, "-m", "compute_emulator", "--port", "0", "--data-plane"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as program:
        assert program.stdout is not None
        url = program.stdout.readline().split()[-1].removesuffix("/control)")
        try:
            assert requests.get(f"{url}/control/data-plane", timeout=10).json()["on"] is True
        finally:
            program.terminate()


def test_the_load_generator_reports_the_responses(here: Site) -> None:
    command = [
        sys.executable,
        "-m",
        "compute_emulator.traffic.load_generator",
        here.url,
        "--seconds",
        "0.5",
        "--connections",
        "2",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    report = json.loads(done.stdout)
    assert report["statuses"] == {"200": report["requests"]} != {"200": 0}
    assert report["releases"] == {"v1": report["requests"]}
