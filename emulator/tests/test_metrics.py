"""Metrics of the emulator, read with Prometheus's parser and, where installed, by Prometheus
itself.
"""

from __future__ import annotations

import math
import shutil
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests
from google.cloud import compute_v1
from prometheus_client.parser import text_string_to_metric_families

from compute_emulator import Cloud, VirtualClock, serve
from compute_emulator.control.instances import apply_effect
from compute_emulator.traffic import metrics
from emulator.tests.clients import Clients
from emulator.tests.fleet import Fleet
from emulator.tests.load_balancer import SERVICES, LoadBalancer, until


def parse_metrics(text: str) -> dict[str, list[Any]]:
    """Samples by name."""
    found: dict[str, list[Any]] = {}
    for family in text_string_to_metric_families(text):
        assert family.type != "unknown"
        assert family.documentation
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


def test_counts_errors_and_durations_by_release_match_what_clients_saw(
    balancer: LoadBalancer,
) -> None:
    balancer.second()
    balancer.cloud.traffic = [{"template": "v1", "error_rate": 0.3}]
    balancer.plane.refresh()
    report = balancer.load(most=200, seconds=60)
    with serve(balancer.cloud) as server:
        answer = requests.get(f"{server.url}/metrics", timeout=10)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    samples = parse_metrics(answer.text)
    by_code = {int(each.labels["code"]): each.value for each in samples["lb_requests_total"]}
    assert by_code == dict(report.statuses)
    assert {each.labels["release"] for each in samples["lb_requests_total"]} == {"v1"}
    assert [each.value for each in samples["lb_request_errors_total"]] == [report.statuses[500]]
    buckets = samples["lb_request_duration_seconds_bucket"]
    assert all(before.value <= after.value for before, after in pairwise(buckets))
    assert (float(buckets[-1].labels["le"]), buckets[-1].value) == (math.inf, 200)
    assert samples["lb_request_duration_seconds_count"][0].value == 200
    assert 0 < samples["lb_request_duration_seconds_sum"][0].value <= sum(report.durations)


def test_instances_are_gauges_by_release_even_without_traffic(
    cloud: Cloud, clients: Clients, clock: VirtualClock
) -> None:
    fleet = Fleet(clients, clock)
    fleet.create(4)
    fleet.settle()
    with serve(cloud) as server:
        samples = parse_metrics(requests.get(f"{server.url}/metrics", timeout=10).text)
    running = [each for each in samples["compute_instances"] if each.labels["status"] == "RUNNING"]
    assert [(each.labels["group"], each.labels["release"], each.value) for each in running] == [
        ("tiny", "v1", 4.0)
    ]
    assert "lb_requests_total" not in samples


# Triton's counters have no suffix; Prometheus's Python parser gives them one.
SUCCESSES, FAILURES = (f"nv_inference_request_{end}_total" for end in ("success", "failure"))


def instance_samples(url: str) -> dict[str, list[Any]]:
    answer = requests.get(f"{url}/metrics", timeout=10)
    assert answer.headers["content-type"] == metrics.CONTENT_TYPE
    return parse_metrics(answer.text)


def by_label(samples: list[Any], label: str) -> dict[str, float]:
    return {each.labels[label]: each.value for each in samples}


def test_each_instance_counts_its_own_requests_under_the_names_of_model_servers(
    balancer: LoadBalancer,
) -> None:
    balancer.cloud.traffic = [{"latency_seconds": 0.02, "error_rate": 0.5, "error_status": 500}]
    balancer.plane.refresh()
    report = balancer.load(most=60, seconds=60)
    ends: Counter[str] = Counter()
    first_tokens = 0.0
    instances = balancer.service_instances()
    for each in instances:
        samples = instance_samples(each["url"])
        finished = by_label(samples["vllm:request_success_total"], "finished_reason")
        assert set(finished) == {"stop", "length", "abort", "error", "repetition"}
        ends.update(finished)
        edges = by_label(samples["vllm:time_to_first_token_seconds_bucket"], "le")
        assert edges["0.01"] == 0
        assert edges["0.25"] == edges["+Inf"] == finished["stop"]
        first_tokens += samples["vllm:time_to_first_token_seconds_count"][0].value
        latencies = samples["vllm:e2e_request_latency_seconds_count"][0]
        assert latencies.value == each["requests"] == finished["stop"] + finished["error"]
        assert latencies.labels == {"engine": "0", "model_name": "tiny"}
        failed = by_label(samples[FAILURES], "reason")
        assert (failed["BACKEND"], failed["CANCELED"]) == (finished["error"], 0)
        assert samples[SUCCESSES][0].value == finished["stop"]
    assert (ends["stop"], ends["error"]) == (report.statuses[200], report.statuses[500])
    assert first_tokens == report.statuses[200] > 0
    assert [each["requests"] for each in balancer.service_instances()] == [
        each["requests"] for each in instances
    ], "a scrape is no request"


