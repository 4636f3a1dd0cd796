"""Old, repeated and swapped messages, forged wake-ups, and events that reach for another model's
resources.
"""

from __future__ import annotations

import base64
import copy
import json
import logging
from typing import Any

import pytest

from handlers import release, wakeup
from infra.bus.envelope import PUBLISHED, RELEASE_TYPE
from tests.assurance.hostile.intake import SOURCE, FakeEvent, forbid_connections, push_body, scaled
from tests.assurance.hostile.test_envelopes import BOMBS
from tests.scenario import IMAGE, NO_DRAINING, Scenario, quick

LONG_AGO = "2025-12-31T23:00:00Z"  # before any scenario begins


def release_body(version: str, **more: Any) -> dict[str, Any]:
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


def count_writes(scenario: Scenario) -> dict[str, int]:
    """The calls that are not reads, by method."""
    reads = (
        ".get",
        ".list",
        ".aggregatedList",
        ".getHealth",
        ".listManagedInstances",
        ".wait",
    )
    return {
        method: count
        for method, count in scenario.emulator.calls.counts.items()
        if not method.endswith(reads)
    }


def resource_bodies(scenario: Scenario) -> dict[str, Any]:
    return {
        f"{key.collection}/{key.name}": copy.deepcopy(body)
        for key, body in scenario.emulator.resources()
    }


def serve_versions(*versions: str) -> Scenario:
    scenario = Scenario()
    for version in versions:
        scenario.given_serving(version)
        scenario.when_minutes_pass(1)
    return scenario


def deliver(
    scenario: Scenario,
    body: object,
    number: str,
    published: str = LONG_AGO,
    attributes: dict[str, str] | None = None,
) -> None:
    """Delivers a message as Pub/Sub would, however late or often: id and publish time do not
    change.
    """
    push = push_body(json.dumps(body).encode(), number, attributes)
    push["message"]["publishTime"] = published
    release.handle(scenario.world, FakeEvent(PUBLISHED, SOURCE, push))
    scenario.bus.pump()


# ---- Replayed and downgraded releases


# What a scenario's first release has besides its image.
FIRST = {"scaling": {"min": 3, "max": 6}, "traffic": NO_DRAINING, "rollout": quick({})}
OLD_MESSAGES = {
    "what serves, again": release_body("2"),
    "what served before": release_body("1", **FIRST),
    "one that was never seen, but is old": release_body("0"),
    "spelled otherwise": release_body("2", force=False),
    "forced": release_body("1", force=True, **FIRST),
    "in another's name": release_body("2", requested_by="mallory"),
    "a rollback": {"model": "tiny", "command": "rollback"},
    "a rollback to a version": {"model": "tiny", "command": "rollback", "version": "1"},
    "a retirement": {"model": "tiny", "command": "retire"},
    "a pause": {"model": "tiny", "command": "pause"},
    "an abort": {"model": "tiny", "command": "abort"},
    "a promotion": {"model": "tiny", "command": "promote"},
}


def test_old_messages_change_nothing() -> None:
    scenario = serve_versions("1", "2")
    changes = count_writes(scenario)
    for what, body in OLD_MESSAGES.items():
        for number in (what, what, f"{what} again"):
            deliver(scenario, body, number.replace(" ", "-").replace(",", "").replace("'", ""))
            scenario.when_minutes_pass(1)
        assert (scenario.serving_version(), scenario.state().desired.release) == (
            "2",
            scenario.state().rollout.stable,
        ), what
        assert count_writes(scenario) == changes, what
    assert not scenario.quarantine()


@pytest.mark.parametrize(
    "attributes",
    [{}, {"ce-time": "2031-01-01T00:00:00Z"}],
    ids=["plain", "that claims to be newer"],
)
def test_the_same_event_in_a_new_message_changes_nothing(attributes: dict[str, str]) -> None:
    """A sender that is not sure publishes again under the same id; the newer message is a
    duplicate.
    """
    scenario = serve_versions("1")
    scenario.when_published(release_body("2"), **context("a"))
    scenario.when_settled()
    scenario.when_published(release_body("3"), **context("b"))
    scenario.when_settled()
    changes = count_writes(scenario)
    for _ in range(3):
        scenario.when_published(release_body("2"), **context("a", **attributes))
        scenario.when_minutes_pass(3)
    assert (scenario.serving_version(), count_writes(scenario)) == ("3", changes)


def test_an_old_version_returns_only_by_force_or_rollback() -> None:
    scenario = serve_versions("1", "2")
    changes = count_writes(scenario)
    scenario.when_published(release_body("1", **FIRST))
    scenario.when_minutes_pass(3)
    assert not scenario.quarantine()
    assert (scenario.serving_version(), count_writes(scenario)) == ("2", changes)


