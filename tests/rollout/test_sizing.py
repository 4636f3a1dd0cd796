"""How many instances a candidate needs: by requests a second, by recommended instances, and when
neither can be said.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rollout.measurements import Answer, CounterReset, Measured, RequestCount, Unmeasured
from rollout.model import Colour, Demand, Evidence, GroupView, Measurement, Release
from rollout.sizing import (
    DEMAND_WINDOW,
    Size,
    demand_query,
    present_instances,
    present_rate,
    size_for,
    update_demand,
)
from rollout.spec.metrics import unknown_capacity, unmeasurable
from tests.rollout.build import NOON, at, release

SMALL, LARGE = {"type": "n2-standard-2"}, {"type": "n2-standard-8"}


def made(version: str, rate: float | None = None, **sections: Any) -> Release:
    serving = {"requests_per_second": rate} if rate else {}
    rollout = {"strategy": "canary", "steps": [{"weight": 100}]}
    return release(version, serving=serving, rollout=rollout, **{"machine": SMALL} | sections)


OLD = made("1")


@pytest.mark.parametrize(
    ("weight", "demand", "count"),
    [(1, 1, 1), (50, 10, 1), (50, 100, 6), (500, 3, 2), (1000, 3, 4), (1000, 10, 11), (1000, 0, 0)],
)
def test_a_weight_needs_its_part_of_the_demand_with_headroom(
    weight: int, demand: int, count: int
) -> None:
    capacity = size_for(weight, Demand(demand), OLD, made("2"))
    assert capacity == Size(count, f"from {demand} recommended instances")


@pytest.mark.parametrize(
    ("weight", "rate", "declared", "count"),
    [(1000, 84, 12, 8), (1000, 100, 10, 11), (10, 84, 12, 1), (500, 84, 12, 4), (1000, 0, 12, 0)],
)
def test_measured_requests_are_divided_by_what_one_instance_takes(
    weight: int, rate: float, declared: float, count: int
) -> None:
    capacity = size_for(weight, Demand(3, rate), OLD, made("2", declared, machine=LARGE))
    basis = f"from {rate:.4g} requests/s and declared {declared:g} requests/s an instance"
    assert capacity == Size(count, basis)


def test_without_measured_requests_both_declared_capacities_convert_instances() -> None:
    old, new = made("1", 10), made("2", 40, machine=LARGE)
    assert size_for(1000, Demand(8), old, new) == Size(
        3, "from 8 recommended instances of declared 10 requests/s, and declared 40"
    )


def test_the_balancing_rate_declares_what_an_instance_takes() -> None:
    traffic = {"balancing_mode": "rate", "max_rate_per_instance": 40}
    capacity = size_for(1000, Demand(3, 80), OLD, made("2", machine=LARGE, traffic=traffic))
    assert capacity is not None
    assert capacity.instances == 3


def test_another_machine_without_measured_requests_has_no_size_yet() -> None:
    new = made("2", 40, machine=LARGE)
    assert size_for(1000, Demand(8), OLD, new) is None
    gpu = {"type": "n1-standard-4", "accelerator": {"type": "nvidia-tesla-t4", "count": 1}}
    twice = {"type": "n1-standard-4", "accelerator": {"type": "nvidia-tesla-t4", "count": 2}}
    assert size_for(1000, Demand(8), made("1", machine=gpu), made("2", 9, machine=twice)) is None


def test_a_restored_release_is_sized_one_for_one_rather_than_not_at_all() -> None:
    restored = replace(made("2", 40, machine=LARGE), is_restored=True)
    capacity = size_for(1000, Demand(8), OLD, restored)
    assert capacity is not None
    assert capacity.instances == 9


# ---- What the demand is


def view(colour: Colour, size: int, recommended: int | None = None) -> GroupView:
    return GroupView(colour, "us-central1", size, True, (), recommended_size=recommended)


@pytest.mark.parametrize(
    ("serving", "own", "expected"),
    [
        (view("blue", 9, 6), None, 6),
        (view("blue", 9), None, 9),  # without a recommendation its size counts
        (None, None, 3),
        (view("blue", 9, 6), view("green", 4, 4), 6),  # no more than it was given
        (view("blue", 9, 6), view("green", 5, 5), 11),  # the requests have grown
        (view("blue", 9, 6), view("green", 5), 6),
    ],
)
def test_instances_are_those_that_the_autoscalers_recommend(
    serving: GroupView | None, own: GroupView | None, expected: int
) -> None:
    assert present_instances(serving, own, 4, 3) == expected


def measured(**answers: Answer) -> Evidence:
    colours: tuple[Colour, ...] = ("blue", "green")
    query = RequestCount("demand", NOON - DEMAND_WINDOW, NOON)
    found = tuple((each, answers[each]) for each in colours if each in answers)
    return Evidence(measurements=(Measurement(query, found),))


def count(requests: float, seconds: float = 300) -> Measured:
    return Measured(requests, at(-seconds), NOON)


def test_the_rate_is_that_of_all_groups_that_get_requests() -> None:
    evidence = measured(blue=count(3000), green=count(600))
    now = at(1)  # a decision is made later than its queries
    assert present_rate(evidence, "blue", "green", has_requests=False, now=now) == 10
    assert present_rate(evidence, "blue", "green", has_requests=True, now=now) == 12
    assert present_rate(Evidence(), "blue", "green", has_requests=True, now=now) is None


LATE = Unmeasured("timeout", "it is late")
RESET = CounterReset(10, "a counter began anew")


@pytest.mark.parametrize(
    ("blue", "green", "expected"),
    [
        (LATE, count(600), LATE),
        (count(3000), LATE, LATE),  # a part of the demand is no demand
        (RESET, count(600), RESET),
        (count(3000, 59), count(600), "partial"),
    ],
)
def test_what_is_not_measured_as_a_whole_is_no_rate(
    blue: Answer, green: Answer, expected: Answer | str
) -> None:
    rate = present_rate(
        measured(blue=blue, green=green), "blue", "green", has_requests=True, now=NOON
    )
    assert not isinstance(rate, float)
    assert rate == expected or (isinstance(rate, Unmeasured) and rate.kind == expected)


def test_the_demand_is_the_most_since_the_rollout_began() -> None:
    new = made("2", 10)
    first = update_demand(None, Demand(8, 50), OLD, new)
    assert first == Demand(8, 50)
    assert update_demand(first, Demand(4, 20), OLD, new) is first
    assert update_demand(first, Demand(9, 50.1), OLD, new) is first  # no other number of instances
    assert update_demand(first, Demand(9, 75), OLD, new) == Demand(9, 75)
    assert update_demand(first, Demand(9), OLD, new) is first


def test_requests_are_measured_only_for_a_candidate_that_is_sized_by_them() -> None:
    assert demand_query(OLD.spec, NOON) is None
    query = demand_query(made("2", 10).spec, NOON)
    assert query == RequestCount("demand", NOON - timedelta(minutes=10), NOON)


# ---- At acceptance


def refused(
    old: Release, new: Release, *, has_metrics: bool = True, is_inherited: bool = False
) -> list[str]:
    problems = unknown_capacity(
        old.spec, new.spec, has_metrics=has_metrics, is_inherited=is_inherited
    )
    return [str(problem) for problem in problems]


CHANGE = "the machine changes from n2-standard-2 to n2-standard-8"


def test_another_machine_needs_a_declared_capacity() -> None:
    assert refused(OLD, made("2", machine=LARGE)) == [
        f"serving.requests_per_second: is required, since {CHANGE}: what one instance takes"
    ]
    assert refused(OLD, made("2", 40, machine=LARGE)) == []
    assert refused(OLD, made("2")) == []
    assert refused(OLD, made("2", 40, machine=LARGE), is_inherited=True) == [
        f"serving.requests_per_second: must be given anew, since {CHANGE}, got 40"
    ]


def test_without_metrics_both_releases_must_declare_it() -> None:
    new = made("2", 40, machine=LARGE)
    [problem] = refused(OLD, new, has_metrics=False)
    assert problem.startswith("machine.type: must stay n2-standard-2, unless the demand is")
    assert refused(made("1", 10), new, has_metrics=False) == []


def test_instances_that_are_replaced_in_their_group_need_none() -> None:
    rolling = release("2", machine=LARGE)
    assert refused(OLD, rolling) == []


def test_a_minimum_of_requests_needs_somebody_who_counts() -> None:
    steps = [{"weight": 1}, {"weight": 100, "min_requests": 200}]
    spec = release("2", rollout={"strategy": "canary", "steps": steps}).spec
    assert [str(each) for each in unmeasurable(spec, None)] == [
        "rollout.steps[1].min_requests: must be left out: no source of metrics counts requests;"
        " set PROMETHEUS_URL or SLIPWAY_METRICS for the intake and the reconciler, got 200"
    ]
    assert unmeasurable(OLD.spec, None) == ()
