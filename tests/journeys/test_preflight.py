"""Before anything is changed, a release is checked against what Compute Engine has."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenario import Scenario

WRONG: dict[str, dict[str, Any]] = {
    "placement.region": {"placement": {"region": "us-nowhere9"}},
    "placement.zones": {"placement": {"zones": ["us-central1-z"]}},
    "machine.type": {
        "machine": {"type": "g2-standard-12"},
        "placement": {"zones": ["us-central1-a", "us-central1-f"]},
    },
    "machine.network": {"machine": {"network": "global/networks/none"}},
    "machine.subnetwork": {"machine": {"subnetwork": "regions/us-central1/subnetworks/none"}},
    "machine.image": {
        "machine": {"image": "projects/debian-cloud/global/images/family/debian-13-arm64"}
    },
    "traffic.certificate": {"traffic": {"certificate": "none"}},
}


@pytest.mark.parametrize("path", WRONG)
def test_what_a_release_refers_to_is_checked_before_anything_changes(path: str) -> None:
    story = Scenario()
    story.when_released("1", **WRONG[path])
    story.when_settled(within_minutes=1)
    assert (story.outcome("1"), story.reason("1")) == ("rolled_back", "config")
    assert story.why("1").startswith(f"{path}: ")
    assert story.resources() == set()
    assert story.emulator.calls.mutations == 0


@pytest.mark.parametrize(
    "machine",
    [{"image": "global/images/none"}, {"type": "g2-standard-12"}],  # not in each zone of its group
)
def test_a_serving_model_is_left_alone(machine: dict[str, Any]) -> None:
    story = Scenario()
    story.given_serving("1")
    before, changes = story.resources(), story.emulator.calls.mutations
    story.when_released("2", machine=machine)
    story.when_settled(within_minutes=1)
    assert (story.outcome("2"), story.reason("2")) == ("rolled_back", "config")
    assert (story.resources(), story.emulator.calls.mutations) == (before, changes)


def test_a_release_that_pauses_on_failure_changes_nothing_either_until_it_is_mended() -> None:
    story = Scenario()
    story.when_released(
        "1", machine={"network": "global/networks/new"}, rollout={"on_failure": "pause"}
    )
    story.when_minutes_pass(5)
    assert story.emulator.calls.mutations == 0
    assert "machine.network" in (story.state().waiting_for or "")
    story.emulator.catalogue["networks"] = ["global/networks/new"]
    story.when_commanded("resume")
    story.when_settled()
    assert story.outcome("1") == "succeeded"


@pytest.mark.parametrize("status", [None, 403, 503])
def test_a_read_that_fails_is_no_refusal_and_a_release_is_read_once(status: int | None) -> None:
    story = Scenario()
    methods = ("regions.get", "machineTypes.aggregatedList", "networks.get")
    for method in methods if status else ():
        story.given_fault("error", method=f"compute.{method}", status=status)
    story.when_released("1")
    story.when_settled()
    assert story.outcome("1") == "succeeded"
    assert [story.calls(method) for method in methods] == [1, 1, 1]
