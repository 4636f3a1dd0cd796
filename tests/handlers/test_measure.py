"""What a pass asks the source of metrics, and what it leaves when the source is late."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import pytest

from handlers.reconcile.measure import measure_gates
from infra.metrics.port import Names, SeriesFound
from infra.wiring import World
from rollout.measurements import Answer, GateQuery, Unmeasured, WindowAnswer, Windows
from rollout.model import Desired
from rollout.policy.policy import Policy
from rollout.state import ModelState
from tests.rollout.build import at
from tests.rollout.test_analysis import ONE, gated, stepping
from tests.scenario import Scenario

BUCKETS = 'seconds_bucket{release=~"$releases"}'
GATES = {
    name: {"histogram": BUCKETS, "slower_than_seconds": 1} for name in ("first", "second", "third")
}
LATE = Unmeasured("timeout", "prometheus:9090 did not answer within 2 s")
NONE = Windows((), "query")


class Source:
    """Answers gates in the order of their names."""

    def __init__(self, *answers: WindowAnswer) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[Names, Names | None]] = []

    def query(self, text: str, at: datetime) -> SeriesFound | Unmeasured:
        raise NotImplementedError

    def count_requests(
        self, services: Iterable[str], since: datetime, until: datetime
    ) -> Mapping[str, Answer]:
        raise NotImplementedError

    def read_windows(
        self, query: GateQuery, candidate: Names, baseline: Names | None
    ) -> WindowAnswer:
        self.requests.append((candidate, baseline))
        return self.answers.pop(0)


def measured(source: Source) -> list[object]:
    """What each gate of a canary is answered."""
    story = Scenario()
    world = World(
        story.clock,
        store=lambda: story.store,
        bus=lambda: story.bus,
        compute=lambda: pytest.fail("nothing is asked of Compute Engine"),
        metrics=lambda: source,
    )
    rollout = stepping(candidate=gated(gates=GATES))
    found = measure_gates(world, ModelState(Desired("tiny"), rollout), Policy(), at(200))
    assert list(found) == ["first", "second", "third"]
    return list(found.values())


def test_a_source_that_is_late_once_is_asked_no_further_in_a_pass() -> None:
    source = Source(NONE, LATE)
    assert measured(source) == [NONE, LATE, LATE]
    assert not source.answers


def test_any_other_lack_is_of_one_gate_alone() -> None:
    lack = Unmeasured("no-series", "no such metric")
    assert measured(Source(lack, NONE, lack)) == [lack, NONE, lack]


def test_releases_are_named_by_backend_service_label_and_template() -> None:
    source = Source(NONE, NONE, NONE)
    measured(source)
    candidate, stable = gated(gates=GATES), ONE
    assert source.requests[0] == (
        Names("slipway-tiny-green", "2", candidate.template),
        Names("slipway-tiny-blue", "1", stable.template),
    )
