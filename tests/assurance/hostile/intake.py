"""The function under attack: `main.on_release` behind functions-framework's own parsing, over a
world in memory.

`Intake.take` and `Intake.post` hold every message to what bad input may do: the function answers
well (which is the acknowledgement), no Compute client is ever made, no connection is tried, and a
refusal is on record exactly once, however often the message comes."""

from __future__ import annotations

import base64
import itertools
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import functions_framework

from handlers import release
from infra import wiring
from infra.bus.embedded import EmbeddedBus
from infra.bus.envelope import PUBLISHED
from infra.compute.client import Compute
from infra.store.port import Create, Delete, Write
from infra.store.sqlite import SqliteStore
from infra.wiring import World

MAIN = Path(__file__).parents[3] / "main.py"
TOPIC = "projects/demo/topics/model-releases"
SOURCE = f"//pubsub.googleapis.com/{TOPIC}"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SMALL: dict[str, Any] = {"model": "tiny", "version": "1", "artifact": {"image": "tiny:1"}}

# What the fullest legal message of tests/assurance/hostile/shapes.py just keeps to.
FULL_POLICY = {
    "max_instances": 11,
    "max_accelerators": 22,
    "max_cost_per_hour": 6,
    "max_project_instances": 20,
    "max_project_accelerators": 40,
    "max_project_cost_per_hour": 10,
}


def scaled(commit: int, soak: int) -> int:
    """How many of something to try: the first for every commit, the second when SLIPWAY_SOAK is set
    (`make soak`)."""
    return soak if os.environ.get("SLIPWAY_SOAK") else commit


# ---- No connections

_tried: list[str] = []
_is_watching = False


def _hear(event: str, args: tuple[Any, ...]) -> None:
    if _is_watching and event in (
        "socket.connect",
        "socket.getaddrinfo",
        "socket.sendto",
        "subprocess.Popen",
        "os.system",
    ):
        _tried.append(f"{event} {args[1:]!r}"[:200])


sys.addaudithook(_hear)


@contextmanager
def connecting_nowhere() -> Iterator[None]:
    """Python itself tells of every connection, look-up and process that anything tries within; none
    may be."""
    global _is_watching
    _tried.clear()
    _is_watching = True
    try:
        yield
    finally:
        _is_watching = False
    assert not _tried, _tried


# ---- The intake


class FixedClock:
    def now(self) -> datetime:
        return NOON

    def sleep(self, seconds: float) -> None:
        raise AssertionError("the intake does not wait")


def _no_compute() -> Compute:
    raise AssertionError("the intake made a Compute client")


@dataclass(frozen=True)
class Outcome:
    """What became of one message: refused with a reason, accepted for a model, or neither (a
    duplicate, or nothing new)."""

    why: str
    model: str


class Intake:
    def __init__(self) -> None:
        self.store = RecordingStore()
        clock = FixedClock()
        self.bus = EmbeddedBus(clock)
        self.woken: list[str] = []
        self.told: list[bytes] = []
        self.bus.subscribe("model-wakeups", lambda event: self.woken.append(_data(event)["model"]))
        for topic in ("model-releases-dead", "model-rollout-status"):
            self.bus.subscribe(
                topic,
                lambda event: self.told.append(base64.b64decode(event.data["message"]["data"])),
            )
        self.world = World(clock, lambda: self.store, lambda: self.bus, _no_compute, project="demo")
        self._numbers = itertools.count(1)

    def take(self, body: object, attributes: Mapping[str, str] | None = None) -> Outcome:
        """Hand the body to the handler, twice, as Eventarc would bring it."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        number = str(next(self._numbers))
        event = FakeEvent(PUBLISHED, SOURCE, pushed(data, number, attributes))
        return self._held(number, lambda: release.handle(self.world, event))

    def post(self, body: object, headers: Mapping[str, str], path: str = "/") -> Outcome:
        """Post a request to the function itself, twice. The answer must be 200: anything else is
        delivered again."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._held("", lambda: self._post(data, headers, path))

    def _post(self, data: bytes, headers: Mapping[str, str], path: str) -> None:
        with serving(self.world) as client:
            answer = client.post(path, data=data, headers=dict(headers))
        assert answer.status_code == 200, (answer.status_code, answer.data[:300])

    def _held(self, number: str, send: Callable[[], None]) -> Outcome:
        woken = len(self.woken)
        with connecting_nowhere():
            made = self._sent(send)
            again = self._sent(send)
        assert not again, f"a repeat writes {again}"
        assert self.bus.next_due() is None, "something was not acknowledged"
        refusals = [
            write
            for write in made
            if isinstance(write, Create) and write.path.startswith("quarantine/")
        ]
        outgoing = {
            write.path
            for write in made
            if write.path.startswith("outbox/") and not isinstance(write, Delete)
        }
        assert outgoing == {write.path for write in made if isinstance(write, Delete)}, (
            "something is left unsent"
        )
        if not refusals:
            return Outcome("", self.woken[woken] if len(self.woken) > woken else "")
        (refusal,) = refusals
        assert len(made) == len(outgoing) * 2 + 1 == 5, f"refused, and yet written: {made}"
        assert len(self.woken) == woken, "refused, and yet woken"
        assert not number or refusal.path == f"quarantine/{number}"
        assert 0 < len(refusal.data["why"]) < 30_000
        return Outcome(refusal.data["why"], "")

    def _sent(self, send: Callable[[], None]) -> list[Write]:
        self.store.made.clear()
        send()
        self.bus.pump()
        return list(self.store.made)


