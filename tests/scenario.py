"""The steps of a journey: given a world, when an event arrives and time passes, then this exists
and serves.

All code is the deployed code, from the entry points' handlers to the requests that the Compute
Engine emulator answers in process. Time is virtual, so an hour passes in a moment. Journeys assert
the world, not the calls.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Any

from compute_emulator import Emulator, Request, Response
from compute_emulator import VirtualClock as CloudClock
from handlers import alert, approval, artifact, release, status, wakeup
from infra.bus.embedded import EmbeddedBus
from infra.bus.envelope import RELEASE_TYPE, CloudEventLike, Message, parse_message
from infra.bus.port import Bus
from infra.fleet import naming
from infra.identity.record import LAST_TICK
from infra.metrics.port import Metrics
from infra.notifications.port import Notifier
from infra.registry.emulated import EmulatedRegistry
from infra.schedule.timer import Timer
from infra.store import outbox, repository
from infra.store.databases import TwoDatabases
from infra.store.documents import from_document
from infra.store.port import Put, Store, Write
from infra.store.sqlite import SqliteStore
from infra.verdicts.port import Verdicts
from infra.wiring import World
from rollout.spec.model import Spec
from rollout.spec.steps import DEFAULT_PERCENTS
from rollout.state import ModelState
from tests.compute_calls import Transport, make_compute
from tests.memory_store import MemoryStore
from tests.open_policy import OPEN

PROJECT = "demo"
APPROVALS = "model-approvals"
ALERTS = "model-alerts"
ARTIFACTS = ("gcr", "cloud-builds", "model-artifacts")
IMAGE = "us-docker.pkg.dev/p/r/tiny"
NO_DRAINING = {"draining_seconds": 0}
DEFAULT_BEHAVIOUR: dict[str, Any] = {
    "boot_seconds": 30,
    "ready_after_seconds": 10,
    "drain_seconds": 0,
}


def quick_steps(steps: Sequence[Any]) -> list[Any]:
    """Steps that hold nothing, unless they say so."""
    return [
        {"percent": step, "hold_seconds": 0} if isinstance(step, int) else step for step in steps
    ]


def quick(rollout: dict[str, Any]) -> dict[str, Any]:
    """A rollout whose steps hold nothing and whose release is not watched, unless it says so."""
    steps = quick_steps(rollout.get("steps", DEFAULT_PERCENTS))
    return {"watch_seconds": 0} | rollout | {"steps": steps}


class VirtualClock:
    """The emulator's virtual time as the World's clock. While the caller sleeps, the emulator
    advances, and the watchers are called every second; the meters once, with the time that passed.
    """

    def __init__(self, cloud_clock: CloudClock) -> None:
        self._cloud_clock = cloud_clock
        self.watchers: list[Callable[[], None]] = []
        self.meters: list[Callable[[float], None]] = []

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._cloud_clock(), UTC)

    def sleep(self, seconds: float) -> None:
        left = seconds
        while self.watchers and left > 1:
            self._cloud_clock.advance(1)
            left -= 1
            for watch in self.watchers:
                watch()
        self._cloud_clock.advance(left)
        for meter in self.meters:
            meter(seconds)


@dataclass(frozen=True)
class RunningInstance:
    """An instance of the emulator, as the Cloud console would show it."""

    name: str
    version: str
    healthy: bool
    zone: str


Change = Callable[[], Any]
Intercept = Callable[[Change], Any]


class InterceptedStore:
    """The store of a scenario; `intercept` gets every commit but the record of a tick, by which
    nothing is decided.
    """

    def __init__(self, store: MemoryStore | SqliteStore, intercept: Intercept) -> None:
        self._store, self._intercept = store, intercept
        self.get, self.get_many = store.get, store.get_many
        self.list, self.list_due, self.list_newest = store.list, store.list_due, store.list_newest
        self.count_due = store.count_due

    def commit(self, *writes: Write) -> dict[str, str]:
        if writes[0].path == LAST_TICK:
            return self._store.commit(*writes)
        committed: dict[str, str] = self._intercept(lambda: self._store.commit(*writes))
        return committed


class InterceptedBus:
    """The real bus; `intercept` gets every publish."""

    def __init__(self, bus: Bus, intercept: Intercept) -> None:
        self._bus, self._intercept = bus, intercept

    def publish(
        self, topic: str, data: bytes, attributes: Mapping[str, str] = MappingProxyType({})
    ) -> str:
        published: str = self._intercept(lambda: self._bus.publish(topic, data, attributes))
        return published


def intercepted_transport(emulator: Emulator, intercept: Intercept) -> Transport:
    """The emulator in process; `intercept` gets every change, but no read and no wait."""

    def send(request: Request) -> Response:
        path = request.target.partition("?")[0]
        is_read = request.http == "GET" or path.endswith(
            ("/wait", "/getHealth", "/listManagedInstances")
        )
        answer: Response = (
            emulator.handle(request) if is_read else intercept(lambda: emulator.handle(request))
        )
        return answer

    return send


class Scenario:
    clock_type = VirtualClock

    def __init__(self, cloud_clock: CloudClock | None = None, *, is_fast: bool = True) -> None:
        """`is_fast`: with a store in dictionaries and without Google's client, which take half of a
        journey's time. Otherwise with SQLite and the client.
        """
        self._is_fast = is_fast
        self._cloud_clock = cloud_clock or CloudClock()
        self.clock = self.clock_type(self._cloud_clock)
        self.emulator = Emulator(PROJECT, self._cloud_clock, operation_seconds=1)
        self.emulator.set_behaviours([DEFAULT_BEHAVIOUR])
        make_store = MemoryStore if is_fast else partial(SqliteStore, ":memory:")
        self.store, self.settings = make_store(), make_store()  # settings: what people write
        self.given_policy()
        self.bus = EmbeddedBus(self.clock, PROJECT)
        self.registry = EmulatedRegistry()
        self.tokens = itertools.count(1)
        self._metrics: Callable[[], Metrics] | None = None
        self._verdicts: Callable[[], Verdicts] | None = None
        self._notifier: Callable[[], Notifier] | None = None
        self.world = self.new_worker()
        # Runs the handler of each event. A test replaces it to act before or after, or to crash.
        self.run_handler: Callable[[Callable[[], None]], None] = lambda handle: handle()
        self.published: list[tuple[str, Message]] = []
        self.bus.subscribe(
            "model-releases",
            lambda event: self.run_handler(lambda: release.handle(self.world, event)),
        )
        self.bus.subscribe(
            APPROVALS,
            lambda event: self.run_handler(lambda: approval.handle(self.world, event)),
        )
        self.bus.subscribe(
            ALERTS,
            lambda event: self.run_handler(lambda: alert.handle(self.world, event)),
        )
        for topic in ARTIFACTS:
            self.bus.subscribe(
                topic,
                lambda event: self.run_handler(lambda: artifact.handle(self.world, event)),
            )
        self.bus.subscribe(
            outbox.WAKEUPS,
            lambda event: self.run_handler(lambda: wakeup.handle(self.world, event)),
        )
        for topic in (outbox.STATUS, outbox.DEAD_LETTERS):
            self.bus.subscribe(topic, partial(self._receive, topic))

    def _intercepted_worker(self, intercept: Intercept) -> World:
        return self.new_worker(
            InterceptedStore(self.store, intercept),
            InterceptedBus(self.bus, intercept),
            intercepted_transport(self.emulator, intercept),
        )

    def new_worker(
        self,
        store: Store | None = None,
        bus: Bus | None = None,
        transport: Transport | None = None,
    ) -> World:
        """Another function instance: a separate World over the same store, bus and emulator.
        Lease tokens are numbered, so that a run can be repeated exactly.
        """
        transport = transport or self.emulator.handle
        compute = make_compute(transport, PROJECT, self.clock, is_fast=self._is_fast)
        return World(
            self.clock,
            lambda: TwoDatabases(store or self.store, self.settings),
            lambda: bus or self.bus,
            lambda: compute,
            lambda: f"worker-{next(self.tokens)}",
            registry=lambda: self.registry,
            jitter=lambda: 0.5,
            scheduler=lambda: Timer(self.bus),
            metrics=self._metrics,
            verdicts=self._verdicts,
            notifier=self._notifier,
            project=PROJECT,
        )

    # ---- given

    def given_behaviour(self, version: str, **behaviour: Any) -> None:
        """How instances of this version boot, become ready and fail. Others have the default."""
        rule = {"image": f"*{IMAGE}:{version}*", **DEFAULT_BEHAVIOUR, **behaviour}
        self.emulator.set_behaviours([rule, *self.emulator.behaviours])

    def given_serving(self, version: str, model: str = "tiny", **sections: Any) -> None:
        self.when_released(version, model, **sections)
        self.when_settled(model)
        assert self.serving_version(model) == version

    def given_default_behaviour(self) -> None:
        self.emulator.set_behaviours([DEFAULT_BEHAVIOUR])

    def given_stock_out(self, place: str) -> None:
        """No further instance can be created in the zone or region."""
        self.emulator.stock_outs[place] = {}

    def given_no_stock_out(self) -> None:
        self.emulator.stock_outs.clear()

    def given_policy(self, **policy: Any) -> None:
        """What the policy says. It allows what it does not mention."""
        self.given_exact_policy(**(OPEN | policy))

    def given_exact_policy(self, **policy: Any) -> None:
        self.settings.commit(Put("settings/policy", policy))

    def given_fault(self, kind: str, **fault: Any) -> None:
        self.emulator.faults.add(kind, fault.pop("method", "*"), **fault)

    def given_no_faults(self) -> None:
        self.emulator.faults.clear()

    def given_operation_seconds(self, seconds: float) -> None:
        self.emulator.operation_seconds = seconds

    def given_metrics(self, metrics: Metrics | None) -> None:
        """The functions have this source of metrics from now on."""
        self._metrics = (lambda: metrics) if metrics else None
        self.world = self.new_worker()

    def given_verdicts(self, verdicts: Verdicts | None) -> None:
        """The functions ask evaluation jobs in this way from now on."""
        self._verdicts = (lambda: verdicts) if verdicts else None
        self.world = self.new_worker()

    def given_notifier(self, notifier: Notifier, **settings: Any) -> None:
        """From now on status events are sent as `settings/notifications` says."""
        if self._notifier is None:
            self.bus.subscribe(
                outbox.STATUS,
                lambda event: self.run_handler(lambda: status.handle(self.world, event)),
            )
        self._notifier = lambda: notifier
        self.world = self.new_worker()
        self.settings.commit(Put("settings/notifications", settings))

    def given_load(self, group: str, **load: float) -> None:
        self.emulator.load[group] = dict(load)

    def given_foreign_health_check(self, name: str) -> None:
        """A health check with one of our names that Slipway does not own."""
        self.given_resource(
            "global/healthChecks",
            {"name": name, "type": "TCP", "tcpHealthCheck": {"port": 1}, "description": "theirs"},
        )

    def given_certificate(self, name: str) -> None:
        managed = {"name": name, "type": "MANAGED", "managed": {"domains": ["models.example.com"]}}
        self.given_resource("global/sslCertificates", managed)

    def given_resource(self, collection: str, body: dict[str, Any]) -> None:
        """Inserted through the API. `collection` includes the scope: `global/healthChecks`."""
        self.emulator.call("POST", collection, body)

    def given_crashing_workers(self, intercept: Intercept, crash: type[BaseException]) -> None:
        """Workers that can crash at any external write: `intercept` gets each write to the store,
        to Compute Engine and to the bus. The message of a worker that crashed is redelivered, to a
        new worker.
        """

        def run(handle: Callable[[], None]) -> None:
            try:
                handle()
            except crash:
                self.world = self._intercepted_worker(intercept)
                raise RuntimeError("the worker crashed") from None

        self.run_handler = run
        self.world = self._intercepted_worker(intercept)

    def given_watcher(self, watch: Callable[[], None]) -> None:
        """From now on `watch` is called in every second that passes."""

        def watch_now() -> None:
            self.emulator.advance()
            watch()

        self.clock.watchers.append(watch_now)

    # ---- when

    def when_woken(self, data: bytes = b'{"model": "tiny"}') -> None:
        self.bus.publish(outbox.WAKEUPS, data)
        self.bus.pump()

    def publish_delayed(self, body: object) -> Callable[[], None]:
        """Publish now. The message is delivered when the returned function is called."""
        slow = EmbeddedBus(self.clock, PROJECT)
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
        """Publish a release and run the functions as far as they get without a tick."""
        artifact: dict[str, Any] = (
            {} if "artifact" in sections else {"artifact": {"image": f"{IMAGE}:{version}"}}
        )
        fields = {
            name: sections.pop(name)
            for name in ("force", "requested_by", "reason")
            if name in sections
        }
        is_known = self.store.get(repository.model_path(model)) is not None
        defaults: dict[str, Any] = (
            {} if is_known else {"scaling": {"min": 3, "max": 6}, "traffic": NO_DRAINING}
        )
        if not is_known:
            sections["rollout"] = quick(sections.get("rollout", {}))
        elif isinstance(sections.get("rollout"), dict) and sections["rollout"].get("steps"):
            sections["rollout"] = {
                **sections["rollout"],
                "steps": quick_steps(sections["rollout"]["steps"]),
            }
        body: dict[str, Any] = {"model": model, "version": version}
        self.when_published(body | artifact | fields | defaults | sections)

    def when_commanded(self, command: str, model: str = "tiny", **fields: Any) -> None:
        self.when_published({"model": model, "command": command, **fields})

    def when_published(
        self, body: object, topic: str = "model-releases", **attributes: str
    ) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.bus.publish(topic, data, attributes)
        self.bus.pump()

    def when_decided(self, command: str, model: str = "tiny", **fields: Any) -> None:
        """An approver publishes `approve` or `reject` on the topic for approvals."""
        self.when_published({"model": model, "command": command, **fields}, APPROVALS)

    def when_minutes_pass(self, minutes: int) -> None:
        for _ in range(minutes):
            self.when_seconds_pass(60)

    def when_seconds_pass(self, seconds: float) -> None:
        """Time passes, with a tick every minute and all the passes that follow from it."""
        end = self.clock.now() + timedelta(seconds=seconds)
        while self.clock.now() < end:
            tick = min(end, self.clock.now() + timedelta(seconds=60))
            while self.clock.now() < tick:
                due = min(tick, self.bus.next_due() or tick)
                self.clock.sleep(max(0.0, (due - self.clock.now()).total_seconds()))
                self.bus.pump()
            self.bus.publish(outbox.WAKEUPS, json.dumps({"tick": True}).encode())
            self.bus.pump()

    def when_settled(self, model: str = "tiny", within_minutes: int = 120) -> None:
        """Time passes until the model needs no further pass. Fails with the model's log if that
        takes too long.
        """
        for _ in range(within_minutes):
            if self.state(model).requeue_at is None:
                return
            self.when_minutes_pass(1)
        raise AssertionError(
            f"{model} is not settled after {within_minutes} minutes:\n" + self.history(model)
        )

    def when_phase_reached(
        self, phase: str, model: str = "tiny", within_seconds: int = 3600
    ) -> None:
        """Time passes until the last entry of the model's log is this phase."""
        for _ in range(within_seconds // 5):
            if self.log(model) and self.log(model)[-1]["to"] == phase:
                return
            self.when_seconds_pass(5)
        raise AssertionError(f"{model} did not reach {phase}:\n" + self.history(model))

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

    def history(self, model: str = "tiny") -> str:
        return "\n".join(
            f"{entry['at']:%H:%M:%S} {entry['release']} {entry['from']} -> {entry['to']}:"
            f" {entry['why']}"
            for entry in self.log(model)
        )

    def instances(self, model: str = "tiny") -> list[RunningInstance]:
        """The model's instances that exist and are not being deleted."""
        versions = self._versions(model)
        found = []
        for record in self.emulator.instances():
            if (
                naming.colour_of(model, record["group"])
                and record["action"] != "DELETING"
                and record["status"]
            ):
                version = versions.get(record["template"], "?")
                found.append(
                    RunningInstance(record["name"], version, record["ready"], record["zone"])
                )
        return found

    def healthy_by_version(self, model: str = "tiny") -> dict[str, int]:
        return dict(
            Counter(instance.version for instance in self.instances(model) if instance.healthy)
        )

    def resources(self) -> set[str]:
        """Everything that exists in the project, as `collection/name`."""
        return {f"{key.collection}/{key.name}" for key, _ in self.emulator.resources()}

    def templates(self, model: str = "tiny") -> set[str]:
        prefix = f"instanceTemplates/slipway-{model}-"
        return {name for name in self.resources() if name.startswith(prefix)}

    def autoscaler(self, model: str = "tiny") -> dict[str, Any]:
        """The autoscaling policy in the emulator itself: to change it is to cause drift."""
        policy: dict[str, Any] = self._resource("autoscalers", f"slipway-{model}-blue")[
            "autoscalingPolicy"
        ]
        return policy

    def group(self, model: str = "tiny") -> dict[str, Any]:
        return self._resource("instanceGroupManagers", f"slipway-{model}-blue")

    def url_map(self) -> dict[str, Any]:
        return self._resource("urlMaps", "slipway-gateway")

    def calls(self, method: str) -> int:
        return self.emulator.calls.counts.get(f"compute.{method}", 0)

    def published_on(self, topic: str) -> list[bytes]:
        """The messages published on a topic, in order."""
        return [message.data for on, message in self.published if on == topic]

    def attributes_on(self, topic: str) -> list[dict[str, str]]:
        return [dict(message.attributes) for on, message in self.published if on == topic]

    def _receive(self, topic: str, event: CloudEventLike) -> None:
        self.published.append((topic, parse_message(event)))

    def _resource(self, collection: str, name: str) -> dict[str, Any]:
        found = self.emulator.find(collection, name)
        assert found is not None, f"no {collection}/{name}"
        return found

    def quarantine(self) -> list[dict[str, Any]]:
        return [document.data for document in self.store.list("quarantine", 1000, None)]

    def full_state(self) -> tuple[Any, ...]:
        """All documents and all resources. An event that changes nothing leaves this equal."""
        paths = ["models", "outbox", "quarantine", "models/tiny/log", "models/tiny/releases"]
        documents = [document for path in paths for document in self.store.list(path, 1000, None)]
        resources = {"/".join(key): body for key, body in self.emulator.resources()}
        return (
            documents,
            json.dumps(resources, sort_keys=True, default=str),
            len(self.published),
        )

    def unsent_messages(self) -> tuple[str, ...]:
        """Messages that were committed and not published."""
        return tuple(document.path for document in self.store.list("outbox", 1000, None))

    def _versions(self, model: str) -> dict[str, str]:
        releases = self.store.list(f"models/{model}/releases", 1000, None)
        return {document.data["template"]: document.data["version"] for document in releases}
