"""Starts what the schedules need: the Compute Engine emulator, the functions, the proxy, the tick,
and a watch.

    ticks, events ─> Pub/Sub emulator ─push─> proxy ─> functions ─> Firestore emulator
                                                           └──────> Compute Engine emulator <─ watch
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import compute_emulator
from infra.bus.pubsub import PubsubBus
from infra.fleet.naming import PREFIX
from infra.store.databases import SETTINGS_DATABASE
from infra.store.firestore import FirestoreStore
from infra.store.port import Put
from infra.wiring import ScaledClock
from local.pace import Ticker
from local.topics import make_topics, push_to
from tests.emulators.fates import GOOGLES_DEADLINE_SECONDS
from tests.emulators.proxy import Judge, Proxy
from tests.emulators.stories import BEHAVIOURS, CEILING, FLOOR
from tests.emulators.workers import Workers
from tests.open_policy import OPEN

RELEASES, WAKEUPS, STATUS, DEAD = (
    "model-releases",
    "model-wakeups",
    "model-rollout-status",
    "model-releases-dead",
)
LEAVING = ("DELETING", "ABANDONING")
WATCH_SECONDS = 0.05


@dataclass
class Watch:
    """Checks the instances all the time. `wrongs` lists models below their floor, if they are in
    `serving` (a release has baked) and not in `retired`; and models above their ceiling or with
    more than two versions.
    """

    emulator: compute_emulator.Emulator
    serving: set[str] = field(default_factory=set)
    retired: set[str] = field(default_factory=set)
    wrongs: list[str] = field(default_factory=list)
    histories: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    _last: dict[str, str] = field(default_factory=dict)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self._stopping.wait(WATCH_SECONDS):
            self.check()

    def stop(self) -> None:
        self._stopping.set()

    def check(self) -> None:
        groups: dict[str, list[compute_emulator.InstanceRecord]] = defaultdict(list)
        for record in self.emulator.instances():
            if record["status"] and record["action"] not in LEAVING:
                name = record["group"].removeprefix(PREFIX)
                groups[name.rpartition("-")[0]].append(record)
        for model in {*groups, *self.serving}:
            self._judge(model, groups[model])

    def _judge(self, model: str, instances: list[compute_emulator.InstanceRecord]) -> None:
        healthy = sum(record["ready"] for record in instances)
        versions = Counter(record["template"] for record in instances)
        current = f"{healthy} healthy of {dict(versions)}"
        if current != self._last.get(model):
            self._last[model] = current
            self.histories[model].append(
                f"{datetime.fromtimestamp(self.emulator.now(), UTC):%H:%M:%S} {current}"
            )
        if model in self.serving - self.retired and healthy < FLOOR:
            self.wrongs.append(
                f"{model} has {healthy} healthy instances of {dict(versions)}; the floor is {FLOOR}"
            )
        if len(instances) > CEILING:
            self.wrongs.append(f"{model} has {len(instances)} instances; the ceiling is {CEILING}")
        if len(versions) > 2:
            self.wrongs.append(f"{model} has three versions: {dict(versions)}")


@dataclass(frozen=True)
class Rig:
    emulator: compute_emulator.Emulator
    clock: ScaledClock
    store: FirestoreStore
    bus: PubsubBus
    proxy: Proxy
    watch: Watch
    folder: Path

    def publish(self, topic: str, body: Mapping[str, Any]) -> str:
        message = self.bus.publish(topic, json.dumps(body).encode())
        time.sleep(0.005)  # the emulator stamps milliseconds
        return message

    def outcome(self, model: str, version: str) -> str | None:
        document = self.store.get(f"models/{model}/releases/{version}")
        return document.data.get("outcome") if document else None

    def log(self, model: str) -> list[dict[str, Any]]:
        return [
            document.data | {"id": document.path}
            for document in self.store.list(f"models/{model}/log", 1000, None)
        ]

    def unpublished(self, model: str) -> set[str]:
        """The ids of the recorded status events that no subscriber received."""
        heard = {message.get("attributes", {}).get("ce-id") for message in self.proxy.heard}
        recorded = {f"{model}-{entry['id'].rpartition('/')[2]}" for entry in self.log(model)}
        return recorded - heard

    def is_settled(self, model: str) -> bool:
        """Nothing is due, leased or unsent. A worker that died after its last save leaves a lease
        behind, which expires.
        """
        document = self.store.get(f"models/{model}")
        if document is None or document.data["requeue_at"]:
            return False
        lease = document.data.get("lease")
        if lease and lease["expires"] > self.clock.now():
            return False
        return not [
            left for left in self.store.list("outbox", 1000, None) if f"/{model}-" in left.path
        ]

    def describe(self, model: str) -> str:
        """Everything known about a model, for the message of a failed test."""
        document = self.store.get(f"models/{model}")
        lines = [
            f"{entry['at']:%H:%M:%S} {entry['release']} {entry['to']}: {entry['why']}"
            for entry in self.log(model)
        ]
        lines += [
            f"{each.topic} {each.fate} -> {each.status}"
            for each in self.proxy.deliveries
            if each.model == model
        ]
        lines += self.watch.histories[model]
        lines.append(f"document: {document.data if document else None}")
        lines += [f"logs of the functions: {self.folder}"]
        return "\n".join(lines)


def eventually(found: Callable[[], Any], seconds: float) -> Any:
    until = time.monotonic() + seconds
    while not (result := found()) and time.monotonic() < until:
        time.sleep(0.2)
    return result


@contextmanager
def running(
    addresses: Mapping[str, str],
    project: str,
    folder: Path,
    speed: float,
    reconcilers: int,
    judge: Judge,
) -> Iterator[Rig]:
    """`addresses` are those of Google's emulators, by kind; `reconcilers` is how many processes
    serve wake-ups.
    """
    with ExitStack() as parts:
        clock = ScaledClock(speed, time.time())
        same = compute_emulator.ScaledClock(speed, clock.epoch, clock.epoch)
        emulator = compute_emulator.Emulator(project, same, operation_seconds=1)
        emulator.set_behaviours(BEHAVIOURS)
        server = parts.enter_context(emulator.serve())
        environment = {
            "GOOGLE_CLOUD_PROJECT": project,
            "SLIPWAY_COMPUTE_ENDPOINT": server.url,
            "SLIPWAY_CLOCK": f"scaled:{speed:g}:{clock.epoch}",
            "SLIPWAY_REGISTRY": "emulated",
            "PUBSUB_EMULATOR_HOST": addresses["pubsub"],
            "FIRESTORE_EMULATOR_HOST": addresses["firestore"],
        }
        targets = {
            RELEASES: Workers("on_release", 1, environment, folder),
            WAKEUPS: Workers("on_wakeup", reconcilers, environment, folder),
        }
        workers = [worker for each in targets.values() for worker in each.all]
        pool = parts.enter_context(ThreadPoolExecutor(len(workers)))
        parts.callback(lambda: list(pool.map(lambda worker: worker.stop(), workers)))
        list(pool.map(lambda worker: worker.start(), workers))
        proxy = parts.enter_context(Proxy(targets, judge, speed))
        _connect(addresses["pubsub"], project, proxy.url)
        bus = PubsubBus(project, emulator=addresses["pubsub"])
        store = FirestoreStore(project, emulator=addresses["firestore"])
        store.beside(SETTINGS_DATABASE).commit(Put("settings/policy", OPEN))
        watch = Watch(emulator)
        thread = threading.Thread(target=watch.run, daemon=True)
        thread.start()
        parts.callback(thread.join)
        parts.callback(watch.stop)
        rig = Rig(
            emulator,
            clock,
            store,
            bus,
            proxy,
            watch,
            folder,
        )
        ticker = Ticker(
            clock,
            lambda: rig.publish(WAKEUPS, {"tick": True, "at": clock.now().isoformat()}),
        )
        ticker.start()
        parts.callback(ticker.stop)
        yield rig


def _connect(pubsub: str, project: str, url: str) -> None:
    make_topics(pubsub, project, (RELEASES, WAKEUPS, STATUS, DEAD))
    for topic in (RELEASES, WAKEUPS, STATUS):
        push_to(
            pubsub,
            project,
            topic,
            url,
            first_backoff_seconds=0.1,
            ack_deadline_seconds=GOOGLES_DEADLINE_SECONDS,
        )
