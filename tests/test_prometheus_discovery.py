"""The shipped Prometheus finds the instances of a canary by Google's API and reads their metrics,
by which gates tell its releases apart.

Prometheus is the real one, with the configuration of `deploy/prometheus.sh`. Its requests to
compute.googleapis.com go to the emulator, and those to an instance's internal address and port go
to that instance of the emulator.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest
import requests

from compute_emulator import DataPlane, Server
from emulator.tests.tls_proxy import tls_proxy
from infra.fleet.naming import label_value
from infra.metrics.port import Names
from infra.metrics.prometheus import Prometheus
from infra.store.repository import release_path
from rollout.analysis import source_of
from rollout.measurements import Counts, GateQuery, Subject, Windows
from rollout.model import Colour
from rollout.spec.gates import Gate, resolved
from tests.live import LiveScenario, Load, model_url
from tests.prometheus import ask, prometheus, until
from tests.scenario import PROJECT, Scenario
from tests.tools import require_program

DEPLOY = Path(__file__).parents[1] / "deploy"
ZONES = tuple(f"us-central1-{each}" for each in "abcf")
PORT, METRICS_PORT = 9000, 9002
PATIENCE, SECONDS = 60.0, 5  # of a window: long enough for a lost scrape
SERVING = {"port": PORT, "metrics_port": METRICS_PORT}
GATES = {
    "vllm_errors": Gate(),
    "triton_errors": Gate(),
    "vllm_ttft": Gate(slower_than_seconds=0.25),
    "vllm_inter_token": Gate(slower_than_seconds=0.1),
    "vllm_queue": Gate(slower_than_seconds=0.3),
}


def rendered(folder: Path, *arguments: str) -> str:
    """The configuration that `deploy/prometheus.sh` gives its machine."""
    gcloud, saved = folder / "gcloud", folder / "rendered.yml"
    gcloud.write_text(
        "#!/bin/bash\n"
        'case "$*" in *describe*) echo "NOT_FOUND: no such resource" >&2; exit 1 ;; esac\n'
        'for part in "$@"; do\n'
        f'  case "$part" in *prometheus-config=*) cp "${{part##*=}}" {saved} ;; esac\n'
        "done\n"
    )
    gcloud.chmod(0o755)
    result = subprocess.run(
        [DEPLOY / "prometheus.sh", f"--project={PROJECT}", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"},
    )
    assert result.returncode == 0, result.stderr
    return saved.read_text()


class Network:
    """What an instance in the project reaches: the metadata server, which hands out a token, and
    the other instances by their internal addresses.
    """

    def __init__(self, story: Scenario, plane: DataPlane) -> None:
        self._story, self._plane = story, plane

    def app_at(self, address: str | None) -> str | None:
        """The URL of the instance's app; None if nothing answers there."""
        names = {
            resource["networkInterfaces"][0]["networkIP"]: resource["name"]
            for _, resource in self._story.emulator.resources("instances")
        }
        apps = {
            each["name"]: each["url"]
            for service in self._plane.state()["backend_services"].values()
            for each in service
        }
        return apps.get(names.get(address))

    @contextmanager
    def served(self) -> Iterator[str]:
        """`host:port` of the metadata server, which is the instances' HTTP proxy too."""
        network = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.startswith("/computeMetadata/"):
                    body = b'{"access_token": "t", "expires_in": 3600, "token_type": "Bearer"}'
                else:
                    url = urlsplit(self.path)
                    assert url.port == METRICS_PORT
                    app = network.app_at(url.hostname)
                    if app is None:
                        self.send_error(502)
                        return
                    body = requests.get(app + url.path, timeout=5).content
                self.send_response(200)
                self.send_header("Metadata-Flavor", "Google")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with suppress(ConnectionError):  # a scrape that took too long
                    self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


