"""The gate `traffic`: capacity, the route, the propagation time and the hold, at their seconds."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rollout.gates.base import Failed, GateContext, Passed, Traffic, Verdict, Waiting
from rollout.gates.release_health import observe_release
from rollout.gates.traffic import PROPAGATION, TrafficGate
from rollout.model import Evidence, Progress
from rollout.strategies.rolling import steady_group
from tests.rollout.build import NOON, at, group, instances, release

TWO = release("2", rollout={"progress_deadline_seconds": 900})
PROPAGATED = PROPAGATION.total_seconds()


def judge(
    traffic: Traffic | None, seconds: float = 0, healthy: int = 4, halted: bool = False
) -> Verdict:
    [view] = group(*instances(TWO, healthy)).groups
    health = observe_release(steady_group(TWO, "blue"), TWO, view)
    progress = Progress(healthy, NOON, halted_since=NOON if halted else None)
    hold = timedelta(seconds=60)
    return TrafficGate().judge(
        GateContext(health, progress, Evidence(), NOON, at(seconds), hold, traffic)
    )


GRANTED = Traffic("5 % of the requests", capacity=4, is_granted=True, routed_since=NOON)


def test_a_step_without_requests_passes() -> None:
    assert judge(None) == Passed("")


@pytest.mark.parametrize(
    ("seconds", "kind"),
    [(0, Waiting), (PROPAGATED + 59, Waiting), (PROPAGATED + 60, Passed)],
)
def test_a_hold_follows_the_propagation(seconds: float, kind: type[Verdict]) -> None:
    assert isinstance(judge(GRANTED, seconds), kind)


def test_a_weight_that_is_not_in_the_map_is_waited_for_without_end() -> None:
    verdict = judge(replace(GRANTED, routed_since=None), 10**6)
    assert verdict == Waiting("the URL map does not send 5 % of the requests to the candidate yet")


@pytest.mark.parametrize(("healthy", "kind"), [(3, Waiting), (4, Passed), (5, Passed)])
def test_a_weight_is_granted_with_its_capacity(healthy: int, kind: type[Verdict]) -> None:
    asks = replace(GRANTED, is_granted=False, routed_since=None)
    assert isinstance(judge(asks, healthy=healthy), kind)


@pytest.mark.parametrize(
    ("seconds", "halted", "kind"),
    [(899, False, Waiting), (900, False, Failed), (900, True, Waiting)],
)
def test_capacity_has_the_progress_deadline(
    seconds: float, halted: bool, kind: type[Verdict]
) -> None:
    assert isinstance(judge(GRANTED, seconds, healthy=3, halted=halted), kind)
