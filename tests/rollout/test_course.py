"""The course of a rollout: what is recorded of it, and how seldom."""

from __future__ import annotations

from dataclasses import replace

from rollout.counts import Counts, ReleaseCount
from rollout.course import Course, PhaseStart, Prediction, follow, with_way_back
from rollout.model import Baking, Rollout, Settled, Stepping
from tests.rollout.build import NOON, at, release

ONE, TWO = replace(release("1"), generation=1), replace(release("2"), generation=2)
SETTLED = Rollout(stable=ONE)
BEGUN = replace(SETTLED, candidate=TWO, phase=Stepping(0, NOON))
BAKING = replace(BEGUN, phase=Baking(at(5)))


def counts(*healthy_and_all: tuple[int, int]) -> Counts:
    found = zip("12", healthy_and_all, strict=False)
    return Counts(NOON, tuple(ReleaseCount(v, *each, needed=0) for v, each in found))


def test_the_extremes_and_the_beginning_of_each_phase_are_recorded() -> None:
    begun = follow(None, SETTLED, BEGUN, counts((3, 3)), NOON)
    assert begun == Course(2, (PhaseStart("step_1", NOON),), instances=3, lowest=3)
    begun = replace(begun, predicted=Prediction(stable_cost=1.0, candidate_cost=2.0))
    more = follow(begun, BEGUN, BEGUN, counts((2, 3), (0, 1)), at(1))
    assert more is not None
    assert (more.instances, more.lowest, more.cost) == (4, 2, 5.0)
    assert follow(more, BEGUN, BEGUN, counts((3, 3), (1, 1)), at(2)) == more
    assert follow(more, BEGUN, BEGUN, None, at(2)) == more
    baking = follow(more, BEGUN, BAKING, None, at(5))
    assert baking is not None
    assert [each.phase for each in baking.begun] == ["step_1", "baking"]


def test_a_course_belongs_to_one_rollout_whose_beginning_was_observed() -> None:
    course = Course(2, (PhaseStart("step_1", NOON),))
    assert follow(course, BAKING, replace(SETTLED, phase=Settled()), None, at(9)) is None
    assert follow(None, BEGUN, BEGUN, counts((3, 3)), at(1)) is None
    newer = replace(BEGUN, candidate=replace(TWO, version="3", generation=3))
    later = follow(course, BEGUN, newer, None, at(9))
    assert later == Course(3, (PhaseStart("step_1", at(9)),))


def test_a_cost_without_a_price_is_not_known() -> None:
    course = Course(2, predicted=Prediction(stable_cost=1.0))
    found = follow(course, BEGUN, BEGUN, counts((3, 3), (1, 1)), at(1))
    assert found is not None
    assert (found.instances, found.cost) == (4, None)


def test_the_longest_way_back_is_recorded() -> None:
    course = with_way_back(with_way_back(Course(2), 180), 60)
    assert course == Course(2, seconds_to_roll_back=180)
    assert with_way_back(course, None) == course
