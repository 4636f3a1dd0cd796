"""The names and states of phases, instances, groups and targets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollout.model import (
    Baking,
    Colour,
    Phase,
    Retiring,
    RollingBack,
    Settled,
    Share,
    Stepping,
    Target,
    TrafficTarget,
    TrafficWeight,
    phase_name,
    step_name,
)
from rollout.strategies.rolling import steady_group
from tests.rollout.build import NOON, group, instances, release

ONE, TWO, THREE = release("1"), release("2"), release("3")
BOTH = (
    replace(steady_group(ONE, "blue"), shares=(Share(ONE), Share(TWO, 1))),
    steady_group(TWO, "green"),
)


@pytest.mark.parametrize(
    ("phase", "name"),
    [
        (Settled(), "settled"),
        (Stepping(0, NOON), "step_1"),
        (Stepping(2, NOON), "step_3"),
        (Baking(NOON), "baking"),
        (RollingBack("aborted", "aborted", "", NOON), "rolling_back"),
        (Retiring(NOON, ""), "retiring"),
    ],
)
def test_each_phase_has_a_name(phase: Phase, name: str) -> None:
    assert phase_name(phase) == name


def test_each_step_has_a_name() -> None:
    assert (step_name(0), step_name(11)) == ("step_1", "step_12")


@pytest.mark.parametrize(
    ("action", "status", "is_settled"),
    [("NONE", "RUNNING", True), ("VERIFYING", "RUNNING", False), ("NONE", "STAGING", False)],
)
def test_an_instance_is_settled_if_it_runs_and_nothing_is_done_to_it(
    action: str, status: str, is_settled: bool
) -> None:
    [instance] = instances(ONE, 1, action=action)
    assert replace(instance, status=status).is_settled is is_settled


def test_a_group_is_found_by_its_colour() -> None:
    green = group(*instances(ONE, 1), colour="green")
    assert green.group("green") == green.groups[0]
    assert green.group("blue") is None


def test_a_target_runs_the_releases_that_have_a_share_in_any_group() -> None:
    target = Target("tiny", BOTH)
    assert [target.runs(each) for each in (ONE, TWO, THREE)] == [True, True, False]


@pytest.mark.parametrize(
    ("blue", "green", "main"), [(1000, 0, "blue"), (400, 600, "green"), (0, 1000, "green")]
)
def test_the_main_group_is_the_one_with_most_traffic(blue: int, green: int, main: Colour) -> None:
    weights = (TrafficWeight("blue", blue), TrafficWeight("green", green))
    assert Target("tiny", BOTH, traffic=TrafficTarget(ONE, weights)).main_group == main


def test_without_traffic_the_main_group_is_the_largest_one() -> None:
    first, second = BOTH
    assert Target("tiny", (first, replace(second, max=first.max + 1))).main_group == "green"
    assert Target("tiny", (replace(first, max=second.max + 1), second)).main_group == "blue"
    assert Target("tiny").main_group is None
