"""The contract of `Bus`, tested on every implementation: Pub/Sub (its emulator pushes to
functions-framework over HTTP) and the embedded one.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest

from infra.bus.embedded import EmbeddedBus
from infra.bus.envelope import RELEASE_TYPE, Message, parse_payload
from infra.bus.port import Bus, BusError, Unavailable
from infra.bus.pubsub import PubsubBus
from infra.wiring import RealClock
from local.topics import make_topics, push_to
from tests.infra.bus_function import record

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 60


class Setup(Protocol):
    """A bus that delivers to a function."""

    project: str

    @property
    def bus(self) -> Bus: ...

    def connect(
        self, topic: str, dead_letter_topic: str | None = None, attempts: int = 5
    ) -> None: ...

    @property
    def journal(self) -> Path: ...


@dataclass
class PubsubSetup:
    address: str
    project: str
    url: str
    journal: Path

    def __post_init__(self) -> None:
        self.bus: Bus = PubsubBus(self.project, emulator=self.address)

    def connect(self, topic: str, dead_letter_topic: str | None = None, attempts: int = 5) -> None:
        make_topics(
            self.address, self.project, [name for name in (topic, dead_letter_topic) if name]
        )
        push_to(
            self.address,
            self.project,
            topic,
            self.url,
            dead_letter_topic=dead_letter_topic,
            attempts=attempts,
            first_backoff_seconds=0.1,
        )


@dataclass
class EmbeddedSetup:
    project: str
    journal: Path
    bus: EmbeddedBus = field(init=False)

    def __post_init__(self) -> None:
        self.bus = EmbeddedBus(RealClock(), self.project, first_backoff_seconds=0.02)

    def connect(self, topic: str, dead_letter_topic: str | None = None, attempts: int = 5) -> None:
        self.bus.subscribe(
            topic,
            lambda event: record(event, self.journal),
            dead_letter_topic=dead_letter_topic,
            attempts=attempts,
        )


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A function under functions-framework: its URL and its journal."""
    folder = tmp_path_factory.mktemp("function")
    journal, log = folder / "journal", folder / "log"
    journal.touch()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    source = Path(__file__).with_name("bus_function.py")
    command = [
        sys.executable,
        "-m",
        "functions_framework",
        "--target=on_message",
        f"--source={source}",
    ]
    environment = os.environ | {"BUS_JOURNAL": str(journal), "PYTHONPATH": str(ROOT)}
    with log.open("wb") as out:
        server = subprocess.Popen(
            [*command, "--host=127.0.0.1", f"--port={port}"],
            env=environment,
            cwd=folder,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until(
            lambda: accepts_connections(port),
            lambda: f"functions-framework did not start:\n{log.read_text()}",
        )
        yield f"http://127.0.0.1:{port}", journal
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=20)


@pytest.fixture(params=["pubsub", "embedded"])
def setup(request: pytest.FixtureRequest, project: str, tmp_path: Path) -> Iterator[Setup]:
    if request.param == "pubsub":
        address = request.getfixturevalue("pubsub_emulator")
        yield PubsubSetup(address, project, *request.getfixturevalue("function"))
        return
    embedded = EmbeddedSetup(project, tmp_path / "journal")
    embedded.journal.touch()
    embedded.bus.start()
    yield embedded
    embedded.bus.stop()


def accepts_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(reached: Any, otherwise: Any) -> None:
    until = time.monotonic() + TIMEOUT_SECONDS
    while not reached():
        assert time.monotonic() < until, otherwise()
        time.sleep(0.02)


def deliveries(setup: Setup, topic: str) -> list[Message]:
    found = []
    for text in setup.journal.read_text().splitlines():
        delivery = json.loads(text)
        if delivery.get("topic") == f"projects/{setup.project}/topics/{topic}":
            delivery |= {
                "data": base64.b64decode(delivery["data"]),
                "published_at": datetime.fromisoformat(delivery["published_at"]),
            }
            found.append(Message(**delivery))
    return found


def wait_for_deliveries(setup: Setup, topic: str, count: int) -> list[Message]:
    wait_until(
        lambda: len(deliveries(setup, topic)) >= count,
        lambda: f"only these were delivered to {topic}: {deliveries(setup, topic)}",
    )
    return deliveries(setup, topic)


def test_a_message_is_delivered_as_it_was_published(setup: Setup) -> None:
    setup.connect("model-wakeups")
    data, attributes = b'\x00\xff{"model":"tiny"}', {"ce-id": "ü 東", "empty": "", "a.b/c": "1,2"}

    before = datetime.now(UTC)
    sent = setup.bus.publish("model-wakeups", data, attributes)
    (message,) = wait_for_deliveries(setup, "model-wakeups", 1)

    assert (message.id, message.data, message.attributes) == (sent, data, attributes)
    assert (
        before - timedelta(seconds=5)
        <= message.published_at
        <= datetime.now(UTC) + timedelta(seconds=5)
    )


def test_messages_of_other_topics_are_not_delivered(setup: Setup) -> None:
    setup.connect("model-releases")
    setup.connect("model-wakeups")

    setup.bus.publish("model-wakeups", b"1")
    setup.bus.publish("model-releases", b"2")

    assert [message.data for message in wait_for_deliveries(setup, "model-releases", 1)] == [b"2"]
    assert [message.data for message in wait_for_deliveries(setup, "model-wakeups", 1)] == [b"1"]


