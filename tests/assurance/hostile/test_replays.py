"""Old, repeated and swapped messages, wake-ups that nobody sent, and one model's event that reaches
for another's resources."""

from __future__ import annotations

import base64
import copy
import json
import logging
from typing import Any

import pytest
import requests

from compute_emulator import InProcessAdapter
from handlers import release, wakeup
from infra.bus.envelope import PUBLISHED, RELEASE_TYPE
from tests.assurance.hostile.intake import SOURCE, FakeEvent, connecting_nowhere, pushed, scaled
from tests.assurance.hostile.test_envelopes import BOMBS
from tests.scenario import IMAGE, NO_DRAINING, PROJECT, Scenario

LONG_AGO = "2025-12-31T23:00:00Z"  # before any scenario begins


def event(version: str, **more: Any) -> dict[str, Any]:
    return {
        "model": "tiny",
        "version": version,
        "artifact": {"image": f"{IMAGE}:{version}"},
        **more,
    }


def context(number: str, kind: str = RELEASE_TYPE, **more: str) -> dict[str, str]:
    return {
        "ce-id": number,
        "ce-source": "//ci/builds",
        "ce-type": kind,
        "ce-specversion": "1.0",
        **more,
    }


def changes_made(story: Scenario) -> dict[str, int]:
    """The calls that were more than a look."""
    looks = (
        ".get",
        ".list",
        ".aggregatedList",
        ".getHealth",
        ".listManagedInstances",
        ".wait",
    )
    return {
        method: count
        for method, count in story.cloud.calls.counts.items()
        if not method.endswith(looks)
    }


def bodies(story: Scenario) -> dict[str, Any]:
    tables = story.cloud.tables.items()
    return {
        f"{kind}/{name}": copy.deepcopy(body)
        for (_, kind), table in tables
        if kind != "operations"
        for name, body in table.items()
    }


def settled(*versions: str) -> Scenario:
    story = Scenario()
    for version in versions:
        story.given_serving(version)
        story.when_minutes_pass(1)
    return story


def delivered(
    story: Scenario,
    body: object,
    number: str,
    published: str = LONG_AGO,
    attributes: dict[str, str] | None = None,
) -> None:
    """A message as Pub/Sub brings it, however late or often: its id and its publish time are those
    of its first day."""
    push = pushed(json.dumps(body).encode(), number, attributes)
    push["message"]["publishTime"] = published
    release.handle(story.world, FakeEvent(PUBLISHED, SOURCE, push))
    story.bus.pump()


# ---- Replayed and downgraded releases


FIRST = {
    "scaling": {"min": 3, "max": 6},
    "traffic": NO_DRAINING,
}  # what a story's first release says beside its image
PAST = {
    "what serves, again": event("2"),
    "what served before": event("1", **FIRST),
    "one that was never seen, but is old": event("0"),
    "spelled otherwise": event("2", force=False),
    "forced": event("1", force=True, **FIRST),
    "in another's name": event("2", requested_by="mallory"),
    "a rollback": {"model": "tiny", "command": "rollback"},
    "a rollback to a version": {"model": "tiny", "command": "rollback", "version": "1"},
    "a retirement": {"model": "tiny", "command": "retire"},
    "a pause": {"model": "tiny", "command": "pause"},
    "an abort": {"model": "tiny", "command": "abort"},
    "a promotion": {"model": "tiny", "command": "promote"},
}


def test_what_was_published_before_changes_nothing_that_serves() -> None:
    story = settled("1", "2")
    changes = changes_made(story)
    for what, body in PAST.items():
        for number in (what, what, f"{what} again"):
            delivered(story, body, number.replace(" ", "-").replace(",", "").replace("'", ""))
            story.when_minutes_pass(1)
        assert (story.serving_version(), story.state().desired.release) == (
            "2",
            story.state().rollout.stable,
        ), what
        assert changes_made(story) == changes, what
    assert not story.quarantine()


@pytest.mark.parametrize(
    "attributes",
    [{}, {"ce-time": "2031-01-01T00:00:00Z"}],
    ids=["plain", "that claims to be newer"],
)
def test_the_same_event_in_a_new_message_changes_nothing(attributes: dict[str, str]) -> None:
    """A sender that is not sure publishes again, under the same id; the newer message carries no
    newer wish."""
    story = settled("1")
    story.when_published(event("2"), **context("a"))
    story.when_settled()
    story.when_published(event("3"), **context("b"))
    story.when_settled()
    changes = changes_made(story)
    for _ in range(3):
        story.when_published(event("2"), **context("a", **attributes))
        story.when_minutes_pass(3)
    assert (story.serving_version(), changes_made(story)) == ("3", changes)


def test_a_version_that_served_once_comes_back_by_force_or_rollback_alone() -> None:
    story = settled("1", "2")
    changes = changes_made(story)
    story.when_published(event("1", **FIRST))
    story.when_minutes_pass(3)
    assert not story.quarantine()
    assert (story.serving_version(), changes_made(story)) == ("2", changes)