@contextmanager
def shipped_prometheus(
    folder: Path, story: Scenario, server: Server, plane: DataPlane
) -> Iterator[str]:
    """The URL of the Prometheus that `deploy/prometheus.sh` configures, in the story's project."""
    with Network(story, plane).served() as network, tls_proxy(server.port) as google:
        (folder / "ca.pem").write_text(google.certificate)
        environment = {
            "GCE_METADATA_HOST": network,
            "HOME": str(folder),
            "HTTPS_PROXY": google.url,
            "SSL_CERT_FILE": str(folder / "ca.pem"),
        }
        settings = quickened(rendered(folder, f"--zones={','.join(ZONES)}"), network)
        with prometheus(folder, settings, environment) as url:
            yield url


def quickened(settings: str, proxy: str) -> str:
    """The same configuration, faster, and with the way to the emulator's instances."""
    for pattern, replacement in (
        (r"scrape_interval: \d+s", "scrape_interval: 1s"),
        (r"scrape_timeout: \d+s", "scrape_timeout: 1s"),
        (r"refresh_interval: \d+s", "refresh_interval: 1s"),
        (r"metrics_path: /metrics", f"metrics_path: /metrics\n    proxy_url: http://{proxy}"),
    ):
        settings, count = re.subn(pattern, replacement, settings)
        assert count, pattern
    return settings


Both = tuple[Counts, Counts]


def send_requests(url: str) -> Both:
    """Streams of two tokens. Returns how many candidate and stable release answered and failed."""
    headers = {"x-stream-seconds": "0.3", "x-stream-interval-seconds": "0.15"}
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: requests.get(url, headers=headers), range(120)))
    by_colour = [
        [each.status_code for each in answers if colour in each.headers["x-instance"]]
        for colour in ("green", "blue")
    ]
    candidate, stable = (Counts(each.count(500), len(each)) for each in by_colour)
    assert candidate.total + stable.total == 120
    return candidate, stable


def subject(story: Scenario, colour: Colour, version: str) -> tuple[Subject, Names]:
    document = story.store.get(release_path("tiny", version))
    assert document
    template = document.data["template"]
    names = Names(f"slipway-tiny-{colour}", label_value(version), template)
    return Subject(colour, version, template), names


