"""Releases and commands take effect in the order in which they were published, whatever is
delivered first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from handlers import release
from infra.bus.embedded import EmbeddedBus
from infra.bus.envelope import COMMAND_TYPE, RELEASE_TYPE
from tests.scenario import IMAGE, PROJECT, Scenario

WHOLE = {"scaling": {"min": 3, "max": 6}, "traffic": {"draining_seconds": 0}}


class Line:
    """Messages that are published some seconds apart and delivered in another order."""

    def __init__(self, story: Scenario) -> None:
        self.story = story
        self.buses: list[EmbeddedBus] = []

    def publish(self, name: str, event_id: str = "", **fields: Any) -> None:
        """`release 2`, `pause` or `rollback 1`."""
        verb, _, version = name.partition(" ")
        body: dict[str, Any] = {"model": "tiny", **({"version": version} if version else {})}
        if verb == "release":
            body |= {"artifact": {"image": f"{IMAGE}:{version}"}}
        else:
            body |= {"command": verb}
        bus = EmbeddedBus(self.story.clock, PROJECT)
        bus.subscribe("model-releases", lambda event: release.handle(self.story.world, event))
        context = {
            "ce-id": event_id or f"{name} {len(self.buses)}",
            "ce-source": "//ci",
            "ce-type": RELEASE_TYPE if verb == "release" else COMMAND_TYPE,
            "ce-specversion": "1.0",
        }
        bus.publish("model-releases", json.dumps(body | fields).encode(), context)
        self.buses.append(bus)

    def deliver(self, order: Iterable[int], *, passes: bool = True) -> None:
        """`passes`: whether each message's wake-up is handled before the next one arrives."""
        for number in order:
            assert self.buses[number].pump() == 1
            if passes:
                self.story.bus.pump()
        self.story.bus.pump()


def given_two_releases_served() -> Scenario:
    story = Scenario()
    story.given_serving("1")
    story.given_serving("2")
    return story


def publish_apart(story: Scenario, names: str, **sections: Any) -> Line:
    line = Line(story)
    for name in names.split(", "):
        line.publish(name, **(sections if name.startswith("release") else {}))
        story.clock.sleep(2)
    return line


@pytest.mark.parametrize(
    ("names", "serves", "outcomes"),
    [
        ("release 3, abort", "2", {"3": "aborted"}),
        ("release 3, rollback", "2", {"3": "aborted"}),
        ("rollback, release 3", "3", {"3": "succeeded"}),
        ("rollback, rollback", "1", {}),
        ("rollback 1, rollback", "1", {}),
        ("retire, release 3", "3", {"3": "succeeded"}),
        ("release 3, promote", "3", {"3": "succeeded"}),
        ("release 3, resume", "3", {"3": "succeeded"}),
        ("release 3, release 4", "4", {"3": "superseded", "4": "succeeded"}),
    ],
)
@pytest.mark.parametrize(("order", "passes"), [((0, 1), False), ((1, 0), True)])
def test_the_last_published_intent_decides_whatever_is_delivered_first(
    names: str, serves: str, outcomes: Mapping[str, str], order: tuple[int, ...], passes: bool
) -> None:
    story = given_two_releases_served()
    publish_apart(story, names, **WHOLE).deliver(order, passes=passes)
    story.when_settled()
    assert story.serving_version() == serves, story.history()
    assert set(story.healthy_by_version()) == {serves}
    assert {version: story.outcome(version) for version in outcomes} == outcomes


@pytest.mark.parametrize(("order", "passes"), [((0, 1), False), ((1, 0), True)])
def test_a_pause_that_overtakes_its_release_pauses_it(order: tuple[int, ...], passes: bool) -> None:
    story = given_two_releases_served()
    publish_apart(story, "release 3, pause").deliver(order, passes=passes)
    story.when_minutes_pass(60)
    assert story.state().conditions[0].type == "Paused"
    assert story.healthy_by_version() == {"2": 2, "3": 1}
    story.when_commanded("resume")
    story.when_settled()
    assert story.outcome("3") == "succeeded"


@pytest.mark.parametrize(
    ("command", "outcome", "is_paused"),
    [("abort", "aborted", False), ("pause", None, True), ("retire", "superseded", False)],
)
def test_a_command_that_overtakes_the_first_release_of_its_model_counts(
    command: str, outcome: str | None, is_paused: bool
) -> None:
    """It is refused when it arrives, for nobody can know that a release is on its way."""
    story = Scenario()
    publish_apart(story, f"release 1, {command}", **WHOLE).deliver((1, 0))
    story.when_minutes_pass(20)
    assert (story.serving_version(), story.outcome("1")) == (None, outcome)
    assert bool(story.state().rollout.paused) == is_paused
    assert story.quarantine()[0]["why"].startswith("model: there is no model tiny")


def test_two_events_of_one_publish_time_end_alike() -> None:
    ends = []
    for order in ((0, 1), (1, 0)):
        story = given_two_releases_served()
        line = Line(story)
        line.publish("release 3", "a")
        line.publish("release 4", "b")
        line.deliver(order)
        story.when_settled()
        ends.append((story.serving_version(), story.outcome("3"), story.outcome("4")))
    assert ends == [("4", "superseded", "succeeded")] * 2