def test_a_version_with_other_content_is_refused_once() -> None:
    story = settled("1", "2")
    changes = changes_made(story)
    swapped = (
        event("2") | {"artifact": {"image": f"{IMAGE}:evil"}},
        event("2", scaling={"max": 2000}),
        event("1", machine={"type": "n1-standard-96"}),
        event("1", force=True) | {"artifact": {"image": f"{IMAGE}:evil"}},
    )
    for number, body in enumerate(swapped):
        for _ in range(2):
            delivered(story, body, f"90{number}", "2027-01-01T00:00:00Z")
            story.when_minutes_pass(1)
    assert ["exists with other content" in refused["why"] for refused in story.quarantine()] == [
        True
    ] * len(swapped)
    assert (story.serving_version(), changes_made(story)) == ("2", changes)


def test_an_event_under_another_event_s_id_is_taken_for_that_event() -> None:
    """Whoever may publish could have said the same; what matters is that the first one stands."""
    story = settled("1")
    story.when_published(event("2"), **context("same"))
    story.when_published(event("3"), **context("same"))
    story.when_settled()
    assert story.serving_version() == "2"


def test_nothing_from_before_brings_a_retired_model_back() -> None:
    story = settled("1", "2")
    story.when_commanded("retire")
    story.when_settled()
    for number, body in enumerate(PAST.values()):
        delivered(story, body, str(900 + number))
        story.when_minutes_pass(1)
    assert not story.instances()
    assert not [name for name in story.resources() if "/slipway-tiny-" in name]


# ---- Wake-ups that nobody sent


@pytest.mark.parametrize(
    "data",
    [
        b'{"model": "a/b"}',
        b'{"model": ""}',
        b'{"model": "../settings"}',
        b'{"model": "tiny/releases/1"}',
        b'{"model": "."}',
        b'{"model": "__tiny__"}',
        b'{"model": "T\\u0000"}',
        b'{"model": ["tiny"]}',
        b'{"model": {"tiny": 1}}',
        b'{"model": null}',
        b'{"tick": 1}',
        b'{"tick": "true"}',
        b'{"tick": false}',
        b'{"why": "x"}',
        b'"tiny"',
        json.dumps({"model": "x" * 60_000}).encode(),
        *(bomb for bomb in BOMBS.values() if 0 < len(bomb) < 10_000_000),
    ],
    ids=lambda data: repr(data[:30]),
)
def test_a_wake_up_that_is_none_is_acknowledged_and_wakes_nobody(data: bytes) -> None:
    story = Scenario()
    written = story.full_state()
    with connecting_nowhere():
        story.when_woken(data)
    assert story.bus.next_due() is None
    assert story.full_state() == written
    assert story.cloud.calls.counts == {}


@pytest.mark.parametrize(
    "data",
    [None, [], {}, {"message": {}}, b"x", pushed(b"{}", "1") | {"subscription": "x"}],
    ids=repr,
)
def test_a_request_that_holds_no_wake_up_is_acknowledged(data: Any) -> None:
    story = Scenario()
    for kind, source in ((PUBLISHED, SOURCE), ("evil", SOURCE), (PUBLISHED, "//evil")):
        wakeup.handle(story.world, FakeEvent(kind, source, data))
    assert story.cloud.calls.counts == {}


def test_a_wake_up_from_another_project_wakes_nobody() -> None:
    story = settled("1")
    story.world.project = "demo"
    calls = dict(story.cloud.calls.counts)
    theirs = pushed(b'{"model": "tiny"}', "1") | {
        "subscription": "projects/evil/subscriptions/model-wakeups"
    }
    wakeup.handle(story.world, FakeEvent(PUBLISHED, SOURCE, theirs))
    wakeup.handle(
        story.world,
        FakeEvent(PUBLISHED, SOURCE.replace("/demo/", "/evil/"), pushed(b'{"model": "tiny"}', "2")),
    )
    assert dict(story.cloud.calls.counts) == calls
    wakeup.handle(story.world, FakeEvent(PUBLISHED, SOURCE, pushed(b'{"model": "tiny"}', "3")))
    assert dict(story.cloud.calls.counts) != calls


def test_a_wake_up_carries_nothing_that_a_turn_believes() -> None:
    story = settled("1")
    written = story.full_state()
    story.when_woken(
        json.dumps(
            {"model": "tiny", "phase": "settled", "desired": event("2"), "tick": False}
        ).encode()
    )
    assert story.full_state() == written


def test_a_storm_of_wake_ups_and_ticks_over_settled_models_changes_nothing() -> None:
    story = settled("1")
    written = story.full_state()
    for _ in range(scaled(100, 5_000)):
        story.when_woken()
        story.when_woken(b'{"tick": true}')
        story.when_woken(b'{"model": "nobody"}')
    assert story.full_state() == written


def test_wake_ups_do_not_multiply() -> None:
    """Each asks for at most one more, however many of one model come."""
    story = Scenario()
    story.when_released("1")
    published = story.bus.publish("model-wakeups", b'{"model": "tiny"}')
    for _ in range(50):
        story.when_woken()
    story.when_settled()
    assert int(story.bus.publish("model-wakeups", b"{}")) - int(published) < 50 * 2 + 120