def test_an_instance_measures_its_streams_its_queue_and_who_left(balancer: LoadBalancer) -> None:
    balancer.fleet.resize(1)
    balancer.cloud.traffic = [{"concurrency": 1, "queue": 1, "latency_seconds": 0.3}]
    balancer.settle()
    (instance,) = [each["url"] for each in balancer.service_instances() if each["takes_requests"]]
    report = balancer.load(most=3, connections=3, seconds=60)
    assert report.statuses == {200: 2, 503: 1}
    balancer.load(most=1, headers={"x-stream-seconds": "0.4", "x-stream-interval-seconds": "0.1"})
    leaving = requests.get(balancer.url, headers={"x-stream-seconds": "60"}, stream=True, timeout=9)
    leaving.close()

    def finished() -> dict[str, float]:
        samples = instance_samples(instance)
        return by_label(samples["vllm:request_success_total"], "finished_reason")

    until(lambda: finished()["abort"] == 1)
    samples = instance_samples(instance)
    assert finished()["stop"] == 3
    assert by_label(samples[FAILURES], "reason")["REJECTED"] == 2  # it was retried
    assert samples["vllm:request_queue_time_seconds_sum"][0].value > 0.25
    gaps = by_label(samples["vllm:inter_token_latency_seconds_bucket"], "le")
    assert (gaps["0.075"], gaps["+Inf"] >= 3) == (0, True)
    assert samples["vllm:num_requests_waiting"][0].value == 0


def test_a_crash_ends_the_counters_of_an_instance(balancer: LoadBalancer) -> None:
    balancer.load(most=30, seconds=60)
    url = balancer.service_instances()[0]["url"]

    def answered() -> float:
        samples = instance_samples(url)["vllm:request_success_total"]
        return sum(by_label(samples, "finished_reason").values())

    assert answered() > 0
    name = balancer.service_instances()[0]["name"]
    apply_effect(balancer.cloud, "kill", name=name)
    balancer.plane.refresh()
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/metrics", timeout=10)
    apply_effect(balancer.cloud, "revive", name=name)
    balancer.plane.refresh()
    assert answered() == 0


def test_label_values_are_escaped() -> None:
    text = metrics.family("odd", "gauge", "Odd.", [("", {"name": 'a"b\\c\nd'}, 1.5)])
    assert parse_metrics(text)["odd"][0].labels == {"name": 'a"b\\c\nd'}


HAS_PROMETHEUS = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not installed"
)


@contextmanager
def prometheus(cloud: Cloud, folder: Path) -> Iterator[str]:
    """The address of a Prometheus that scrapes a cloud."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with serve(cloud) as server:
        target = server.url.removeprefix("http://")
        settings = folder / "prometheus.yml"
        settings.write_text(
            "scrape_configs: [{job_name: emulator, scrape_interval: 500ms, scrape_timeout: 500ms,"
            f" static_configs: [{{targets: ['{target}']}}]}}]\n"
        )
        command = [
            "prometheus",
            f"--config.file={settings}",
            f"--storage.tsdb.path={folder}",
            f"--web.listen-address={address}",
        ]
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as program:
            try:
                yield address
            finally:
                program.terminate()


@contextmanager
def steady_load(balancer: LoadBalancer) -> Iterator[None]:
    """Send requests until the block ends."""
    ended = threading.Event()

    def send() -> None:
        while not ended.is_set():
            balancer.load(most=40, rate=80, seconds=60)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@HAS_PROMETHEUS
def test_prometheus_scrapes_requests_by_release(balancer: LoadBalancer, tmp_path: Path) -> None:
    balancer.load(most=50, seconds=60)
    with prometheus(balancer.cloud, tmp_path) as address:
        until(lambda: _query(address, "sum by (release) (lb_requests_total)") == [("v1", "50")])
        assert _query(address, "sum by (release) (lb_request_errors_total)") == [("v1", "0")]
        quantile = (
            "histogram_quantile(0.5, sum by (release, le) (lb_request_duration_seconds_bucket))"
        )
        assert float(_query(address, quantile)[0][1]) > 0


@HAS_PROMETHEUS
def test_prometheus_distinguishes_rate_errors_and_quantile_of_two_releases(
    balancer: LoadBalancer, tmp_path: Path
) -> None:
    balancer.second()
    weighted = [
        compute_v1.WeightedBackendService(backend_service=SERVICES + name, weight=50)
        for name in ("bs", "bs2")
    ]
    balancer.route(
        default_route_action=compute_v1.HttpRouteAction(weighted_backend_services=weighted)
    )
    balancer.cloud.traffic = [{"template": "v2", "latency_seconds": 0.3, "error_rate": 1.0}]
    balancer.plane.refresh()
    with prometheus(balancer.cloud, tmp_path) as address, steady_load(balancer):
        rate = "sum by (release) (rate(lb_requests_total[1m]))"
        until(
            lambda: (
                len(both := _query(address, rate)) == 2
                and all(float(value) > 1 for _, value in both)
            )
        )
        share = f"sum by (release) (rate(lb_request_errors_total[1m])) / {rate}"
        assert {release: float(value) for release, value in _query(address, share)} == {
            "v1": 0.0,
            "v2": 1.0,
        }
        quantile = (
            "histogram_quantile(0.9, sum by (release, le)"
            " (rate(lb_request_duration_seconds_bucket[1m])))"
        )
        assert (
            float(dict(_query(address, quantile))["v2"]) > 0.25
        )  # the bucket of 0.3 s starts there


def _query(address: str, query: str) -> list[tuple[str, str]]:
    """Release and value of each result; empty while Prometheus is not up or has no data."""
    try:
        answer = requests.get(f"http://{address}/api/v1/query", params={"query": query}, timeout=10)
        found = answer.json().get("data", {}).get("result", []) if answer.ok else []
    except requests.RequestException:
        return []
    return [(each["metric"].get("release", ""), each["value"][1]) for each in found]