def test_every_message_of_concurrent_publishers_is_delivered(setup: Setup) -> None:
    setup.connect("model-wakeups")
    sent: list[str] = []

    def publish(publisher: int) -> None:
        sent.extend(
            setup.bus.publish("model-wakeups", f"{publisher}-{number}".encode())
            for number in range(10)
        )

    threads = [threading.Thread(target=publish, args=(publisher,)) for publisher in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(
        lambda: len({each.data for each in deliveries(setup, "model-wakeups")}) == 40,
        lambda: "some were not delivered",
    )

    assert {message.data for message in deliveries(setup, "model-wakeups")} == {
        f"{p}-{n}".encode() for p in range(4) for n in range(10)
    }
    assert {message.id for message in deliveries(setup, "model-wakeups")} == set(sent)
    assert len(set(sent)) == 40


def test_a_message_is_redelivered_until_its_handler_returns(setup: Setup) -> None:
    setup.connect("model-wakeups")

    sent = setup.bus.publish("model-wakeups", b"failing", {"fail": "2"})
    setup.bus.publish("model-wakeups", b"easy")
    wait_until(
        lambda: len(deliveries(setup, "model-wakeups")) >= 4, lambda: "not delivered three times"
    )

    assert [
        message.id for message in deliveries(setup, "model-wakeups") if message.data == b"failing"
    ] == [sent] * 3


def test_an_undeliverable_message_goes_to_the_dead_letter_topic(setup: Setup) -> None:
    setup.connect("model-releases-dead")
    setup.connect("model-releases", dead_letter_topic="model-releases-dead", attempts=5)

    setup.bus.publish("model-releases", b"undeliverable", {"mine": "1", "fail": "5"})
    (dead,) = wait_for_deliveries(setup, "model-releases-dead", 1)[:1]

    assert len(deliveries(setup, "model-releases")) >= 5
    assert (dead.data, dead.attributes["mine"]) == (b"undeliverable", "1")
    source = {
        name: text
        for name, text in dead.attributes.items()
        if name.startswith("CloudPubSubDeadLetterSource")
    }
    assert source["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"
    assert source["CloudPubSubDeadLetterSourceSubscription"].startswith("model-releases-")
    assert source["CloudPubSubDeadLetterSourceSubscriptionProject"] == setup.project


def test_a_cloud_event_has_the_same_key_in_both_modes(setup: Setup) -> None:
    setup.connect("model-releases")
    context = {
        "specversion": "1.0",
        "id": "7",
        "source": "//ci",
        "type": RELEASE_TYPE,
        "time": "2026-03-01T12:00:00Z",
    }
    body = {"model": "tiny", "version": "1"}

    structured = {"content-type": "application/cloudevents+json; charset=utf-8"}
    setup.bus.publish("model-releases", json.dumps(context | {"data": body}).encode(), structured)
    setup.bus.publish(
        "model-releases",
        json.dumps(body).encode(),
        {f"ce-{name}": text for name, text in context.items()},
    )
    found = [parse_payload(message) for message in wait_for_deliveries(setup, "model-releases", 2)]

    assert len({message.id for message in deliveries(setup, "model-releases")}) == 2
    assert found[0].key == found[1].key
    assert [json.loads(each.data) for each in found] == [body, body]
    assert {(each.event_id, each.source, each.type, each.at.isoformat()) for each in found} == {
        ("7", "//ci", RELEASE_TYPE, "2026-03-01T12:00:00+00:00")
    }


@pytest.mark.parametrize(
    ("data", "attributes", "why"),
    [
        (b"", {}, "needs data"),
        (b"x" * 10_000_001, {}, "10,000,001 bytes"),
        (b"x", {"a": "x" * 1025}, "1,025 bytes"),
        (b"x", {"a": "ü" * 513}, "1,026 bytes"),
        (b"x", {"": "x"}, "name"),
        (b"x", {"google": "x"}, "name"),
        (b"x", {str(number): "x" for number in range(101)}, "101 attributes"),
    ],
)
def test_a_message_beyond_pubsubs_limits_is_refused_by_every_bus(
    setup: Setup, data: bytes, attributes: dict[str, str], why: str
) -> None:
    setup.connect("model-wakeups")

    with pytest.raises(BusError, match=why):
        setup.bus.publish("model-wakeups", data, attributes)


# ---- Pub/Sub only


def test_publishing_to_a_missing_topic_is_a_bus_error(pubsub_emulator: str, project: str) -> None:
    with pytest.raises(BusError, match=f"projects/{project}/topics/nowhere"):
        PubsubBus(project, emulator=pubsub_emulator).publish("nowhere", b"x")


def test_unreachable_pubsub_is_unavailable() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable):
            PubsubBus(
                "p", emulator=f"127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=0.5
            ).publish("t", b"x")


def test_unresponsive_pubsub_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Unavailable):
        PubsubBus(
            "p", emulator=f"127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=0.5
        ).publish("t", b"x")