# ---- One model's event and another's resources


def test_a_model_s_route_cannot_be_taken_by_another() -> None:
    story = Scenario()
    story.given_serving("1", "one", traffic={"path": "/one", "draining_seconds": 0})
    story.when_released("1", "two", traffic={"path": "/one", "draining_seconds": 0})
    story.when_settled("two")
    rules = [rule for matcher in story.url_map()["pathMatchers"] for rule in matcher["pathRules"]]
    assert [rule["service"].rpartition("/")[2] for rule in rules] == ["slipway-one-blue"]
    assert "goes to slipway-one-blue already" in story.why("1", "two")


@pytest.mark.parametrize("label", ["slipway-model", "slipway-release", "slipway"])
def test_a_release_cannot_label_its_machines_as_another_model_s(label: str) -> None:
    story = Scenario()
    story.when_released("1", machine={"labels": {label: "other"}})
    assert "machine.labels" in story.quarantine()[0]["why"]


@pytest.mark.parametrize(
    "field",
    ["template", "group", "backend", "instance_group", "service", "owner", "generation", "digest"],
)
def test_a_release_cannot_name_a_resource(field: str) -> None:
    story = Scenario()
    story.when_published(event("1", **{field: "slipway-other-blue"}))
    assert field in story.quarantine()[0]["why"]


@pytest.mark.parametrize(
    "model", ["slipway-tiny-blue", "slipway-tiny-blue-live", "slipway-gateway", "slipway"]
)
def test_a_model_whose_name_is_like_another_s_resource_leaves_that_one_alone(model: str) -> None:
    story = settled("1")
    mine = {name: bodies(story)[name] for name in bodies(story) if "/slipway-tiny-" in name}
    shared = {name for name in bodies(story) if "/slipway-" in name}
    story.when_published(event("1") | {"model": model, "traffic": {"draining_seconds": 0}})
    story.when_minutes_pass(12)
    story.when_published({"model": model, "command": "retire"})
    story.when_minutes_pass(12)
    after = bodies(story)
    assert {name: after.get(name) for name in mine} == mine
    assert shared <= set(after)
    assert story.serving_version() == "1"
    assert story.healthy_by_version() == {"1": 3}


@pytest.mark.parametrize(
    ("collection", "name", "body"),
    [
        (
            "global/healthChecks",
            "slipway-tiny-blue-live",
            {"type": "TCP", "tcpHealthCheck": {"port": 1}},
        ),
        (
            "global/healthChecks",
            "slipway-tiny-blue-lb",
            {"type": "TCP", "tcpHealthCheck": {"port": 1}},
        ),
        (
            "global/backendServices",
            "slipway-tiny-blue",
            {"protocol": "HTTP", "loadBalancingScheme": "EXTERNAL_MANAGED"},
        ),
    ],
)
@pytest.mark.parametrize("description", ["theirs", "slipway model=other health check"])
def test_what_bears_our_name_and_is_another_s_is_never_written(
    collection: str, name: str, body: dict[str, Any], description: str
) -> None:
    story = Scenario()
    session = requests.Session()
    session.mount("http://", InProcessAdapter(story.cloud))
    url = f"http://compute.local/compute/v1/projects/{PROJECT}/{collection}"
    assert session.post(url, json=body | {"name": name, "description": description}).ok
    story.when_seconds_pass(5)
    before = session.get(f"{url}/{name}").json()
    story.when_released("1")
    story.when_settled()
    story.when_commanded("retire")
    story.when_minutes_pass(5)
    assert session.get(f"{url}/{name}").json() == before
    assert story.outcome("1") in ("rolled_back", "refused")
    assert "is not Slipway's" in story.why("1")


def test_a_message_s_own_words_never_choose_a_document() -> None:
    """Names that would climb, reserved ones and long ones: the documents are those of the models
    and nothing else."""
    story = Scenario()
    for name in (
        "../settings",
        "settings/policy",
        "a/log/1",
        "__a__",
        ".",
        "..",
        "a" * 41,
        "a\u0000",
        "A",
    ):
        story.when_published(event("1") | {"model": name})
        story.when_published(event(name))
        story.when_published({"model": "tiny", "command": "rollback", "version": name})
    assert all(document.path.count("/") == 1 for document in story.store.list("models", 100))
    assert story.store.get("settings/policy") is None
    assert len(story.quarantine()) > 20


def test_the_same_bad_message_a_hundred_times_is_one_record_and_one_letter(
    caplog: pytest.LogCaptureFixture,
) -> None:
    story = Scenario()
    with caplog.at_level(logging.WARNING, "slipway"):
        for _ in range(100):
            release.handle(
                story.world, FakeEvent(PUBLISHED, SOURCE, pushed(b'{"model": 7}', "same"))
            )
            story.bus.pump()
    assert len(story.quarantine()) == len(story.published_on("model-releases-dead")) == 1
    assert base64.b64decode(story.quarantine()[0]["raw"]) == b'{"model": 7}'
    assert len(caplog.records) == 1