def test_a_version_with_other_content_is_refused_once() -> None:
    scenario = serve_versions("1", "2")
    changes = count_writes(scenario)
    swapped = (
        release_body("2") | {"artifact": {"image": f"{IMAGE}:evil"}},
        release_body("2", scaling={"max": 2000}),
        release_body("1", machine={"type": "n1-standard-96"}),
        release_body("1", force=True) | {"artifact": {"image": f"{IMAGE}:evil"}},
    )
    for number, body in enumerate(swapped):
        for _ in range(2):
            deliver(scenario, body, f"90{number}", "2027-01-01T00:00:00Z")
            scenario.when_minutes_pass(1)
    assert ["exists with other content" in refused["why"] for refused in scenario.quarantine()] == [
        True
    ] * len(swapped)
    assert (scenario.serving_version(), count_writes(scenario)) == ("2", changes)


def test_an_event_with_a_known_id_is_a_duplicate() -> None:
    """The first event under an id counts; a later one with other content does not replace it."""
    scenario = serve_versions("1")
    scenario.when_published(release_body("2"), **context("same"))
    scenario.when_published(release_body("3"), **context("same"))
    scenario.when_settled()
    assert scenario.serving_version() == "2"


def test_old_messages_do_not_restore_a_retired_model() -> None:
    scenario = serve_versions("1", "2")
    scenario.when_commanded("retire")
    scenario.when_settled()
    for number, body in enumerate(OLD_MESSAGES.values()):
        deliver(scenario, body, str(900 + number))
        scenario.when_minutes_pass(1)
    assert not scenario.instances()
    assert not [name for name in scenario.resources() if "/slipway-tiny-" in name]


# ---- Forged wake-ups


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
def test_an_invalid_wake_up_is_acknowledged_and_wakes_no_model(data: bytes) -> None:
    scenario = Scenario()
    written = scenario.full_state()
    with forbid_connections():
        scenario.when_woken(data)
    assert scenario.bus.next_due() is None
    assert scenario.full_state() == written
    assert scenario.emulator.calls.counts == {}


@pytest.mark.parametrize(
    "data",
    [None, [], {}, {"message": {}}, b"x", push_body(b"{}", "1") | {"subscription": "x"}],
    ids=repr,
)
def test_a_request_without_a_wake_up_is_acknowledged(data: Any) -> None:
    scenario = Scenario()
    for kind, source in ((PUBLISHED, SOURCE), ("evil", SOURCE), (PUBLISHED, "//evil")):
        wakeup.handle(scenario.world, FakeEvent(kind, source, data))
    assert scenario.emulator.calls.counts == {}


def test_a_wake_up_from_another_project_wakes_no_model() -> None:
    scenario = serve_versions("1")
    scenario.world.project = "demo"
    calls = dict(scenario.emulator.calls.counts)
    theirs = push_body(b'{"model": "tiny"}', "1") | {
        "subscription": "projects/evil/subscriptions/model-wakeups"
    }
    wakeup.handle(scenario.world, FakeEvent(PUBLISHED, SOURCE, theirs))
    wakeup.handle(
        scenario.world,
        FakeEvent(
            PUBLISHED, SOURCE.replace("/demo/", "/evil/"), push_body(b'{"model": "tiny"}', "2")
        ),
    )
    assert dict(scenario.emulator.calls.counts) == calls
    wakeup.handle(
        scenario.world, FakeEvent(PUBLISHED, SOURCE, push_body(b'{"model": "tiny"}', "3"))
    )
    assert dict(scenario.emulator.calls.counts) != calls


def test_other_fields_of_a_wake_up_are_ignored() -> None:
    scenario = serve_versions("1")
    written = scenario.full_state()
    scenario.when_woken(
        json.dumps(
            {"model": "tiny", "phase": "settled", "desired": release_body("2"), "tick": False}
        ).encode()
    )
    assert scenario.full_state() == written


def test_a_storm_of_wake_ups_and_ticks_over_settled_models_changes_nothing() -> None:
    scenario = serve_versions("1")
    written = scenario.full_state()
    for _ in range(scaled(100, 5_000)):
        scenario.when_woken()
        scenario.when_woken(b'{"tick": true}')
        scenario.when_woken(b'{"model": "nobody"}')
    assert scenario.full_state() == written


