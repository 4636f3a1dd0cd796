"""Runs all of Slipway on this machine: emulators, the functions, and the minute tick.

    model-releases ──> on_release ──> model-wakeups ─> on_wakeup ─> Compute Engine emulator
    model-approvals ─> on_approval ────────^
    model-alerts ────> on_alert ───────────^ a tick every minute of the stack's time
    gcr, cloud-builds, model-artifacts ─> on_artifact ─> model-releases
    model-rollout-status ─> on_status ─> Slack, webhooks

With Google's emulators the functions run as deployed: functions-framework processes that Pub/Sub
pushes to, with a small emulator of Cloud Tasks. Without them, the embedded store and bus are used
and the handlers run in this process. Everything listens on loopback, on free ports, and stops with
the `Stack`.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Any, Literal

import compute_emulator
from compute_emulator import DataPlane
from infra.bus.port import Bus
from infra.registry.emulated import EmulatedRegistry
from infra.settings import POLICY as SETTINGS
from infra.store.port import Put, Store
from infra.wiring import ScaledClock, World
from local import emulators
from local.pace import StoppableClock, Ticker
from local.policy import POLICY
from local.processes import Program, free_port
from local.publisher import Publisher
from local.tasks import TaskQueue

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "demo"
QUEUE = f"projects/{PROJECT}/locations/local/queues/wakeups"
RELEASES, APPROVALS, WAKEUPS = "model-releases", "model-approvals", "model-wakeups"
ALERTS = "model-alerts"
STATUS = "model-rollout-status"
DEAD_LETTERS = "model-releases-dead"
ARTIFACTS = ("gcr", "cloud-builds", "model-artifacts")
TOPICS = (RELEASES, APPROVALS, ALERTS, *ARTIFACTS, WAKEUPS, STATUS, DEAD_LETTERS)
FUNCTIONS = {
    "on_release": (RELEASES,),
    "on_approval": (APPROVALS,),
    "on_alert": (ALERTS,),
    "on_artifact": ARTIFACTS,
    "on_status": (STATUS,),
    "on_wakeup": (WAKEUPS,),
}

GATEWAY = compute_emulator.Key("global", "forwardingRules", "slipway-gateway-http")
SHARED = {
    "networks": ("projects/example-host/global/networks/serving",),
    "subnetworks": ("projects/example-host/regions/europe-west4/subnetworks/serving-eu",),
}
CERTIFICATE = {
    "name": "models-example-com",
    "type": "MANAGED",
    "managed": {"domains": ["models.example.com"]},
}

Backend = Literal["emulators", "embedded"]
OnPart = Callable[[str, str, bool], None]
"""Called with a part's name, its state, and whether it is up."""


