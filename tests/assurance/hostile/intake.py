"""The function under attack: `main.on_release` behind functions-framework's parsing, over an
in-memory world.

`Intake.deliver` and `Intake.post` check what bad input may do: the function succeeds (which
acknowledges the message), creates no Compute client, opens no connection, and records a refusal
exactly once, however often the message is delivered.
"""

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
from typing import Any, NoReturn

import functions_framework

from handlers import release
from infra import wiring
from infra.bus.embedded import EmbeddedBus
from infra.bus.envelope import PUBLISHED
from infra.compute.client import Compute
from infra.registry.emulated import EmulatedRegistry
from infra.store.databases import TwoDatabases
from infra.store.port import Create, Delete, Put, Write
from infra.store.sqlite import SqliteStore
from infra.wiring import World
from tests.open_policy import OPEN

MAIN = Path(__file__).parents[3] / "main.py"
TOPIC = "projects/demo/topics/model-releases"
SOURCE = f"//pubsub.googleapis.com/{TOPIC}"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SMALL: dict[str, Any] = {"model": "tiny", "version": "1", "artifact": {"image": "tiny:1"}}

# The largest valid message of shapes.py just meets this policy.
FULL_POLICY = {
    "max_instances": 11,
    "max_accelerators": 22,
    "max_cost_per_hour": 6,
    "max_project_instances": 20,
    "max_project_accelerators": 40,
    "max_project_cost_per_hour": 10,
    "gate_hosts": ["evals.example.com"],
}


def scaled(commit: int, soak: int) -> int:
    """A number for the tests of every commit, or for the nightly run (SLIPWAY_SOAK is set)."""
    return soak if os.environ.get("SLIPWAY_SOAK") else commit


# ---- No connections

_attempts: list[str] = []
_is_watching = False


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if _is_watching and event in (
        "socket.connect",
        "socket.getaddrinfo",
        "socket.sendto",
        "subprocess.Popen",
        "os.system",
    ):
        _attempts.append(f"{event} {args[1:]!r}"[:200])


sys.addaudithook(_audit)


@contextmanager
def forbid_connections() -> Iterator[None]:
    """Fails if anything opens a connection, looks up a name or starts a process in this block.
    Python's audit hooks report each attempt.
    """
    global _is_watching
    _attempts.clear()
    _is_watching = True
    try:
        yield
    finally:
        _is_watching = False
    assert not _attempts, _attempts


# ---- The intake


class FixedClock:
    def now(self) -> datetime:
        return NOON

    def sleep(self, seconds: float) -> None:
        raise AssertionError("the intake must not sleep")


def _no_compute() -> Compute:
    raise AssertionError("the intake created a Compute client")


def _no_source() -> NoReturn:
    raise AssertionError("the intake asked a source of metrics or an evaluation job")


@dataclass(frozen=True)
class Outcome:
    """The outcome of one message: refused with a reason, accepted for a model, or neither (a
    duplicate, or nothing new).
    """

    why: str
    model: str