class RecordingStore(SqliteStore):
    """The real store, with a list of the writes that it took."""

    def __init__(self) -> None:
        super().__init__(":memory:")
        self.made: list[Write] = []

    def commit(self, *writes: Write) -> dict[str, str]:
        versions = super().commit(*writes)
        self.made += writes
        return versions


@dataclass(frozen=True)
class FakeEvent:
    """What functions-framework hands over, without its parsing: for the many messages whose
    envelope is not the point."""

    type: str
    source: str
    data: Any

    def get(self, key: str, default: Any = None) -> Any:
        return {"type": self.type, "source": self.source, "id": "1"}.get(key, default)


def pushed(data: bytes, number: str, attributes: Mapping[str, str] | None = None) -> dict[str, Any]:
    message = {
        "data": base64.b64encode(data).decode(),
        "attributes": dict(attributes or {}),
        "messageId": number,
        "publishTime": "2026-03-01T12:00:00.123456789Z",
    }
    return {"message": message, "subscription": "projects/demo/subscriptions/releases"}


def _data(event: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.b64decode(event.data["message"]["data"]))
    return found


# ---- functions-framework


@cache
def _client() -> Any:
    """Made once, while a world is there to connect to. What functions-framework and `main.py` set
    for a whole process is put back, since the process is the tests' own."""
    given, log = dict(os.environ), logging.getLogger("slipway")
    kept = (list(log.handlers), log.level, log.propagate)
    client = functions_framework.create_app("on_release", str(MAIN), "cloudevent").test_client()
    os.environ.clear()
    os.environ.update(given)
    log.handlers, log.level, log.propagate = kept
    return client


@contextmanager
def serving(world: World) -> Iterator[Any]:
    """The app that functions-framework makes of `main.py`, with this world in place of the one the
    environment describes."""
    given = wiring.world
    wiring.world = lambda: world  # type: ignore[assignment]
    try:
        yield _client()
    finally:
        wiring.world = given


BINARY = {
    "content-type": "application/json",
    "ce-id": "42",
    "ce-source": SOURCE,
    "ce-specversion": "1.0",
    "ce-type": PUBLISHED,
    "ce-time": "2026-03-01T12:00:00Z",
}
STRUCTURED = {"content-type": "application/cloudevents+json"}
RAW = {"content-type": "application/json"}
ENVELOPES = ("binary", "structured", "push", "push with a topic")


def request(envelope: str, push: object, number: str = "42") -> tuple[object, dict[str, str], str]:
    """The body, headers and path by which each of the four envelopes brings what Pub/Sub pushed."""
    match envelope:
        case "binary":
            return push, BINARY | {"ce-id": number}, "/"
        case "structured":
            context = {
                name.removeprefix("ce-"): text
                for name, text in BINARY.items()
                if name.startswith("ce-")
            }
            return context | {"id": number, "data": push}, STRUCTURED, "/"
        case "push":
            return push, RAW, "/"
        case _:
            return push, RAW, f"/{TOPIC}"
