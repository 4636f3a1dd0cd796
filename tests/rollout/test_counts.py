"""Counts by release, which people read in the log and on the model's page."""

from __future__ import annotations

from rollout.counts import Counts, ReleaseCount, count, releases_of
from rollout.model import GroupTarget, GroupView, Observed, Share, Stepping, Target, TrafficWeight
from rollout.state import ModelState, next_revision
from tests.rollout.build import NOON, instances
from tests.rollout.swap import ONE, TWO, desired, serving, swapping

ROLLOUT = swapping(Stepping(0, NOON))


def one_group(*shares: Share) -> GroupTarget:
    return GroupTarget("blue", shares, ONE, 4, 8, may_scale_in=True, surge=1, unavailable=0)


def test_releases_of_one_group_split_its_requests_by_healthy_instances() -> None:
    members = (
        *instances(ONE, 3),
        *instances(TWO, 1, start=3),
        *instances(TWO, 1, "unhealthy", start=4),
    )
    observed = Observed((GroupView("blue", "us-central1", 5, True, members),))
    target = Target("tiny", (one_group(Share(ONE, None), Share(TWO, 2)),))
    releases = releases_of(desired(TWO), ROLLOUT)
    assert count(releases, observed, target, (TrafficWeight("blue", 1000),), NOON) == Counts(
        NOON, (ReleaseCount("1", 3, 3, 3, 750), ReleaseCount("2", 1, 2, 2, 250))
    )


def test_each_group_has_the_weight_of_the_route_and_a_missing_one_its_least_size() -> None:
    views = (GroupView("green", "us-central1", 1, True, instances(TWO, 1)),)
    target = Target("tiny", (one_group(Share(ONE, None)),))
    weights = (TrafficWeight("blue", 950), TrafficWeight("green", 50))
    releases = releases_of(desired(TWO), ROLLOUT)
    found = count(releases, Observed(views), target, weights, NOON).releases
    assert found == (ReleaseCount("1", 0, 0, 4, 0), ReleaseCount("2", 1, 1, 0, 50))


def test_counts_alone_leave_the_revision() -> None:
    before = ModelState(desired(ONE), serving(ONE), revision=7)
    after = ModelState(desired(ONE), serving(ONE), revision=7, counts=Counts(NOON))
    assert next_revision(before, after, is_takeover=False) == 7