class Intake:
    def __init__(self) -> None:
        self.store = RecordingStore()
        self.settings = SqliteStore(":memory:")
        self.settings.commit(Put("settings/policy", OPEN))
        clock = FixedClock()
        self.bus = EmbeddedBus(clock)
        self.woken: list[str] = []
        self.published: list[bytes] = []
        self.bus.subscribe("model-wakeups", lambda event: self.woken.append(_data(event)["model"]))
        for topic in ("model-releases-dead", "model-rollout-status"):
            self.bus.subscribe(
                topic,
                lambda event: self.published.append(
                    base64.b64decode(event.data["message"]["data"])
                ),
            )
        self.world = World(
            clock,
            lambda: TwoDatabases(self.store, self.settings),
            lambda: self.bus,
            _no_compute,
            project="demo",
            registry=EmulatedRegistry,
            metrics=_no_source,
            verdicts=_no_source,
        )
        self._numbers = itertools.count(1)

    def deliver(self, body: object, attributes: Mapping[str, str] | None = None) -> Outcome:
        """Passes the body to the handler twice, as Eventarc would deliver it."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        number = str(next(self._numbers))
        event = FakeEvent(PUBLISHED, SOURCE, push_body(data, number, attributes))
        return self._send_twice(number, lambda: release.handle(self.world, event))

    def post(self, body: object, headers: Mapping[str, str], path: str = "/") -> Outcome:
        """Posts a request to the function twice. The status must be 200; with any other, Pub/Sub
        redelivers the message.
        """
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._send_twice("", lambda: self._post(data, headers, path))

    def _post(self, data: bytes, headers: Mapping[str, str], path: str) -> None:
        with serve(self.world) as client:
            answer = client.post(path, data=data, headers=dict(headers))
        assert answer.status_code == 200, (answer.status_code, answer.data[:300])

    def _send_twice(self, number: str, send: Callable[[], None]) -> Outcome:
        woken = len(self.woken)
        with forbid_connections():
            writes = self._record_writes(send)
            repeated = self._record_writes(send)
        assert not repeated, f"a duplicate writes {repeated}"
        assert self.bus.next_due() is None, "a message was not acknowledged"
        refusals = [
            write
            for write in writes
            if isinstance(write, Create) and write.path.startswith("quarantine/")
        ]
        outgoing = {
            write.path
            for write in writes
            if write.path.startswith("outbox/") and not isinstance(write, Delete)
        }
        assert outgoing == {write.path for write in writes if isinstance(write, Delete)}, (
            "a message is left in the outbox"
        )
        if not refusals:
            return Outcome("", self.woken[woken] if len(self.woken) > woken else "")
        (refusal,) = refusals
        logged = [write for write in writes if "/log/" in write.path]
        assert len(logged) == bool(refusal.data["model"])
        others = len(writes) - len(logged)
        assert others == len(outgoing) * 2 + 1 == 5, f"refused, but written: {writes}"
        assert len(self.woken) == woken, "refused, but a model was woken"
        assert not number or refusal.path == f"quarantine/{number}"
        assert 0 < len(refusal.data["why"]) < 30_000
        return Outcome(refusal.data["why"], "")

    def _record_writes(self, send: Callable[[], None]) -> list[Write]:
        self.store.writes.clear()
        send()
        self.bus.pump()
        return list(self.store.writes)


class RecordingStore(SqliteStore):
    """The SQLite store, with a list of its writes."""

    def __init__(self) -> None:
        super().__init__(":memory:")
        self.writes: list[Write] = []

    def commit(self, *writes: Write) -> dict[str, str]:
        versions = super().commit(*writes)
        self.writes += writes
        return versions


@dataclass(frozen=True)
class FakeEvent:
    """An event as functions-framework passes it on, for tests that do not test its parsing."""

    type: str
    source: str
    data: Any

    def get(self, key: str, default: Any = None) -> Any:
        return {"type": self.type, "source": self.source, "id": "1"}.get(key, default)


def push_body(
    data: bytes, number: str, attributes: Mapping[str, str] | None = None
) -> dict[str, Any]:
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
    """Creates the app once. Restores what functions-framework and `main.py` change in the process:
    the environment and the logger.
    """
    environment, log = dict(os.environ), logging.getLogger("slipway")
    settings = (list(log.handlers), log.level, log.propagate)
    client = functions_framework.create_app("on_release", str(MAIN), "cloudevent").test_client()
    os.environ.clear()
    os.environ.update(environment)
    log.handlers, log.level, log.propagate = settings
    return client


@contextmanager
def serve(world: World) -> Iterator[Any]:
    """A client of functions-framework's app of `main.py`, with this world instead of the one that
    the environment describes.
    """
    original = wiring.world
    wiring.world = lambda: world  # type: ignore[assignment]
    try:
        yield _client()
    finally:
        wiring.world = original


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
    """The body, headers and path of a Pub/Sub push in each of the four envelopes."""
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
