"""A bad canary under real requests, judged by what a real Prometheus scrapes.

The first release comes about in virtual time. From then on Slipway has the real time, as Prometheus
has: windows last seconds, not minutes. Only Compute Engine is faster than it would be.
"""

from __future__ import annotations

import re
import time
from math import sqrt
from pathlib import Path

import pytest

from compute_emulator import route
from infra.metrics.prometheus import Prometheus
from tests.live import LiveScenario, Load, model_url
from tests.prometheus import ask, prometheus, scrape, until
from tests.scenario import Scenario

pytestmark = pytest.mark.wide

ANALYSIS = {"window_seconds": 2, "warm_up_seconds": 0}
RATE, WEIGHT, ERRORS = 500.0, 0.05, 0.03
PATIENCE = 120.0


def is_taken_back(story: Scenario) -> bool:
    """No request reaches the canary any longer."""
    weights = dict(route(story.url_map(), "", "/tiny").weights)
    has_requests = any(weight for url, weight in weights.items() if url.endswith("-green"))
    return story.log()[-1]["to"] == "rolling_back" and not has_requests


def test_a_canary_with_three_percent_errors_is_caught_at_five_percent_of_the_requests(
    tmp_path: Path,
) -> None:
    story = LiveScenario()
    story.given_behaviour("2", error_rate=ERRORS)
    steps = [{"weight": 100 * WEIGHT, "hold_seconds": 300}, {"weight": 100}]
    quick = {"bake_seconds": 0, "watch_seconds": 0, "keep_old_seconds": 0}
    sent = Load(RATE)
    with (
        story.emulator.serve() as server,
        story.emulator.data_plane() as plane,
        prometheus(tmp_path, scrape(server.url.removeprefix("http://"), 0.5)) as url,
    ):
        story.given_serving("1", rollout={"strategy": "canary", "steps": steps} | quick)
        story.given_metrics(Prometheus(url))
        latest = time.monotonic() + PATIENCE
        story.clock.go_live(lambda: is_taken_back(story) or time.monotonic() > latest)
        with sent.sent(model_url(plane)):
            until(lambda: bool(ask(url, "lb_requests_total")), PATIENCE)
            story.when_seconds_pass(6)  # the stable release has windows to compare with
            story.when_released("2", rollout={"gates": {"http_errors": {}}, "analysis": ANALYSIS})
            while story.clock.is_live:
                story.when_seconds_pass(1)
        assert time.monotonic() < latest, story.history()
        story.when_settled()
    assert story.outcome("2") == "rolled_back"
    assert story.reason("2") == "gate"
    record = re.search(
        r"http_errors: (\d+) of (\d+) against [\d,]+ of [\d,]+ on rel.*→ fail", story.why("2")
    )
    assert record, story.why("2")
    assert 5 <= int(record[1]) <= sent.failed
    allowed = sent.requests * WEIGHT * ERRORS
    assert sent.failed <= allowed + 4 * sqrt(allowed)
