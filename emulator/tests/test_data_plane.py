"""Real requests through the emulator's load balancers to its instances."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
import requests
from google.cloud import compute_v1

from compute_emulator import Cloud
from compute_emulator.control.instances import apply_effect
from compute_emulator.traffic.data_plane import REFRESH_SECONDS
from emulator.tests.clients import PROJECT, control
from emulator.tests.fleet import Fleet, version
from emulator.tests.load_balancer import SERVICES, LoadBalancer, load_balancer, until
from emulator.tests.readme import ROOT


def matcher(**members: Any) -> dict[str, Any]:
    """Members of a URL map in which every host uses one path matcher."""
    return {
        "default_service": SERVICES + "bs",
        "host_rules": [compute_v1.HostRule(hosts=["*"], path_matcher="pm")],
        "path_matchers": [
            compute_v1.PathMatcher({"name": "pm", "default_service": SERVICES + "bs"} | members)
        ],
    }


def test_healthy_instances_answer_in_turn_with_their_release(balancer: LoadBalancer) -> None:
    answers = [balancer.get("/hello") for _ in range(6)]
    assert {answer.json()["release"] for answer in answers} == {"v1"}
    assert [each["requests"] for each in balancer.service_instances()] == [2, 2, 2]
    assert answers[0].headers["x-release"] == "v1"
    assert answers[0].headers["via"] == "1.1 google"


def test_a_rule_without_a_description_shows_its_address_there(balancer: LoadBalancer) -> None:
    rules = balancer.clients.of(compute_v1.GlobalForwardingRulesClient)
    assert (
        rules.get(project=PROJECT, forwarding_rule="fr").description == f"served on {balancer.url}"
    )
    assert control(balancer.cloud, "GET", "/data-plane")["forwarding_rules"] == {
        "projects/demo/global/forwardingRules/fr": {"url": balancer.url}
    }


def test_weights_split_the_requests_between_two_releases(balancer: LoadBalancer) -> None:
    balancer.second()
    balancer.route(
        default_route_action=compute_v1.HttpRouteAction(
            weighted_backend_services=[
                compute_v1.WeightedBackendService(backend_service=SERVICES + "bs", weight=80),
                compute_v1.WeightedBackendService(backend_service=SERVICES + "bs2", weight=20),
            ]
        )
    )
    found = balancer.releases(1000)
    assert sum(found.values()) == 1000
    assert 140 <= found["v2"] <= 260  # five standard deviations around 200


def test_a_path_and_a_header_choose_the_backend_and_rewrites_reach_it(
    balancer: LoadBalancer,
) -> None:
    balancer.second()
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
    balancer.route(
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
    plain = balancer.get("/api/models")
    assert (plain.json()["release"], plain.json()["path"]) == ("v1", "/api/models")
    chosen = balancer.get(
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


def test_the_host_and_the_longest_path_choose_the_backend(balancer: LoadBalancer) -> None:
    balancer.second()
    paths = [
        compute_v1.PathRule(paths=["/models/*"], service=SERVICES + "bs2"),
        compute_v1.PathRule(paths=["/models/old/*"], service=SERVICES + "bs"),
        compute_v1.PathRule(
            paths=["/gone"],
            url_redirect=compute_v1.HttpRedirectAction(path_redirect="/models/", strip_query=True),
        ),
    ]
    balancer.route(
        default_service=SERVICES + "bs",
        host_rules=[compute_v1.HostRule(hosts=["*.two.example"], path_matcher="pm")],
        path_matchers=[
            compute_v1.PathMatcher(name="pm", default_service=SERVICES + "bs", path_rules=paths)
        ],
    )
    host = {"host": "api.two.example"}
    assert (
        balancer.get("/models/x").json()["release"] == "v1"
    )  # by address, which no host rule names
    assert balancer.get("/models/x", headers=host).json()["release"] == "v2"
    assert balancer.get("/models/old/x", headers=host).json()["release"] == "v1"
    assert (
        balancer.get("/gone?now=1", headers=host).headers["location"]
        == "http://api.two.example/models/"
    )


def test_a_redirect_is_answered_by_the_balancer_itself(balancer: LoadBalancer) -> None:
    redirect = compute_v1.HttpRedirectAction(
        https_redirect=True, redirect_response_code="PERMANENT_REDIRECT"
    )
    balancer.route(default_url_redirect=redirect)
    answer = balancer.get("/a?b=c")
    assert (answer.status_code, answer.headers["location"]) == (
        308,
        balancer.url.replace("http:", "https:") + "/a?b=c",
    )
    assert balancer.plane.metrics.requests == {}


def test_a_mirror_gets_every_request_and_the_client_does_not_notice(balancer: LoadBalancer) -> None:
    balancer.second()
    mirror = compute_v1.RequestMirrorPolicy(backend_service=SERVICES + "bs2")
    balancer.route(
        default_service=SERVICES + "bs",
        default_route_action=compute_v1.HttpRouteAction(request_mirror_policy=mirror),
    )
    assert balancer.releases(20) == {"v1": 20}
    until(lambda: sum(each["requests"] for each in balancer.service_instances("bs2")) == 20)


def test_bodies_reach_the_instance_complete_chunked_or_not(balancer: LoadBalancer) -> None:
    whole = requests.post(balancer.url, data="a" * 200_000, headers={"x-echo": "1"}, timeout=30)
    parts = requests.post(
        balancer.url, data=iter([b"one ", b"two"]), headers={"x-echo": "1"}, timeout=30
    )
    assert len(whole.json()["body"]) == 200_000
    assert parts.json()["body"] == "one two"


def test_invalid_http_is_rejected_without_harm(balancer: LoadBalancer) -> None:
    assert (
        requests.get(balancer.url, headers={"x-long": "a" * 70_000}, timeout=30).status_code == 431
    )
    assert balancer.get().status_code == 200


# Errors


@pytest.mark.parametrize(("scheme", "status"), [("EXTERNAL_MANAGED", 503), ("EXTERNAL", 502)])
def test_the_balancer_answers_if_no_instance_is_healthy(
    fleet: Fleet, scheme: str, status: int
) -> None:
    with load_balancer(fleet, scheme=scheme) as balancer:
        apply_effect(balancer.cloud, "unready")
        balancer.run(60)
        answer = balancer.get()
        assert answer.status_code == status
        if scheme == "EXTERNAL_MANAGED":
            assert answer.text == "no healthy upstream"


def test_an_instance_slower_than_the_timeout_causes_a_504(balancer: LoadBalancer) -> None:
    balancer.change_service(timeout_sec=1)
    control(balancer.cloud, "PUT", "/traffic", [{"latency_seconds": 20}])
    answer = balancer.get(headers={"x": "1"})
    assert (answer.status_code, answer.text) == (504, "upstream request timeout")


def test_a_dead_instance_breaks_requests_until_its_check_notices(balancer: LoadBalancer) -> None:
    balancer.route(
        default_service=SERVICES + "bs",
        default_route_action=compute_v1.HttpRouteAction(
            retry_policy=compute_v1.HttpRetryPolicy(num_retries=0)
        ),
    )
    apply_effect(balancer.cloud, "kill")
    balancer.plane.refresh()
    assert balancer.get().status_code == 502
    balancer.run(60)
    assert balancer.get().status_code == 503


def test_a_gateway_error_is_retried_on_another_instance(balancer: LoadBalancer) -> None:
    victim = balancer.service_instances()[0]["name"]
    control(
        balancer.cloud, "PUT", "/traffic", [{"name": victim, "error_rate": 1, "error_status": 503}]
    )
    report = balancer.load(most=30, seconds=60)
    assert report.statuses == {200: 30}
    assert sum(balancer.plane.metrics.retries.values()) >= 10


def test_fault_injection_in_the_url_map_hits_its_share_of_requests(balancer: LoadBalancer) -> None:
    abort = compute_v1.HttpFaultAbort(http_status=418, percentage=100)
    balancer.route(
        default_service=SERVICES + "bs",
        default_route_action=compute_v1.HttpRouteAction(
            fault_injection_policy=compute_v1.HttpFaultInjection(abort=abort)
        ),
    )
    assert balancer.get().status_code == 418


# Behaviour of instances


def test_a_release_answers_with_its_configured_errors_and_latency(balancer: LoadBalancer) -> None:
    control(
        balancer.cloud,
        "PUT",
        "/traffic",
        [{"template": "v1", "error_rate": 0.25, "latency_seconds": 0.02}],
    )
    report = balancer.load(most=400, seconds=60)
    assert 55 <= report.statuses[500] <= 145  # five standard deviations around 100
    assert min(report.durations) >= 0.02
    control(balancer.cloud, "DELETE", "/traffic")
    assert balancer.load(most=50, seconds=60).statuses == {200: 50}


def test_requests_beyond_the_concurrency_wait_and_beyond_the_queue_are_rejected(
    balancer: LoadBalancer,
) -> None:
    balancer.route(
        default_service=SERVICES + "bs",
        default_route_action=compute_v1.HttpRouteAction(
            retry_policy=compute_v1.HttpRetryPolicy(num_retries=0)
        ),
    )
    control(
        balancer.cloud, "PUT", "/traffic", [{"concurrency": 1, "queue": 1, "latency_seconds": 0.3}]
    )
    report = balancer.load(most=9, seconds=60, connections=9)
    assert report.statuses == {200: 6, 503: 3}
    assert max(report.durations) >= 0.6


def test_behaviours_set_how_the_instances_of_a_template_answer(fleet: Fleet) -> None:
    fleet.cloud.set_behaviours([{"template": "v1", "error_rate": 1, "error_status": 507}])
    with load_balancer(fleet) as balancer:
        assert balancer.get().status_code == 507
    with pytest.raises(ValueError, match="error_rate"):
        fleet.cloud.set_behaviours([{"error_rate": 2}])


@pytest.mark.parametrize(
    "wrong",
    [{"colour": "red"}, {"concurrency": 0}, {"error_status": 99}, 7, {"latency_seconds": "1"}],
)
def test_invalid_traffic_settings_are_rejected(cloud: Cloud, wrong: Any) -> None:
    assert control(cloud, "POST", "/traffic", wrong)["error"]["code"] == 400
    assert cloud.traffic == []


# Draining, rollouts, capacity


def test_a_draining_instance_finishes_its_requests_and_gets_no_new_ones(
    balancer: LoadBalancer,
) -> None:
    control(balancer.cloud, "PUT", "/traffic", [{"latency_seconds": 1.5}])
    answers: list[requests.Response] = []
    threads = [threading.Thread(target=lambda: answers.append(balancer.get())) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: [each["in_flight"] for each in balancer.service_instances()] == [1, 1, 1])
    balancer.fleet.resize(1)
    balancer.plane.refresh()
    assert sorted(each["takes_requests"] for each in balancer.service_instances()) == [
        False,
        False,
        True,
    ]
    control(balancer.cloud, "PUT", "/traffic", [])
    assert balancer.releases(10) == {"v1": 10}
    assert sorted(each["requests"] for each in balancer.service_instances()) == [1, 1, 11]
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200, 200, 200]


def test_requests_in_flight_at_the_end_of_draining_are_cut_off(balancer: LoadBalancer) -> None:
    balancer.route(
        default_service=SERVICES + "bs",
        default_route_action=compute_v1.HttpRouteAction(
            retry_policy=compute_v1.HttpRetryPolicy(num_retries=0)
        ),
    )
    balancer.change_service(timeout_sec=3600)
    control(
        balancer.cloud, "PUT", "/traffic", [{"latency_seconds": 3600}]
    )  # no response before the end
    answers: list[requests.Response] = []
    threads = [threading.Thread(target=lambda: answers.append(balancer.get())) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: [each["in_flight"] for each in balancer.service_instances()] == [1, 1, 1])
    balancer.fleet.resize(0)
    balancer.run(31)  # the draining timeout is 30 s
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [502, 502, 502]


def test_a_rollout_under_load_fails_no_request(balancer: LoadBalancer) -> None:
    reports = []
    thread = threading.Thread(
        target=lambda: reports.append(balancer.load(seconds=60, rate=300, most=900))
    )
    thread.start()
    balancer.fleet.versions(version("v2"))
    while not balancer.fleet.get().status.is_stable:
        balancer.run(5)
    balancer.run(60)
    thread.join()
    assert set(reports[0].statuses) == {200}
    assert balancer.releases(9) == {"v2": 9}


def test_the_previous_topology_serves_until_the_next_one_even_if_its_instances_change(
    balancer: LoadBalancer,
) -> None:
    with balancer.cloud.lock:  # the watcher cannot read the cloud
        balancer.fleet.versions(version("v2"))
        balancer.fleet.run(600)
        assert balancer.fleet.get().status.is_stable
        assert balancer.releases(9) == {"v1": 9}
    balancer.plane.refresh()
    assert balancer.releases(9) == {"v2": 9}


def test_a_backend_without_capacity_gets_no_requests(balancer: LoadBalancer) -> None:
    other = balancer.second()
    groups = f"projects/{PROJECT}/regions/us-central1/instanceGroups/"
    balancer.change_service(
        backends=[
            compute_v1.Backend(group=groups + balancer.fleet.name, capacity_scaler=0.0),
            compute_v1.Backend(group=groups + other.name, capacity_scaler=1.0),
        ]
    )
    assert balancer.releases(20) == {"v2": 20}


def test_backends_share_requests_by_their_capacity(balancer: LoadBalancer) -> None:
    other = balancer.second()
    groups = f"projects/{PROJECT}/regions/us-central1/instanceGroups/"
    balancer.change_service(
        backends=[
            compute_v1.Backend(group=groups + balancer.fleet.name, capacity_scaler=1.0),
            compute_v1.Backend(group=groups + other.name, capacity_scaler=0.25),
        ]
    )
    assert balancer.releases(150) == {"v1": 120, "v2": 30}


# Concurrency


def test_a_holder_of_the_clouds_lock_can_refresh_the_topology_while_the_watcher_waits(
    balancer: LoadBalancer,
) -> None:
    for latency in (0.001, 0.002, 0.003):
        with balancer.cloud.lock:
            time.sleep(3 * REFRESH_SECONDS)  # the watcher tries to refresh and waits for the lock
            control(balancer.cloud, "PUT", "/traffic", [{"latency_seconds": latency}])
    assert balancer.get().status_code == 200


# Lifecycle


def test_without_a_data_plane_nothing_listens_and_the_control_reports_it(cloud: Cloud) -> None:
    assert control(cloud, "GET", "/data-plane")["on"] is False


def test_all_ports_are_closed_on_stop(fleet: Fleet) -> None:
    with load_balancer(fleet) as balancer:
        urls = [balancer.url, *(each["url"] for each in balancer.service_instances())]
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


def test_the_load_generator_reports_the_responses(balancer: LoadBalancer) -> None:
    command = [
        sys.executable,
        "-m",
        "compute_emulator.traffic.load_generator",
        balancer.url,
        "--seconds",
        "0.5",
        "--connections",
        "2",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    report = json.loads(done.stdout)
    assert report["statuses"] == {"200": report["requests"]} != {"200": 0}
    assert report["releases"] == {"v1": report["requests"]}


def test_a_stopped_load_generator_finishes_its_streams(balancer: LoadBalancer) -> None:
    module = "compute_emulator.traffic.load_generator"
    command = [sys.executable, "-m", module, balancer.url, "--seconds", "60", "--connections", "2"]
    command += ["--header", "x-stream-seconds: 0.4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as program:
        until(lambda: sum(each["in_flight"] for each in balancer.service_instances()) == 2)
        program.terminate()
        report = json.loads(program.communicate(timeout=20)[0])
    assert report["statuses"] == {"200": 2}
