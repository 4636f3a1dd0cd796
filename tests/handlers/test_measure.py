"""What a pass asks the source of metrics, and what it leaves when the source is late."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import pytest

from handlers.reconcile.measure import SLOW, measure_before, measure_gates
from infra.metrics.port import Names, SeriesFound
from infra.wiring import World
from rollout.measurements import Answer, GateQuery, Unmeasured, WindowAnswer, Windows
from rollout.model import Desired, Rollout
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
    """Answers gates in the order of their names, after so many seconds each."""

    def __init__(self, *answers: WindowAnswer, seconds: float = 0) -> None:
        self.answers = list(answers)
        self.seconds = seconds
        self.story = Scenario()
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
        self.story.clock.sleep(self.seconds)
        return self.answers.pop(0)

    @property
    def world(self) -> World:
        return World(
            self.story.clock,
            store=lambda: self.story.store,
            bus=lambda: self.story.bus,
            compute=lambda: pytest.fail("nothing is asked of Compute Engine"),
            metrics=lambda: self,
        )


def measured(source: Source) -> dict[str, object]:
    """What each gate of a canary is answered."""
    state = ModelState(Desired("tiny"), stepping(candidate=gated(gates=GATES)))
    return dict(measure_gates(source.world, state, Policy(), at(200)))


def test_a_source_that_is_late_once_is_asked_no_further_in_a_pass() -> None:
    source = Source(NONE, LATE)
    assert measured(source) == {"first": NONE, "second": LATE}
    assert not source.answers


def test_a_slow_source_leaves_gates_to_the_next_pass() -> None:
    assert measured(Source(NONE, NONE, seconds=5)) == {"first": NONE, "second": NONE}


@pytest.mark.parametrize(
    ("seconds", "answers", "expected"),
    [(5, (NONE,) * 3, (NONE,) * 3), (10, (NONE,) * 2, (NONE, NONE, SLOW)), (1, (LATE,), None)],
)
def test_each_gate_has_an_answer_before_a_release_begins(
    seconds: float, answers: tuple[WindowAnswer, ...], expected: tuple[WindowAnswer, ...] | None
) -> None:
    rollout = Rollout(stable=ONE, serving_group="blue")
    state = ModelState(Desired("tiny", gated(gates=GATES), 2), rollout)
    source = Source(*answers, seconds=seconds)
    found = measure_before(source.world, state, at(200))
    assert tuple(found.values()) == (expected or (LATE, SLOW, SLOW))
    assert list(found) == ["first", "second", "third"]


def test_any_other_lack_is_of_one_gate_alone() -> None:
    lack = Unmeasured("no-series", "no such metric")
    assert list(measured(Source(lack, NONE, lack)).values()) == [lack, NONE, lack]


def test_releases_are_named_by_backend_service_label_and_template() -> None:
    source = Source(NONE, NONE, NONE)
    measured(source)
    candidate, stable = gated(gates=GATES), ONE
    assert source.requests[0] == (
        Names("slipway-tiny-green", "2", candidate.template),
        Names("slipway-tiny-blue", "1", stable.template),
    )
