"""A real Prometheus scrapes the emulator's data plane, and the adapter reads from it what clients
sent.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from compute_emulator import DataPlane, Emulator
from infra.metrics.port import SeriesFound
from infra.metrics.prometheus import LoadBalancer, Prometheus
from rollout.measurements import Measured, Unmeasured
from tests.prometheus import prometheus, scrape, until

BLUE, GREEN = "slipway-tiny-blue", "slipway-tiny-green"
SCRAPE = 0.2


def respond(plane: DataPlane, service: str, times: int, release: str = "v1") -> None:
    """What the balancer records when it has answered requests."""
    for _ in range(times):
        plane.metrics.record_response((service, "group", release, "0"), 200, 0.01)


@pytest.mark.wide
def test_requests_are_counted_by_backend_service_as_a_real_prometheus_saw_them(
    tmp_path: Path,
) -> None:
    emulator = Emulator("demo")
    with emulator.serve() as server, emulator.data_plane() as plane:
        target = server.url.removeprefix("http://")
        with prometheus(tmp_path, scrape(target, SCRAPE)) as url:
            source = Prometheus(url)
            since = datetime.now(UTC) - timedelta(seconds=60)

            def requests_of(service: str) -> float:
                answer = source.count_requests((BLUE, GREEN), since, datetime.now(UTC))[service]
                return answer.requests if isinstance(answer, Measured) else -1.0

            def lack() -> Unmeasured:
                answer = source.count_requests((BLUE, GREEN), since, datetime.now(UTC))[GREEN]
                assert isinstance(answer, Unmeasured), answer
                return answer

            until(lambda: lack().kind == "no-series")  # it runs, and has scraped nothing of ours
            respond(plane, BLUE, 1000)
            until(lambda: requests_of(BLUE) == 0)  # the first sample is where counting begins
            assert lack().why == f"no series of {GREEN}"
            respond(plane, BLUE, 7)
            respond(plane, GREEN, 1, release="v2")
            until(lambda: (requests_of(BLUE), requests_of(GREEN)) == (7, 0))
            respond(plane, GREEN, 12, release="v2")
            until(lambda: (requests_of(BLUE), requests_of(GREEN)) == (7, 12))

            now = datetime.now(UTC)
            own = f'sum(lb_requests_total{{backend_service="{GREEN}"}})'
            found = source.query(own, now)
            assert isinstance(found, SeriesFound)
            assert [each.samples[0][1] for each in found.series] == [13]
            renamed = Prometheus(
                url, LoadBalancer('lb_requests_total{cluster=~"$backend_services"}')
            )
            answer = renamed.count_requests((GREEN,), since, now)[GREEN]
            assert isinstance(answer, Unmeasured)
            assert answer.kind == "labels"
            broken = source.query("sum(", now)
            assert isinstance(broken, Unmeasured)
            assert broken.kind == "http"
            assert "parse error" in broken.why