def test_wake_ups_do_not_multiply() -> None:
    """Each publishes at most one more, however many arrive for one model."""
    scenario = Scenario()
    scenario.when_released("1")
    published = scenario.bus.publish("model-wakeups", b'{"model": "tiny"}')
    for _ in range(50):
        scenario.when_woken()
    scenario.when_settled()
    assert int(scenario.bus.publish("model-wakeups", b"{}")) - int(published) < 50 * 2 + 120


# ---- Another model's resources


def test_a_model_s_route_cannot_be_taken_by_another() -> None:
    scenario = Scenario()
    scenario.given_serving("1", "one", traffic={"path": "/one", "draining_seconds": 0})
    scenario.when_released("1", "two", traffic={"path": "/one", "draining_seconds": 0})
    scenario.when_settled("two")
    rules = [
        rule for matcher in scenario.url_map()["pathMatchers"] for rule in matcher["pathRules"]
    ]
    assert [rule["service"].rpartition("/")[2] for rule in rules] == ["slipway-one-blue"]
    assert "goes to slipway-one-blue already" in scenario.why("1", "two")


@pytest.mark.parametrize("label", ["slipway-model", "slipway-release", "slipway"])
def test_a_release_cannot_set_slipway_s_labels(label: str) -> None:
    scenario = Scenario()
    scenario.when_released("1", machine={"labels": {label: "other"}})
    assert "machine.labels" in scenario.quarantine()[0]["why"]


@pytest.mark.parametrize(
    "field",
    ["template", "group", "backend", "instance_group", "service", "owner", "generation", "digest"],
)
def test_a_release_cannot_name_a_resource(field: str) -> None:
    scenario = Scenario()
    scenario.when_published(release_body("1", **{field: "slipway-other-blue"}))
    assert field in scenario.quarantine()[0]["why"]


@pytest.mark.parametrize(
    "model", ["slipway-tiny-blue", "slipway-tiny-blue-live", "slipway-gateway", "slipway"]
)
def test_a_model_named_like_another_model_s_resource_leaves_it_unchanged(model: str) -> None:
    scenario = serve_versions("1")
    mine = {
        name: resource_bodies(scenario)[name]
        for name in resource_bodies(scenario)
        if "/slipway-tiny-" in name
    }
    shared = {name for name in resource_bodies(scenario) if "/slipway-" in name}
    scenario.when_published(
        release_body("1") | {"model": model, "traffic": {"draining_seconds": 0}}
    )
    scenario.when_minutes_pass(12)
    scenario.when_published({"model": model, "command": "retire"})
    scenario.when_minutes_pass(12)
    after = resource_bodies(scenario)
    assert {name: after.get(name) for name in mine} == mine
    assert shared <= set(after)
    assert scenario.serving_version() == "1"
    assert scenario.healthy_by_version() == {"1": 3}


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
def test_a_resource_with_our_name_and_another_owner_is_never_written(
    collection: str, name: str, body: dict[str, Any], description: str
) -> None:
    scenario = Scenario()
    call = scenario.emulator.call
    call("POST", collection, body | {"name": name, "description": description})
    scenario.when_seconds_pass(5)
    before = call("GET", f"{collection}/{name}")
    scenario.when_released("1")
    scenario.when_settled()
    scenario.when_commanded("retire")
    scenario.when_minutes_pass(5)
    assert call("GET", f"{collection}/{name}") == before
    assert scenario.outcome("1") in ("rolled_back", "refused")
    assert "is not owned by Slipway" in scenario.why("1")


def test_names_in_messages_never_choose_a_document() -> None:
    """Whether a name is reserved, long or climbs a path: only the models' documents exist."""
    scenario = Scenario()
    policy = scenario.store.get("settings/policy")
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
        scenario.when_published(release_body("1") | {"model": name})
        scenario.when_published(release_body(name))
        scenario.when_published({"model": "tiny", "command": "rollback", "version": name})
    assert all(document.path.count("/") == 1 for document in scenario.store.list("models", 100))
    assert scenario.store.get("settings/policy") == policy
    assert len(scenario.quarantine()) > 20


def test_a_repeated_bad_message_makes_one_record_and_one_dead_letter(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scenario = Scenario()
    with caplog.at_level(logging.WARNING, "slipway"):
        for _ in range(100):
            release.handle(
                scenario.world, FakeEvent(PUBLISHED, SOURCE, push_body(b'{"model": 7}', "same"))
            )
            scenario.bus.pump()
    assert len(scenario.quarantine()) == len(scenario.published_on("model-releases-dead")) == 1
    assert base64.b64decode(scenario.quarantine()[0]["raw"]) == b'{"model": 7}'
    assert len(caplog.records) == 1
