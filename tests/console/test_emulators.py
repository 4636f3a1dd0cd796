"""The command line with Google's clients on Google's emulators."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
from cloudevents.http import CloudEvent
from google.pubsub_v1.services.subscriber import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from console.connect import Connection, connect
from handlers import release
from infra.bus.envelope import PUBLISHED
from infra.store import outbox
from infra.store.port import Put
from infra.wiring import make_settings, make_world
from local.topics import make_topics, push_to
from tests.console.terminal import run
from tests.open_policy import OPEN

TOPIC = "model-releases"


@contextmanager
def intake(address: str, project: str, environment: dict[str, str]) -> Iterator[Any]:
    """Handles what is published, whenever it is called."""
    world = make_world(environment | {"SLIPWAY_REGISTRY": "emulated"})
    make_settings(environment).commit(Put("settings/policy", OPEN))
    topic, name = f"projects/{project}/topics/{TOPIC}", f"projects/{project}/subscriptions/intake"
    with grpc.insecure_channel(address) as channel:
        client = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        client.create_subscription(name=name, topic=topic, timeout=10)

        def handle_published() -> None:
            pulled = client.pull(subscription=name, max_messages=10, timeout=10).received_messages
            for each in pulled:
                at = each.message.publish_time.isoformat()
                message = {
                    "data": base64.b64encode(each.message.data).decode(),
                    "attributes": dict(each.message.attributes),
                    "messageId": each.message.message_id,
                    "publishTime": at,
                }
                context = {
                    "specversion": "1.0",
                    "id": each.message.message_id,
                    "source": f"//pubsub.googleapis.com/{topic}",
                    "type": PUBLISHED,
                    "time": at,
                }
                release.handle(world, CloudEvent(context, {"message": message}))
                client.acknowledge(subscription=name, ack_ids=[each.ack_id], timeout=10)

        yield handle_published


def test_releases_are_published_and_read_with_googles_clients(
    pubsub_emulator: str, firestore_emulator: str, project: str, tmp_path: Path
) -> None:
    environment = {
        "GOOGLE_CLOUD_PROJECT": project,
        "PUBSUB_EMULATOR_HOST": pubsub_emulator,
        "FIRESTORE_EMULATOR_HOST": firestore_emulator,
        "XDG_STATE_HOME": str(tmp_path),
    }
    topics = (TOPIC, outbox.WAKEUPS, outbox.STATUS, outbox.DEAD_LETTERS)
    make_topics(pubsub_emulator, project, topics)
    event = {"model": "tiny", "version": "1", "artifact": {"image": "eu-docker.pkg.dev/p/r/m:1"}}
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(event))
    bad.write_text(json.dumps(event | {"version": "2", "scaling": {"min": "lots"}}))
    with intake(pubsub_emulator, project, environment) as handle_published:

        def connect_with_intake(named: str | None) -> Connection:
            return replace(connect(named, environment), sleep=lambda seconds: handle_published())

        def slipway(*arguments: str) -> tuple[int, Any]:
            result = run(connect_with_intake, *arguments, "--output", "json")
            return result.status, result.json

        status, accepted = slipway("publish", str(good))
        assert (status, accepted["answer"]) == (0, "accepted")
        status, unchanged = slipway("publish", str(good))
        assert (status, unchanged["answer"]) == (0, "unchanged")
        status, refused = slipway("publish", str(bad))
        assert (status, refused["answer"]) == (2, "refused")
        assert refused["problems"][0].startswith("scaling.min: ")
        status, nothing = slipway("resume", "tiny")
        assert (status, nothing["answer"]) == (2, "unchanged")
        assert slipway("status", "tiny")[1]["desired"] == "1"
        assert [each["version"] for each in slipway("history", "tiny")[1]] == ["1"]
        (record,) = slipway("quarantine", "list")[1]
        assert record["id"] == refused["message_id"]
        status, findings = slipway("doctor")
        found = {each["check"]: (each["result"], each["what"]) for each in findings}
        assert status == 2
        assert found["topic model-approvals"] == ("wrong", "it does not exist")
        what = "no subscription pushes to a function, so messages are only kept"
        nothing_pushes = ("wrong", what)
        assert found["topic model-releases"] == nothing_pushes
        assert found["topic model-rollout-status"] == nothing_pushes
        assert found["topic model-releases-dead"] == ("right", "subscriptions: 0")
        push_to(pubsub_emulator, project, outbox.WAKEUPS, "http://127.0.0.1:9")
        pushed = {each["check"]: each["what"] for each in slipway("doctor")[1]}
        assert pushed["topic model-wakeups"] == "pushed by model-wakeups-push"
        decisions = slipway("why", "tiny", "1")[1]["decisions"]
        assert [each["to"] for each in decisions] == ["desired", "unchanged"]
