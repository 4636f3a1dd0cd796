"""Events arrive twice, late, out of order or malformed. None is lost, and none changes what it
must not change.
"""

from __future__ import annotations

import json

import pytest

from tests.scenario import IMAGE, Scenario, quick


def test_a_second_pass_over_a_settled_model_writes_nothing() -> None:
    story = Scenario()
    story.given_serving("1")
    before = story.full_state()
    for _ in range(3):
        story.when_woken()
    assert story.full_state() == before


def test_a_release_that_is_published_again_changes_nothing_and_is_reported() -> None:
    story = Scenario()
    story.given_serving("1")
    before, log = story.resources(), story.log()
    story.when_published(
        {
            "model": "tiny",
            "version": "1",
            "artifact": {"image": f"{IMAGE}:1"},
            "scaling": {"min": 3, "max": 6},
            "traffic": {"draining_seconds": 0},
            "rollout": quick({}),
        }
    )
    story.when_minutes_pass(2)
    assert story.resources() == before
    [entry] = story.log()[len(log) :]
    assert (entry["release"], entry["to"], entry["outcome"]) == ("1", "unchanged", None)
    assert "accepted before, with the same content" in entry["why"]
    event = json.loads(story.published_on("model-rollout-status")[-1])
    assert (event["release"], event["to"]) == ("1", "unchanged")


def test_a_forced_release_delivered_twice_is_rolled_out_once() -> None:
    story = Scenario()
    story.given_behaviour("2", never_ready=True)
    story.given_serving("1")
    short = {"progress_deadline_seconds": 60}
    story.when_released("2", rollout=short)
    story.when_settled()
    forced = {
        "model": "tiny",
        "version": "2",
        "artifact": {"image": f"{IMAGE}:2"},
        "rollout": short,
        "force": True,
    }
    context = {
        "ce-id": "again",
        "ce-source": "//ci",
        "ce-type": "io.slipway.model.release.v1",
        "ce-specversion": "1.0",
    }
    for _ in range(2):
        story.when_published(forced, **context)
        story.when_settled()
    assert story.outcome("2") == "rolled_back"
    assert [entry["to"] for entry in story.log() if entry["release"] == "2"].count("step_1") == 2


def test_a_late_older_release_is_recorded_and_not_rolled_out() -> None:
    story = Scenario()
    story.given_serving("1")
    deliver = story.publish_delayed(
        {"model": "tiny", "version": "2", "artifact": {"image": f"{IMAGE}:2"}}
    )
    story.when_seconds_pass(1)
    story.given_serving("3")
    deliver()
    story.when_minutes_pass(5)
    assert (story.outcome("2"), story.serving_version()) == ("superseded", "3")
    assert story.healthy_by_version() == {"3": 3}


def test_the_same_version_with_other_content_is_refused() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_published({"model": "tiny", "version": "1", "artifact": {"image": f"{IMAGE}:other"}})
    assert "exists with other content" in story.quarantine()[0]["why"]
    assert story.healthy_by_version() == {"1": 3}


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"model":"tiny"}',
        b'{"model":"Tiny!","version":"1"}',
        b'{"model":"tiny","version":"1","scaling":{"max":1e309}}',
        b'{"model":"tiny","version":"1","artifact":{"image":"r/tiny:1","env":{"__NO_DOCUMENT_HAS_THIS_NAME__":"1"}}}',
        '{"model":"tiny","version":"1","serving":"é"}'.replace("é", "é" * 2000).encode(),
    ],
)
def test_bad_input_is_acknowledged_quarantined_once_and_reported(raw: bytes) -> None:
    story = Scenario()
    story.when_published(raw)
    story.when_minutes_pass(2)
    assert len(story.quarantine()) == 1
    assert len(story.published_on("model-releases-dead")) == 1
    assert [event["ce-type"] for event in story.attributes_on("model-rollout-status")] == [
        "io.slipway.quarantine.v1"
    ]
    assert story.resources() == set()


def test_a_release_that_the_serving_group_cannot_run_is_refused_on_arrival() -> None:
    story = Scenario()
    story.given_serving("1")
    before = story.resources()
    story.when_released("2", serving={"port": 9000})
    assert "serving.port" in story.quarantine()[0]["why"]
    assert "retire" in story.quarantine()[0]["why"]
    assert story.outcome("2") is None
    assert story.resources() == before


def test_all_errors_of_a_message_are_reported_together_with_their_paths() -> None:
    story = Scenario()
    story.when_published(
        {
            "model": "tiny",
            "version": "1",
            "artifact": {"image": f"{IMAGE}:1", "colour": "red"},
            "scaling": {"max": 0},
            "serving": {"port": "x"},
        }
    )
    refused, paths = story.quarantine()[0], ("artifact.colour", "scaling.max", "serving.port")
    assert all(path in refused["why"] for path in paths)
    assert [problem.partition(":")[0] for problem in sorted(refused["problems"])] == [*paths]


def test_a_refused_message_is_reported_and_logged_for_its_model() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2", serving={"port": 0}, machine={"network": "other"})
    attributes = story.attributes_on("model-rollout-status")[-1]
    assert (attributes["ce-type"], attributes["ce-subject"]) == ("io.slipway.quarantine.v1", "tiny")
    event = json.loads(story.published_on("model-rollout-status")[-1])
    assert (event["model"], event["version"]) == ("tiny", "2")
    assert len(event["problems"]) == 2
    entry = story.log()[-1]
    assert (entry["release"], entry["to"]) == ("2", "quarantined")
    assert entry["problems"] == event["problems"]
    story.when_published(b'{"model": "Tiny!", "version": "1"}')
    assert json.loads(story.published_on("model-rollout-status")[-1])["model"] == ""


def test_a_structured_cloud_event_is_accepted() -> None:
    story = Scenario()
    envelope = {
        "specversion": "1.0",
        "id": "a-1",
        "source": "//ci",
        "type": "io.slipway.model.release.v1",
        "data": {"model": "tiny", "version": "1", "artifact": {"image": f"{IMAGE}:1"}},
    }
    story.when_published(envelope, **{"content-type": "application/cloudevents+json"})
    story.when_settled()
    assert story.outcome("1") == "succeeded"


def test_every_transition_is_published_once_with_its_reason() -> None:
    story = Scenario()
    story.given_serving("1")
    events = [json.loads(data) for data in story.published_on("model-rollout-status")]
    assert [event["to"] for event in events] == [entry["to"] for entry in story.log()]
    assert all(event["why"] for event in events)


def test_a_malformed_wake_up_or_one_for_an_unknown_model_is_acknowledged() -> None:
    story = Scenario()
    story.when_woken(b"{")
    story.when_woken(b'{"model": "ghost"}')
    assert story.bus.next_due() is None  # an unacknowledged message would be redelivered
    assert story.resources() == set()