def measured(story: Scenario, url: str, name: str) -> Both:
    """What a gate learns of candidate and stable release, all windows together."""
    source = source_of(name, resolved(name, GATES[name]))
    assert source
    until = datetime.fromtimestamp(time.time() // SECONDS * SECONDS, UTC)
    (candidate, candidate_names), (stable, stable_names) = (
        subject(story, "green", "2-RC1"),
        subject(story, "blue", "1"),
    )
    since = until - timedelta(seconds=60)
    query = GateQuery(name, source, candidate, stable, since, until, 1, until)
    answer = Prometheus(url).read_windows(query, candidate_names, stable_names)
    assert isinstance(answer, Windows), answer
    sides = (
        [each.candidate for each in answer.windows],
        [each.baseline for each in answer.windows],
    )
    counted = ([each for each in side if isinstance(each, Counts)] for side in sides)
    of_candidate, of_stable = (
        Counts(sum(each.bad for each in counts), sum(each.total for each in counts))
        for counts in counted
    )
    return of_candidate, of_stable


@pytest.mark.wide
def test_promtool_accepts_the_configuration_with_a_line_for_each_zone(tmp_path: Path) -> None:
    settings = rendered(tmp_path, f"--zones={','.join(ZONES)}")
    assert re.findall(r"project: (\S+), zone: (\S+),", settings) == [
        (PROJECT, zone) for zone in ZONES
    ]
    for file in (DEPLOY / "prometheus" / "prometheus.yml", tmp_path / "rendered.yml"):
        checked = subprocess.run(
            [require_program("promtool"), "check", "config", file], capture_output=True, text=True
        )
        assert checked.returncode == 0, checked.stderr


@pytest.mark.wide
def test_the_metrics_of_both_releases_are_told_apart_instance_by_instance(tmp_path: Path) -> None:
    story = Scenario()
    story.given_behaviour("2-RC1", error_rate=0.3, latency_seconds=0.3)
    with story.emulator.serve() as server, story.emulator.data_plane() as plane:
        steps = [{"weight": 50, "hold_seconds": 3600}, {"weight": 100}]
        canary = {"strategy": "canary", "steps": steps, "bake_seconds": 0}
        story.given_serving("1", serving=SERVING, rollout=canary)
        story.when_released("2-RC1")
        story.when_minutes_pass(6)
        assert story.healthy_by_version() == {"1": 3, "2-RC1": 3}
        plane.refresh()
        with shipped_prometheus(tmp_path, story, server, plane) as url:
            total = 'vllm:request_success_total{finished_reason="stop"}'
            until(lambda: len(ask(url, total)) == 6, PATIENCE)
            found = [labels for labels, _ in ask(url, total)]
            sent = send_requests(model_url(plane))
            until(lambda: measured(story, url, "vllm_errors") == sent, PATIENCE)
            by_gate = {name: measured(story, url, name) for name in GATES}
    templates = {
        each["template"]: each["version"] for each in story.emulator.instances() if each["status"]
    }
    assert len(templates) == 2
    by_instance = {each["name"]: each for each in story.emulator.instances()}
    for labels in found:
        instance = by_instance[labels["instance"]]
        assert (labels["model"], labels["job"]) == ("tiny", "slipway")
        assert labels["template"] == instance["template"]
        assert labels["group"] == instance["group"]
        assert labels["zone"] == instance["zone"]
    assert sorted((each["release"], each["group"]) for each in found) == [
        *[("1", "slipway-tiny-blue")] * 3,
        *[("2-rc1", "slipway-tiny-green")] * 3,
    ]
    candidate, stable = sent
    answered = candidate.total - candidate.bad
    assert by_gate == {
        "vllm_errors": sent,
        "triton_errors": sent,
        "vllm_ttft": (Counts(answered, answered), stable),
        "vllm_inter_token": (Counts(answered, answered), Counts(stable.total, stable.total)),
        "vllm_queue": (Counts(0, candidate.total), stable),
    }


def has_verdict(story: Scenario) -> bool:
    last = story.log()[-1]
    return last["release"] == "2" and last["to"] in ("rolling_back", "succeeded")


@pytest.mark.nightly
@pytest.mark.parametrize(("error_rate", "outcome"), [(0.1, "rolled_back"), (0.0, "succeeded")])
def test_a_rolling_release_is_judged_by_its_own_instances_in_the_group_of_both(
    tmp_path: Path, error_rate: float, outcome: str
) -> None:
    story = LiveScenario()
    story.given_behaviour("2", error_rate=error_rate)
    steps = [{"percent": 10, "hold_seconds": 20}, {"percent": 100, "hold_seconds": 0}]
    rolling = {"steps": steps, "bake_seconds": 0, "watch_seconds": 0}
    with (
        story.emulator.serve() as server,
        story.emulator.data_plane() as plane,
        shipped_prometheus(tmp_path, story, server, plane) as url,
    ):
        story.given_serving("1", serving=SERVING, rollout=rolling)
        story.given_metrics(Prometheus(url))
        latest = time.monotonic() + 180
        story.clock.go_live(lambda: has_verdict(story) or time.monotonic() > latest)
        with Load(200).sent(model_url(plane)):
            until(lambda: bool(ask(url, "vllm:request_success_total")))
            story.when_seconds_pass(8)
            gates = {"vllm_errors": {"tolerated_share": 0.02}}
            analysis = {"window_seconds": 4, "warm_up_seconds": 0}
            story.when_released("2", rollout={"gates": gates, "analysis": analysis})
            while story.clock.is_live:
                story.when_seconds_pass(1)
        assert time.monotonic() < latest, story.history()
        story.when_settled()
    assert story.outcome("2") == outcome, story.history()
    assert outcome == "succeeded" or re.search(r"vllm_errors: .* on release 1", story.why("2"))