@pytest.mark.parametrize("version", [{}, {"version": "1"}])
def test_a_rollback_that_is_repeated_minutes_later_changes_nothing(version: dict[str, str]) -> None:
    story = given_two_releases_served()
    for seconds in (40, 180, 600):
        story.when_commanded("rollback", **version)
        story.when_seconds_pass(seconds)
    story.when_settled()
    assert story.serving_version() == "1"
    entered = [entry["to"] for entry in story.log() if entry["from"] != entry["to"]]
    assert entered.count("step_3") == 2, "of release 2, and back"
    assert story.log()[-1]["why"] == "rollback changes nothing: release 1 is desired already"


def test_a_release_that_waits_for_another_one_can_be_aborted() -> None:
    story = Scenario()
    story.given_serving("1", rollout={"on_newer": "wait"})
    story.when_released("2")
    story.when_phase_reached("step_1")
    story.when_released("3")
    story.when_commanded("abort", requested_by="ann")
    story.when_settled()
    assert (story.outcome("2"), story.outcome("3")) == ("succeeded", "aborted")
    assert (story.why("3"), story.serving_version()) == ("aborted by ann", "2")


def test_a_release_may_refuse_newer_ones_until_it_has_ended() -> None:
    story = Scenario()
    story.given_serving("1", rollout={"on_newer": "reject"})
    story.when_released("2")
    story.when_released("3")
    story.when_phase_reached("baking")
    story.when_released("4")
    story.when_settled()
    assert story.serving_version() == "2"
    refused = [record["problems"][0] for record in story.quarantine()]
    assert len(refused) == 2
    assert all("release 2 is being rolled out" in problem for problem in refused)
    story.when_commanded("rollback")
    story.when_released("5")
    story.when_settled()
    assert story.serving_version() == "5"


def test_a_release_after_a_retirement_may_move_the_model() -> None:
    story = given_two_releases_served()
    moved = {**WHOLE, "placement": {"region": "europe-west4"}}
    publish_apart(story, "retire, release 3", **moved).deliver((0, 1), passes=False)
    story.when_settled()
    assert story.quarantine() == []
    assert story.healthy_by_version() == {"3": 3}
    assert {instance.zone[:-2] for instance in story.instances()} == {"europe-west4"}


def test_a_promoted_rollback_does_not_promote_the_fix_after_it() -> None:
    story = given_two_releases_served()
    story.when_commanded("rollback")
    story.when_released("3")
    story.when_settled()
    steps = [entry["to"] for entry in story.log() if entry["release"] == "3"]
    assert [step for step in steps if step.startswith("step_")] == ["step_1", "step_2", "step_3"]


# ---- What a partial release inherits


def test_a_release_inherits_from_the_newest_one_that_has_not_failed() -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_behaviour("2", never_ready=True)
    failing = {"on_failure": "pause", "progress_deadline_seconds": 60, "bake_seconds": 20}
    story.when_released("2", rollout=failing, scaling={"max": 9})
    story.when_phase_reached("paused")
    story.when_released("3")
    story.when_settled()
    assert (story.spec().scaling.max, story.spec().rollout.on_failure) == (6, "rollback")
    record = story.store.get("models/tiny/releases/3")
    assert record
    assert record.data["inherits_from"] == "1"
    [event] = [
        event
        for event in map(json.loads, story.published_on("model-rollout-status"))
        if (event["release"], event["to"]) == ("3", "desired")
    ]
    assert event["inherits_from"] == "1"
    story.when_published({"model": "tiny", "version": "4", "base": "2"})
    assert story.state().desired.line[-1].version == "4"
    newest = story.store.get("models/tiny/releases/4")
    assert newest
    assert newest.data["spec"]["scaling"]["max"] == 9
    story.when_published({"model": "tiny", "version": "5", "base": "99"})
    assert story.quarantine()[0]["why"].startswith("base: there is no release 99 of tiny")


def test_a_release_says_which_older_one_it_was_resolved_without() -> None:
    story = given_two_releases_served()
    line = Line(story)
    line.publish("release 3", scaling={"max": 9})
    story.clock.sleep(2)
    line.publish("release 4")
    line.deliver((1, 0))
    story.when_settled()
    record = story.store.get("models/tiny/releases/4")
    assert record
    assert (record.data["inherits_from"], record.data["resolved_without"]) == ("2", ["3"])
    assert (story.outcome("3"), story.spec().scaling.max) == ("superseded", 6)


def test_an_error_about_an_inherited_value_says_from_where_and_how_to_reset_it() -> None:
    story = Scenario()
    story.given_serving("1", scaling={"min": 3, "max": 6})
    story.when_released("2", scaling={"max": 2})
    story.given_policy(max_instances=4)
    story.when_released("3")
    whys = sorted(record["why"] for record in story.quarantine())
    inherited = "(inherited from release 1; give a value, or null for the default)"
    assert [why.partition(":")[0] for why in whys] == ["scaling.max", "scaling.min"]
    assert all(inherited in why for why in whys), whys
