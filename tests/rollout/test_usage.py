"""What models may use together, and the caps on their sum."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rollout.model import Baking, Desired, Rollout, Stepping
from rollout.policy.policy import Policy
from rollout.policy.usage import Usage, competing, live_releases, max_usage, quota_violations
from tests.rollout.build import NOON, release
from tests.rollout.policies import PRICES, spec


@pytest.mark.parametrize(
    ("policy", "before", "after", "message"),
    [
        (Policy(max_project_instances=20), Usage(1), Usage(8), ""),
        (
            Policy(max_project_instances=20),
            Usage(1),
            Usage(9),
            (
                "scaling.max: policy allows 20 instances in the project; got 21, of which other"
                " models may use 12"
            ),
        ),
        (
            Policy(max_project_instances=0),
            Usage(1),
            Usage(9),
            (
                "scaling.max: policy allows 0 instances in the project; got 21, of which other"
                " models may use 12"
            ),
        ),
        (Policy(max_project_accelerators=4), Usage(0, 1), Usage(0, 2), ""),
        (Policy(max_project_accelerators=4), Usage(0, 3), Usage(0, 3), ""),
        (
            Policy(max_project_accelerators=4),
            Usage(0, 2),
            Usage(0, 3),
            (
                "machine.accelerator: policy allows 4 accelerators in the project; got 5, of which"
                " other models may use 2"
            ),
        ),
        (Policy(max_project_cost_per_hour=10), Usage(), Usage(0, 0, 4.0), ""),
        (
            Policy(max_project_cost_per_hour=10),
            Usage(),
            Usage(0, 0, 4.01),
            (
                "machine: policy allows 10 USD an hour in the project; got 10.01, of which other"
                " models may use 6"
            ),
        ),
    ],
)
def test_a_project_may_use_exactly_what_its_caps_allow(
    policy: Policy, before: Usage, after: Usage, message: str
) -> None:
    found = quota_violations(policy, before, after, Usage(12, 2, 6.0))
    assert [each.why for each in found] == ([message] if message else [])


@pytest.mark.parametrize(
    "cap", ["max_project_instances", "max_project_accelerators", "max_project_cost_per_hour"]
)
def test_any_cap_on_the_project_counts(cap: str) -> None:
    limits: dict[str, Any] = {cap: 0}
    assert Policy(**limits).has_project_caps
    assert not Policy(max_instances=1, max_accelerators=1, max_cost_per_hour=1.0).has_project_caps


def test_the_sum_over_a_project_is_capped() -> None:
    policy = Policy(
        max_project_instances=20, max_project_accelerators=4, max_project_cost_per_hour=10
    )
    found = quota_violations(policy, Usage(), Usage(9, 3, 4.5), Usage(12, 2, 6.0))
    assert [each.allow for each in found] == [
        "max_project_instances=21",
        "max_project_accelerators=5",
        "max_project_cost_per_hour=11",
    ]
    assert tuple(each.why for each in found) == (
        (
            "scaling.max: policy allows 20 instances in the project; got 21, of which other models"
            " may use 12"
        ),
        (
            "machine.accelerator: policy allows 4 accelerators in the project; got 5, of which"
            " other models may use 2"
        ),
        (
            "machine: policy allows 10 USD an hour in the project; got 10.50, of which other models"
            " may use 6"
        ),
    )


def test_a_model_that_does_not_grow_passes_in_a_project_over_quota() -> None:
    policy = Policy(max_project_instances=20)
    assert quota_violations(policy, Usage(9), Usage(9), Usage(30)) == ()
    assert quota_violations(policy, Usage(9), Usage(10), Usage(30)) != ()


def test_an_unpriced_machine_of_another_model_leaves_no_room_under_a_cost_cap() -> None:
    policy = Policy(max_project_cost_per_hour=1000, prices=PRICES)
    others = max_usage(PRICES, (spec(kind="e2-standard-2"),))
    found = quota_violations(policy, Usage(), Usage(1, 0, 0.1), others)
    assert [each.allow for each in found] == [""]
    assert tuple(each.why for each in found) == (
        (
            "machine: policy allows 1000 USD an hour in the project; got an unknown cost"
            " (no price in settings/prices), of which other models may use an unknown cost (no"
            " price in settings/prices)"
        ),
    )


# ---- What a model may use


def test_usage_is_the_upper_bound_and_the_surge_of_the_most_expensive_machine() -> None:
    t4 = release(
        "1", machine={"accelerator": {"type": "nvidia-tesla-t4", "count": 2}}, scaling={"max": 2}
    ).spec
    assert max_usage(PRICES, (t4, spec(6))) == Usage(9, 18, 9 * (0.05 + 0.7))
    assert max_usage(PRICES, (spec(1),)) == Usage(4, 0, 4 * 0.1)
    assert max_usage(PRICES, ()) == Usage(0, 0, 0)
    assert (
        max_usage(
            PRICES, (release("1", rollout={"unavailable": 3, "surge": 0}, scaling={"max": 2}).spec,)
        ).instances
        == 2
    )
    assert Usage(1, 2, 3.0) + Usage(10, 20, 30.0) == Usage(11, 22, 33.0)
    assert Usage() == Usage(0, 0, 0)


def test_live_releases_are_the_stable_the_candidate_and_the_desired_one() -> None:
    one, two, three = release("1"), release("2"), release("3")
    assert live_releases(Rollout(stable=one), Desired("tiny", None)) == (one,)
    assert live_releases(Rollout(candidate=two), Desired("tiny", three)) == (two, three)


def test_usage_combines_the_widest_bounds_and_the_most_expensive_machine() -> None:
    stable, candidate, newer = (
        replace(release(version), spec=made)
        for version, made in zip(
            "123",
            (spec(most=8), spec(most=4), spec(most=3, kind="g2-standard-12")),
            strict=True,
        )
    )
    rollout = Rollout(Stepping(0, NOON), stable, candidate)
    found = live_releases(rollout, Desired("tiny", newer))
    assert found == (stable, candidate, newer)
    assert max_usage(PRICES, (each.spec for each in found)) == Usage(11, 11, 11.0)


def test_of_two_candidates_only_the_earlier_one_competes_with_the_other() -> None:
    first = replace(release("1"), released_at=NOON)
    later = replace(release("2"), released_at=NOON + timedelta(seconds=1))
    one, other = (Rollout(Baking(NOON), None, each) for each in (first, later))
    assert competing(one, Desired("a", first), (later.released_at, "b")) == (first.spec, first.spec)
    assert competing(other, Desired("b", later), (first.released_at, "a")) == ()


def test_a_stable_release_competes_whenever_it_was_published() -> None:
    later = replace(release("2"), released_at=NOON + timedelta(days=1))
    assert competing(Rollout(stable=later), Desired("b", later), (NOON, "a"))


@pytest.mark.parametrize(
    ("published", "model", "counts"),
    [(-1, "z", True), (0, "a", True), (0, "b", False), (0, "c", False), (1, "a", False)],
)
def test_of_two_candidates_published_at_once_the_first_by_model_name_competes(
    published: int, model: str, counts: bool
) -> None:
    theirs = replace(release("1"), released_at=NOON + timedelta(seconds=published))
    assert bool(competing(Rollout(candidate=theirs), Desired(model), (NOON, "b"))) == counts
