"""The group's update policy is one that Compute Engine accepts, with one version for the rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.fleet.model import Body
from infra.fleet.resources.instance_group import desired, initial_delay_seconds, legal_budget
from rollout.model import Share
from tests.infra.build import group, release


@pytest.mark.parametrize(
    ("requested", "legal"),
    [
        ((0, 0), (3, 0)),
        ((1, 0), (3, 0)),
        ((5, 0), (5, 0)),
        ((0, 1), (0, 3)),
        ((1, 1), (3, 0)),
        ((3, 3), (3, 3)),
        ((0, 4), (0, 4)),
    ],
)
def test_a_budget_becomes_legal(requested: tuple[int, int], legal: tuple[int, int]) -> None:
    assert legal_budget(*requested, zones=3) == legal


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 10))
def test_every_budget_is_legal(surge: int, unavailable: int, zones: int) -> None:
    most, missing = legal_budget(surge, unavailable, zones)
    assert most + missing > 0
    assert all(value == 0 or value >= zones for value in (most, missing))
    assert surge == 0 or missing <= unavailable


def body(*shares: Share, **placement: object) -> Body:
    resource = desired("tiny", group(*(shares or [Share(release("1", placement=placement))])))
    return resource.body


def test_without_surge_instances_are_recreated_in_place() -> None:
    assert body()["updatePolicy"]["replacementMethod"] == "SUBSTITUTE"
    in_place = desired("tiny", group(Share(release()), surge=0, unavailable=3)).body
    assert in_place["updatePolicy"]["replacementMethod"] == "RECREATE"
    assert in_place["updatePolicy"]["maxSurge"] == {"fixed": 0}


def test_only_a_candidate_that_keeps_unhealthy_keeps_its_unhealthy_instances() -> None:
    one = Share(release())
    policies = [
        desired("tiny", group(one, keeps_unhealthy=keeps_unhealthy)).body["instanceLifecyclePolicy"]
        for keeps_unhealthy in (True, False)
    ]
    found = [policy["onFailedHealthCheck"] for policy in policies]
    assert found == ["DO_NOTHING", "DEFAULT_ACTION"]
    assert {policy["defaultActionOnFailure"] for policy in policies} == {"REPAIR"}


def test_a_balanced_group_is_not_redistributed() -> None:
    assert body(target_shape="balanced")["updatePolicy"]["instanceRedistributionType"] == "NONE"
    assert body()["updatePolicy"]["instanceRedistributionType"] == "PROACTIVE"


def test_the_version_that_takes_over_is_the_last_one_and_one_takes_the_rest() -> None:
    old, new = release("1"), release("2")
    for count, kept in ((2, None), (None, 3)):
        versions = body(Share(old, kept), Share(new, count))["versions"]
        sizes = [version.get("targetSize") for version in versions]
        assert sizes == [each and {"fixed": each} for each in (kept, count)]
        assert versions[-1]["instanceTemplate"].endswith(new.template)


def test_two_releases_with_one_template_are_one_version() -> None:
    one = release("1")
    assert len(body(Share(one), Share(one, 2))["versions"]) == 1


def test_auto_healing_waits_longer_than_a_start_is_expected_to_take() -> None:
    assert initial_delay_seconds(120) == 240
    assert initial_delay_seconds(3600) == 3600
