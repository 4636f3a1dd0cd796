"""The words journeys are told in: given a world, when an event comes and time passes, then this is
what exists and serves.

Everything is the deployed code: events go through the entry points' handlers, the real Compute
client speaks to the stand-in mounted in process, and time is virtual, so that an hour passes in a
moment. Journeys assert the world, never the calls."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Any

import requests

from compute_emulator import Cloud, InProcessAdapter
from compute_emulator import VirtualClock as CloudClock
from handlers import release, wakeup
from infra.bus.embedded import EmbeddedBus
from infra.bus.envelope import RELEASE_TYPE, CloudEventLike, Message, parse_message
from infra.bus.port import Bus
from infra.compute.client import Compute
from infra.store import outbox, repository
from infra.store.documents import from_document
from infra.store.port import Put, Store, Write
from infra.store.sqlite import SqliteStore
from infra.wiring import World
from rollout.spec.model import Spec
from rollout.state import ModelState

PROJECT = "demo"
IMAGE = "us-docker.pkg.dev/p/r/tiny"
QUICK = {"draining_seconds": 0}
DEFAULT_BEHAVIOUR: dict[str, Any] = {
    "boot_seconds": 30,
    "ready_after_seconds": 10,
    "drain_seconds": 0,
}


class VirtualClock:
    """The stand-in's virtual time as the World's clock: whoever sleeps lets the cloud live on, in
    view of the watchers."""

    def __init__(self, cloud_clock: CloudClock) -> None:
        self._cloud_clock = cloud_clock
        self.watchers: list[Callable[[], None]] = []

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._cloud_clock(), UTC)

    def sleep(self, seconds: float) -> None:
        while self.watchers and seconds > 1:
            self._cloud_clock.advance(1)
            seconds -= 1
            for watch in self.watchers:
                watch()
        self._cloud_clock.advance(seconds)


@dataclass(frozen=True)
class Running:
    """An instance that the stand-in has, as a person at the console would see it."""

    name: str
    version: str
    healthy: bool
    zone: str


Around = Callable[[Callable[[], Any]], Any]


class MortalStore(SqliteStore):
    """The real store, with every commit handed to `around`."""

    _around: Around

    def __init__(self, store: SqliteStore, around: Around) -> None:
        self.__dict__ = {**store.__dict__, "_around": around}

    def commit(self, *writes: Write) -> dict[str, str]:
        around, commit = self._around, super().commit
        committed: dict[str, str] = around(lambda: commit(*writes))
        return committed


class MortalBus:
    """The real bus, with every publish handed to `around`."""

    def __init__(self, bus: Bus, around: Around) -> None:
        self._bus, self._around = bus, around

    def publish(
        self, topic: str, data: bytes, attributes: Mapping[str, str] = MappingProxyType({})
    ) -> str:
        published: str = self._around(lambda: self._bus.publish(topic, data, attributes))
        return published


class MortalAdapter(InProcessAdapter):
    """The stand-in in process, with every change handed to `around`; reads and waits pass."""

    def __init__(self, cloud: Cloud, around: Around) -> None:
        super().__init__(cloud)
        self._around = around

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        path = str(request.url).partition("?")[0]
        is_read = request.method == "GET" or path.endswith(
            ("/wait", "/getHealth", "/listManagedInstances")
        )
        send = super().send
        if is_read:
            return send(request, *args, **kwargs)
        answer: requests.Response = self._around(lambda: send(request, *args, **kwargs))
        return answer


class Scenario:
    def __init__(self) -> None:
        self._cloud_clock = CloudClock()
        self.clock = VirtualClock(self._cloud_clock)
        self.cloud = Cloud(PROJECT, self._cloud_clock, operation_seconds=1)
        self.cloud.set_behaviours([DEFAULT_BEHAVIOUR])
        self.store = SqliteStore(":memory:")
        self.bus = EmbeddedBus(self.clock)
        self.tokens = itertools.count(1)
        self.world = self.worker()
        self.mortally: Callable[[Callable[[], None]], None] = lambda work: work()
        self.published: list[tuple[str, Message]] = []
        self.bus.subscribe(
            "model-releases", lambda event: self.mortally(lambda: release.handle(self.world, event))
        )
        self.bus.subscribe(
            outbox.WAKEUPS,
            lambda event: self.mortally(lambda: wakeup.handle(self.world, event)),
        )
        for topic in (outbox.STATUS, outbox.DEAD_LETTERS):
            self.bus.subscribe(topic, partial(self._receive, topic))

    def _mortal(self, around: Callable[[Callable[[], Any]], Any]) -> World:
        return self.worker(
            MortalStore(self.store, around),
            MortalBus(self.bus, around),
            MortalAdapter(self.cloud, around),
        )

    def worker(
        self,
        store: Store | None = None,
        bus: Bus | None = None,
        adapter: InProcessAdapter | None = None,
    ) -> World:
        """A function instance: its own World over the shared store, bus and cloud. Its tokens count
        up, so that runs repeat."""
        compute = Compute(
            PROJECT,
            self.clock,
            "http://compute.local",
            adapter=adapter or InProcessAdapter(self.cloud),
            workers=1,
        )
        return World(
            self.clock,
            lambda: store or self.store,
            lambda: bus or self.bus,
            lambda: compute,
            lambda: f"worker-{next(self.tokens)}",
        )

    # ---- given

    def given_behaviour(self, version: str, **behaviour: Any) -> None:
        """Instances of this version boot, get ready and die as told; all others by default."""
        told = {"image": f"*{IMAGE}:{version}*", **DEFAULT_BEHAVIOUR, **behaviour}
        self.cloud.set_behaviours([told, *self.cloud.behaviours])

    def given_serving(self, version: str, model: str = "tiny", **sections: Any) -> None:
        self.when_released(version, model, **sections)
        self.when_settled(model)
        assert self.serving_version(model) == version

    def given_no_behaviours(self) -> None:
        self.cloud.set_behaviours([DEFAULT_BEHAVIOUR])

    def given_stock_out(self, place: str) -> None:
        """Nothing more can be created in the zone or region."""
        self.cloud.stock_outs[place] = {}

    def given_no_stock_out(self) -> None:
        self.cloud.stock_outs.clear()

    def given_policy(self, **policy: Any) -> None:
        self.store.commit(Put("settings/policy", policy))

    def given_fault(self, kind: str, **fault: Any) -> None:
        self.cloud.faults.add(kind, fault.pop("method", "*"), **fault)

    def given_no_faults(self) -> None:
        self.cloud.faults.clear()

    def given_operation_seconds(self, seconds: float) -> None:
        self.cloud.operations.seconds = seconds

    def given_load(self, group: str, **load: float) -> None:
        self.cloud.load[group] = dict(load)

    def given_foreign_health_check(self, name: str) -> None:
        """Somebody else's health check that bears one of our names."""
        self.given_resource(
            "global/healthChecks",
            {"name": name, "type": "TCP", "tcpHealthCheck": {"port": 1}, "description": "theirs"},
        )

    def given_certificate(self, name: str) -> None:
        managed = {"name": name, "type": "MANAGED", "managed": {"domains": ["models.example.com"]}}
        self.given_resource("global/sslCertificates", managed)

    def given_resource(self, collection: str, body: dict[str, Any]) -> None:
        """Made by whoever; `collection` is with its scope, as in `global/healthChecks`."""
        session = requests.Session()
        session.mount("http://", InProcessAdapter(self.cloud))
        answer = session.post(
            f"http://compute.local/compute/v1/projects/{PROJECT}/{collection}",
            json=body,
        )
        assert answer.ok, answer.text

    def given_mortal_workers(
        self, around: Callable[[Callable[[], Any]], Any], death: type[BaseException]
    ) -> None:
        """Workers that can die at any external write: `around` gets each write to the store, to
        Compute Engine and to the bus. A dead worker's message is delivered again, to a new
        worker."""

        def live(work: Callable[[], None]) -> None:
            try:
                work()
            except death:
                self.world = self._mortal(around)
                raise RuntimeError("the worker died") from None

        self.mortally = live
        self.world = self._mortal(around)

    # ---- when

    def when_watched(self, watch: Callable[[], None]) -> None:
        """From now on look at the world at every second that passes."""

        def look() -> None:
            self.cloud.advance()
            watch()

        self.clock.watchers.append(look)

    def when_woken(self, data: bytes = b'{"model": "tiny"}') -> None:
        self.bus.publish(outbox.WAKEUPS, data)
        self.bus.pump()

    def publish_later(self, body: object) -> Callable[[], None]:
        """Publish now, but deliver only when the answer is called."""
        slow = EmbeddedBus(self.clock)
        slow.subscribe("model-releases", lambda event: release.handle(self.world, event))
        context = {
            "ce-id": "late",
            "ce-source": "//ci",
            "ce-type": RELEASE_TYPE,
            "ce-specversion": "1.0",
        }
        slow.publish("model-releases", json.dumps(body).encode(), context)

        def deliver() -> None:
            assert slow.pump() == 1
            self.bus.pump()

        return deliver

    def when_released(self, version: str, model: str = "tiny", **sections: Any) -> None:
        """Publish a release and let the functions work on it as far as they get without a tick."""
        artifact: dict[str, Any] = (
            {} if "artifact" in sections else {"artifact": {"image": f"{IMAGE}:{version}"}}
        )
        fields = {
            name: sections.pop(name)
            for name in ("force", "requested_by", "reason")
            if name in sections
        }
        known = self.store.get(repository.model_path(model))
        defaults: dict[str, Any] = (
            {} if known else {"scaling": {"min": 3, "max": 6}, "traffic": QUICK}
        )
        body: dict[str, Any] = {"model": model, "version": version}
        self.when_published(body | artifact | fields | defaults | sections)

    def when_commanded(self, command: str, model: str = "tiny", **fields: Any) -> None:
        self.when_published({"model": model, "command": command, **fields})

    def when_published(self, body: object, **attributes: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.bus.publish("model-releases", data, attributes)
        self.bus.pump()

    def when_minutes_pass(self, minutes: int) -> None:
        for _ in range(minutes):
            self.when_seconds_pass(60)

    def when_seconds_pass(self, seconds: float) -> None:
        """Time goes on, with the tick of every full minute and everything the functions do on
        it."""
        end = self.clock.now() + timedelta(seconds=seconds)
        while self.clock.now() < end:
            self.clock.sleep(min(60.0, (end - self.clock.now()).total_seconds()))
            self.bus.publish(outbox.WAKEUPS, json.dumps({"tick": True}).encode())
            self.bus.pump()

    def when_settled(self, model: str = "tiny", within_minutes: int = 120) -> None:
        """Let time pass until nothing is under way for the model. Fails, with the story so far,
        when that takes too long."""
        for _ in range(within_minutes):
            if self.state(model).requeue_at is None:
                return
            self.when_minutes_pass(1)
        raise AssertionError(
            f"{model} is not settled after {within_minutes} minutes:\n" + self.story(model)
        )

    def when_until(self, phase: str, model: str = "tiny", within_seconds: int = 3600) -> None:
        """Let time pass until the model's log says that this phase was entered."""
        for _ in range(within_seconds // 5):
            if self.log(model) and self.log(model)[-1]["to"] == phase:
                return
            self.when_seconds_pass(5)
        raise AssertionError(f"{model} never came to {phase}:\n" + self.story(model))

    # ---- then

    def state(self, model: str = "tiny") -> ModelState:
        document = self.store.get(repository.model_path(model))
        assert document, f"no document for {model}"
        return from_document(document.data)

    def serving_version(self, model: str = "tiny") -> str | None:
        stable = self.state(model).rollout.stable
        return stable.version if stable else None

    def outcome(self, version: str, model: str = "tiny") -> str | None:
        document = self.store.get(repository.release_path(model, version))
        return document.data.get("outcome") if document else None

    def why(self, version: str, model: str = "tiny") -> str:
        document = self.store.get(repository.release_path(model, version))
        return str(document.data["ended"]["why"]) if document and "ended" in document.data else ""

    def reason(self, version: str, model: str = "tiny") -> str:
        document = self.store.get(repository.release_path(model, version))
        return (
            str(document.data["ended"]["reason"]) if document and "ended" in document.data else ""
        )

    def spec(self, model: str = "tiny") -> Spec:
        stable = self.state(model).rollout.stable
        assert stable, f"{model} serves nothing"
        return stable.spec

    def image(self, version: str) -> str:
        return f"{IMAGE}:{version}"

    def log(self, model: str = "tiny") -> list[dict[str, Any]]:
        return [document.data for document in self.store.list(f"models/{model}/log", 1000, None)]

    def story(self, model: str = "tiny") -> str:
        return "\n".join(
            f"{entry['at']:%H:%M:%S} {entry['release']} {entry['from']} -> {entry['to']}:"
            f" {entry['why']}"
            for entry in self.log(model)
        )

    def instances(self, model: str = "tiny") -> list[Running]:
        """The model's instances that exist and are not being deleted."""
        versions = self._versions(model)
        found = []
        for record in self.cloud.snapshot():
            if (
                record["group"] == f"slipway-{model}-blue"
                and record["action"] != "DELETING"
                and record["status"]
            ):
                version = versions.get(record["template"], "?")
                found.append(Running(record["name"], version, record["ready"], record["zone"]))
        return found

    def healthy_by_version(self, model: str = "tiny") -> dict[str, int]:
        return dict(
            Counter(instance.version for instance in self.instances(model) if instance.healthy)
        )

    def resources(self) -> set[str]:
        """Everything that exists in the project, as `collection/name`."""
        return {
            f"{collection}/{name}"
            for (_, collection), table in self.cloud.tables.items()
            for name in table
            if collection != "operations"
        }

    def templates(self, model: str = "tiny") -> set[str]:
        return {
            name
            for name in self.resources()
            if name.startswith(f"instanceTemplates/slipway-{model}-")
        }

    def autoscaler(self, model: str = "tiny") -> dict[str, Any]:
        """The policy as the stand-in holds it; changing it is changing it behind Slipway's back."""
        policy: dict[str, Any] = self._resource("autoscalers", f"slipway-{model}-blue")[
            "autoscalingPolicy"
        ]
        return policy

    def group(self, model: str = "tiny") -> dict[str, Any]:
        return self._resource("instanceGroupManagers", f"slipway-{model}-blue")

    def url_map(self) -> dict[str, Any]:
        return self._resource("urlMaps", "slipway-gateway")

    def calls(self, method: str) -> int:
        return self.cloud.calls.counts.get(f"compute.{method}", 0)

    def told(self, topic: str) -> list[bytes]:
        """What was published on a topic, in order."""
        return [message.data for told, message in self.published if told == topic]

    def told_attributes(self, topic: str) -> list[dict[str, str]]:
        return [dict(message.attributes) for told, message in self.published if told == topic]

    def _receive(self, topic: str, event: CloudEventLike) -> None:
        self.published.append((topic, parse_message(event)))

    def _resource(self, collection: str, name: str) -> dict[str, Any]:
        for (_, kept), table in self.cloud.tables.items():
            if kept == collection and name in table:
                return table[name]
        raise AssertionError(f"no {collection}/{name}")

    def quarantine(self) -> list[dict[str, Any]]:
        return [document.data for document in self.store.list("quarantine", 1000, None)]

    def everything_written(self) -> tuple[Any, ...]:
        """All documents and all of Compute Engine: what must be equal before and after something
        that changes nothing."""
        paths = ["models", "outbox", "quarantine", "models/tiny/log", "models/tiny/releases"]
        documents = [document for path in paths for document in self.store.list(path, 1000, None)]
        tables = {key: table for key, table in self.cloud.tables.items() if key[1] != "operations"}
        return (
            documents,
            json.dumps(list(tables.values()), sort_keys=True, default=str),
            len(self.published),
        )

    def leftovers(self) -> tuple[str, ...]:
        """Messages that were committed and never sent."""
        return tuple(document.path for document in self.store.list("outbox", 1000, None))

    def _versions(self, model: str) -> dict[str, str]:
        releases = self.store.list(f"models/{model}/releases", 1000, None)
        return {document.data["template"]: document.data["version"] for document in releases}
