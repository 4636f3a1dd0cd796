"""From a vendor's message to a release that serves, or to a line of `slipway events`."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.http import CloudEvent

from handlers import artifact
from infra.bus.envelope import IGNORED_TYPE
from infra.store.port import Put
from tests.console.terminal import Terminal
from tests.handlers.test_sources import (
    ALIASED,
    BUILT,
    COMMITTED,
    DIGEST,
    IMAGE,
    NOTIFICATION,
    PUSHED,
    UPLOADED,
    WRITTEN,
)
from tests.scenario import InterceptedStore, Scenario

SPEC = {"rollout": {"bake_seconds": 0}}
ROUTE = {"source": "artifact_registry", "match": IMAGE, "model": "tiny", "spec": SPEC}


def given_routes(**routes: Any) -> Scenario:
    story = Scenario()
    story.settings.commit(Put("settings/sources", {"routes": routes}))
    return story


def publish(story: Scenario, topic: str, body: Any, **attributes: str) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    story.bus.publish(topic, data, {name.replace("_", "-"): it for name, it in attributes.items()})
    story.bus.pump()


def ignored(story: Scenario) -> list[str]:
    """What `slipway events` says of artifacts that are no release."""
    lines = Terminal(story).run("events", "--no-follow", "--last", "50").out.splitlines()
    return [line.partition(" ")[2] for line in lines if "-> ignored" in line]


def test_a_pushed_image_is_rolled_out_once_however_often_it_is_announced() -> None:
    story = given_routes(tiny=ROUTE)
    publish(story, "gcr", PUSHED)
    story.when_settled()
    assert story.serving_version() == "1.1"
    record = story.store.get("models/tiny/releases/1.1")
    assert record
    assert record.data["spec"]["artifact"]["image"] == f"{IMAGE}:1.1@{DIGEST}"
    log = story.log()
    publish(story, "gcr", PUSHED)
    story.when_settled()
    assert story.log() == log
    assert ignored(story) == []


def test_what_is_no_release_is_recorded_once_with_its_reason() -> None:
    story = given_routes(tiny=ROUTE)
    publish(story, "gcr", PUSHED | {"action": "DELETE"})
    publish(story, "gcr", b"\xff")
    publish(story, "cloud-builds", BUILT)
    publish(story, "model-artifacts", {"hello": 1})
    assert sorted(ignored(story)) == [
        "?: artifact_registry -> ignored: the data cannot be read: message: must be UTF-8, got byte"
        " 0xff at 0",
        f"?: artifact_registry -> ignored: {IMAGE}:1.1: action is DELETE, and only INSERT is a"
        " push",
        f"?: cloud_build -> ignored: {IMAGE}:1.1: no route of settings/sources matches {IMAGE}",
        "?: unknown -> ignored: nothing in the message says which vendor sent it",
    ]
    assert story.store.list("models", 9, None) == ()
    assert story.store.list("quarantine", 9, None) == ()


def test_a_message_that_is_repeated_is_recorded_once() -> None:
    story = given_routes(tiny=ROUTE)
    delivery = artifact.Delivery("7", story.clock.now(), "mlflow", ALIASED, {})
    (nothing,) = artifact.decide(delivery, ())
    for _ in range(2):
        artifact._publish_ignored(story.world, delivery, nothing, is_set_up=True)  # type: ignore[arg-type]
    story.bus.pump()
    assert len(story.store.list("ignored", 9, None)) == 1


def test_without_routes_nothing_is_published_or_recorded() -> None:
    story = Scenario()
    publish(story, "gcr", PUSHED)
    assert story.store.list("ignored", 9, None) == story.store.list("models", 9, None) == ()


def test_every_vendor_has_a_way_in() -> None:
    image = {"artifact": {"image": f"{IMAGE}@{DIGEST}"}} | SPEC
    story = given_routes(
        build=ROUTE | {"source": "cloud_build", "model": "built"},
        storage={
            "source": "cloud_storage",
            "match": "my-weights/*/*/release.json",
            "model": "stored",
            "spec": image,
        },
        vertex={"source": "vertex", "match": "us-central1/ranker", "model": "uploaded"},
        mlflow={"source": "mlflow", "match": "example_model", "model": "aliased", "spec": image},
        hub={
            "source": "hugging_face",
            "match": "some-user/*",
            "refs": ["test"],
            "model": "committed",
            "spec": image,
        },
    )
    publish(story, "cloud-builds", BUILT, buildId=BUILT["id"], status="SUCCESS")  # type: ignore[arg-type]
    publish(story, "model-artifacts", WRITTEN, **NOTIFICATION)
    publish(story, "model-artifacts", UPLOADED)
    publish(story, "model-artifacts", ALIASED, slipway_source="mlflow")
    publish(story, "model-artifacts", COMMITTED, slipway_source="hugging_face")
    found = {
        each.path.rpartition("/")[2]: each.data["desired"]["release"]["version"]
        for each in story.store.list("models", 9, None)
    }
    assert found == {
        "built": "1.1",
        "stored": "7",
        "uploaded": "4",
        "aliased": "1",
        "committed": "test",
    }
    assert ["main is not in refs" in each for each in ignored(story)] == [True]


@pytest.mark.parametrize(
    ("kind", "body", "source"),
    [
        ("google.cloud.storage.object.v1.finalized", WRITTEN, "cloud_storage"),
        ("google.cloud.audit.log.v1.written", UPLOADED, "vertex"),
    ],
)
def test_an_event_of_eventarc_is_read_like_a_message(kind: str, body: Any, source: str) -> None:
    context = {"id": "12", "type": kind, "source": "//x", "time": "2026-11-22T10:00:00Z"}
    delivery = artifact.read_delivery(CloudEvent(context, body))
    assert delivery == artifact.Delivery(
        "12",
        datetime(2026, 11, 22, 10, tzinfo=UTC),
        source,  # type: ignore[arg-type]
        body,
        {},
    )


def test_a_document_with_a_problem_has_messages_delivered_again_until_it_is_repaired() -> None:
    story = given_routes(tiny=ROUTE | {"model": "Tiny!"})
    publish(story, "gcr", PUSHED)
    story.when_minutes_pass(1)
    assert story.store.list("models", 9, None) == ()
    story.settings.commit(Put("settings/sources", {"routes": {"tiny": ROUTE}}))
    story.when_minutes_pass(15)
    assert story.serving_version() == "1.1"


def test_the_handler_writes_no_document() -> None:
    """Its identity may only read them."""
    story = given_routes(tiny=ROUTE)

    def refuse(commit: Any) -> Any:
        raise AssertionError("a write")

    reader = story.new_worker(InterceptedStore(story.store, refuse))
    for body in (PUSHED, PUSHED | {"action": "DELETE"}):
        data = base64.b64encode(json.dumps(body).encode()).decode()
        message = {"messageId": "1", "publishTime": "2026-11-22T10:00:00Z", "data": data}
        context = {
            "id": "1",
            "type": "google.cloud.pubsub.topic.v1.messagePublished",
            "source": "//pubsub.googleapis.com/projects/demo/topics/gcr",
        }
        artifact.handle(reader, CloudEvent(context, {"message": message}))
    story.bus.pump()
    assert len(story.store.list("ignored", 9, None)) == 1
    assert story.store.get("models/tiny")


def test_the_intake_quarantines_a_record_of_something_ignored_that_is_none() -> None:
    story = Scenario()
    context = {"ce-id": "1", "ce-source": "//x", "ce-type": IGNORED_TYPE, "ce-specversion": "1.0"}
    bodies: tuple[Any, ...] = ({"why": "x"}, [], {"source": "a", "about": "b", "why": 7})
    for body in bodies:
        story.bus.publish("model-releases", json.dumps(body).encode(), context)
    story.bus.pump()
    assert len(story.store.list("quarantine", 9, None)) == 3
    assert story.store.list("ignored", 9, None) == ()