class Stack:
    """A context manager. `folder` holds the logs of the parts; it is removed at the end unless
    `keeps_logs`. `speed` seconds of the stack's time pass in one real second, for the functions and
    for Compute Engine.
    """

    def __init__(
        self,
        speed: float,
        embedded: bool = False,
        on_part: OnPart = lambda name, state, done: None,
    ) -> None:
        self.speed = speed
        self.clock = ScaledClock(speed, time.time())
        self.why_embedded = "--embedded" if embedded else missing_emulators()
        self.backend: Backend = "embedded" if self.why_embedded else "emulators"
        self.folder = Path(mkdtemp(prefix="slipway-"))
        self.keeps_logs = False
        self.environment: dict[str, str] = {}
        self.programs: tuple[Program, ...] = ()
        self.emulator: compute_emulator.Emulator
        self._plane: DataPlane
        self.pubsub = ""  # host:port of Pub/Sub's REST API
        self.store: Store
        self.bus: Bus
        self._on_part = on_part
        self._parts = ExitStack()

    def __enter__(self) -> Stack:
        try:
            self._start()
        except BaseException as error:
            self.keeps_logs = isinstance(error, Exception)  # not after Ctrl-C
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._parts.close()
        if not self.keeps_logs:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def logs(self) -> tuple[Path, ...]:
        """The logs of the functions."""
        return tuple(program.log for program in self.programs) or (self.folder / "functions.log",)

    @property
    def gateway_url(self) -> str | None:
        """Where the models answer over HTTP; None until the first is routed."""
        return self._plane.url_of(GATEWAY)

    def publish(self, topic: str, message: Mapping[str, Any]) -> str:
        return self.bus.publish(topic, json.dumps(message).encode())

    def tick(self) -> None:
        """Publish a tick with its time on the stack's clock, which Pub/Sub does not know."""
        self.publish(WAKEUPS, {"tick": True, "at": self.clock.now().isoformat()})

    def _start(self) -> None:
        self._on_part("Compute Engine emulator", "starting", False)
        same_time = compute_emulator.ScaledClock(self.speed, self.clock.epoch, self.clock.epoch)
        self.emulator = compute_emulator.Emulator(PROJECT, same_time, operation_seconds=1)
        server = self._parts.enter_context(self.emulator.serve())
        self._add_what_examples_name()
        self._plane = self._parts.enter_context(self.emulator.data_plane())
        self._on_part("Compute Engine emulator", f"on {server.url}", True)
        self.environment = {
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "SLIPWAY_COMPUTE_ENDPOINT": server.url,
            "SLIPWAY_CLOCK": f"scaled:{self.speed:g}:{self.clock.epoch}",
            "SLIPWAY_REGISTRY": "emulated",
        }
        if self.backend == "emulators":
            self._start_emulated()
        else:
            self._start_embedded(server.url)
        ticker = Ticker(self.clock, self.tick)
        self._parts.callback(ticker.stop)
        ticker.start()

    def _add_what_examples_name(self) -> None:
        """What a project has besides what Slipway creates: certificates, and a shared network."""
        for collection, names in SHARED.items():
            self.emulator.catalogue[collection] = list(names)
        self.emulator.call("POST", "global/sslCertificates", CERTIFICATE)

    # ---- With Google's emulators

    def _start_emulated(self) -> None:
        addresses = self._start_emulators()
        self.environment |= {
            "PUBSUB_EMULATOR_HOST": addresses["pubsub"],
            "FIRESTORE_EMULATOR_HOST": addresses["firestore"],
            "SLIPWAY_QUEUE": QUEUE,
            "SLIPWAY_TASKS_ENDPOINT": self._start_tasks(),
        }
        self.programs = tuple(self._function(target) for target in FUNCTIONS)
        self._parts.callback(self._stop_functions)
        for program in self.programs:
            self._on_part(program.name, "starting", False)
            program.start()
        self.pubsub = addresses["pubsub"]
        self._connect(addresses)  # while the functions start
        for program in self.programs:
            program.wait_until_up()
            self._on_part(program.name, f"on {program.url}", True)

    def _start_emulators(self) -> dict[emulators.Kind, str]:
        """Starts both in parallel; each takes a few seconds."""
        kinds: tuple[emulators.Kind, ...] = ("pubsub", "firestore")
        for kind in kinds:
            self._on_part(f"{kind} emulator", "starting", False)
        with ThreadPoolExecutor(len(kinds)) as pool:
            return dict(zip(kinds, pool.map(self._start_emulator, kinds), strict=True))

    def _start_emulator(self, kind: emulators.Kind) -> str:
        emulator = emulators.start(kind, self.folder / kind)
        self._parts.callback(emulators.stop, emulator)
        self._on_part(f"{kind} emulator", f"on {emulator.address}", True)
        return emulator.address

    def _start_tasks(self) -> str:
        tasks = TaskQueue(self.clock, lambda topic, data: self.bus.publish(topic, data))
        self._parts.callback(tasks.stop)
        tasks.start()
        return tasks.url

    def _function(self, target: str) -> Program:
        port = free_port()
        command = (
            *(sys.executable, "-m", "functions_framework"),
            *("--source", "main.py", "--target", target),
            *("--signature-type", "cloudevent", "--host", "127.0.0.1", "--port", str(port)),
        )
        environment = self.environment | {"FUNCTION_TARGET": target, "PYTHONUNBUFFERED": "1"}
        return Program(
            f"function {target}",
            command,
            port,
            self.folder / f"{target}.log",
            environment,
            ROOT,
            "/robots.txt",
        )

    def _stop_functions(self) -> None:
        with ThreadPoolExecutor(len(self.programs)) as pool:
            list(pool.map(Program.stop, self.programs))

    def _connect(self, addresses: Mapping[emulators.Kind, str]) -> None:
        from infra.bus.pubsub import PubsubBus
        from infra.store.databases import SETTINGS_DATABASE
        from infra.store.firestore import FirestoreStore
        from local import topics

        self._on_part("topics and push subscriptions", "creating", False)
        topics.make_topics(self.pubsub, PROJECT, TOPICS)
        for program, pushed in zip(self.programs, FUNCTIONS.values(), strict=True):
            for topic in pushed:
                dead_letters = None if topic in (WAKEUPS, STATUS) else DEAD_LETTERS
                topics.push_to(
                    self.pubsub, PROJECT, topic, program.url, dead_letter_topic=dead_letters
                )
        self._on_part(
            "topics and push subscriptions",
            f"{len(TOPICS)} topics, {sum(map(len, FUNCTIONS.values()))} subscriptions",
            True,
        )
        self.bus = PubsubBus(PROJECT, emulator=self.pubsub)
        store = FirestoreStore(PROJECT, emulator=addresses["firestore"])
        # The emulator's first response is slow.
        store.beside(SETTINGS_DATABASE).commit(Put(SETTINGS, POLICY))
        self.store = store

    # ---- Embedded

    def _start_embedded(self, endpoint: str) -> None:
        from handlers import alert, approval, artifact, release, status, wakeup
        from infra.bus.embedded import EmbeddedBus
        from infra.compute.client import Compute
        from infra.logs import JsonLines
        from infra.schedule.timer import Timer
        from infra.store.databases import TwoDatabases
        from infra.store.sqlite import SqliteStore

        self._on_part("store and bus", "starting", False)
        clock = StoppableClock(self.clock)
        path = self.folder / "slipway.sqlite"
        self.environment["SLIPWAY_STORE"] = f"sqlite:{path}"
        store, bus = SqliteStore(path), EmbeddedBus(clock, PROJECT)
        store.commit(Put(SETTINGS, POLICY))
        self._parts.callback(store.close)
        out = logging.FileHandler(self.folder / "functions.log")
        out.setFormatter(JsonLines())
        log = logging.getLogger("slipway")
        log.handlers, log.propagate = [out], False
        log.setLevel(logging.INFO)
        client = Compute(PROJECT, clock, endpoint)
        timer = Timer(bus)
        world = World(
            clock,
            lambda: TwoDatabases(store, store),
            lambda: bus,
            lambda: client,
            registry=EmulatedRegistry,
            scheduler=lambda: timer,
            project=PROJECT,
        )
        bus.subscribe(
            RELEASES, lambda event: release.handle(world, event), dead_letter_topic=DEAD_LETTERS
        )
        bus.subscribe(
            APPROVALS, lambda event: approval.handle(world, event), dead_letter_topic=DEAD_LETTERS
        )
        bus.subscribe(
            ALERTS, lambda event: alert.handle(world, event), dead_letter_topic=DEAD_LETTERS
        )
        for topic in ARTIFACTS:
            bus.subscribe(
                topic, lambda event: artifact.handle(world, event), dead_letter_topic=DEAD_LETTERS
            )
        bus.subscribe(STATUS, lambda event: status.handle(world, event))
        bus.subscribe(WAKEUPS, lambda event: wakeup.handle(world, event))
        bus.start()
        self._parts.callback(bus.stop)
        self._parts.callback(clock.stop)
        publisher = Publisher(bus.publish)
        publisher.start()
        self._parts.callback(publisher.stop)
        self.pubsub = publisher.address
        self.store, self.bus = store, bus
        self._on_part("store and bus", "embedded: SQLite and an in-process bus", True)


def missing_emulators() -> str:
    """Why Google's emulators cannot run on this machine; empty if they can."""
    return emulators.missing("pubsub") or emulators.missing("firestore") or ""
