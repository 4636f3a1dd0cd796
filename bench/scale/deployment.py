"""Slipway as it is deployed, in virtual time: both functions with their slots, Pub/Sub's queues and
back-offs, the minute tick, and a Compute Engine with a quota of reads.

Everything that is Slipway's is the deployed code, official Compute client included. A handler runs
in a slot of its function; without a free slot its message waits in order. Calls take as long as
calls in a region do. CPU time is that of the process without the emulator and the store.
"""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import requests

from bench.scale.setting import (
    COMPUTE_SECONDS,
    CONCURRENCY,
    INSTANCES,
    READS_PER_MINUTE,
    STORE_SECONDS,
)
from bench.scale.threads import Clock
from compute_emulator import Emulator
from compute_emulator import VirtualClock as CloudClock
from handlers import release, wakeup
from infra.bus.embedded import EmbeddedBus, _Delivery, _Subscription
from infra.bus.envelope import Message, parse_message
from infra.compute.client import Compute
from infra.registry.emulated import EmulatedRegistry
from infra.schedule.timer import Timer
from infra.store import outbox
from infra.store.port import Conflict, Put, Write
from infra.store.sqlite import SqliteStore
from infra.wiring import World
from local.policy import POLICY
from tests.compute_calls import ENDPOINT, DirectCalls
from tests.scenario import PROJECT

WAIT_POLL_SECONDS = 0.25
LONGEST_WAIT_SECONDS = 120.0
MINUTE = timedelta(minutes=1)


@dataclass
class Meter:
    """What a run has cost. `apart` is CPU time that is not Slipway's."""

    calls: Counter[str] = field(default_factory=Counter)
    stored: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    conflicts: int = 0
    deliveries: Counter[str] = field(default_factory=Counter)
    apart_seconds: float = 0.0
    began: float = field(default_factory=time.process_time)

    @contextmanager
    def apart(self) -> Iterator[None]:
        began = time.process_time()
        try:
            yield
        finally:
            self.apart_seconds += time.process_time() - began

    @property
    def cpu_seconds(self) -> float:
        return time.process_time() - self.began - self.apart_seconds


class Quota:
    """Reads in a minute, of the whole project. Google counts anew at the next minute."""

    def __init__(self, clock: Clock, limit: int | None) -> None:
        self._clock, self._limit = clock, limit
        self._minute: datetime | None = None
        self._used = 0

    def takes(self) -> bool:
        minute = self._clock.now().replace(second=0, microsecond=0)
        if minute != self._minute:
            self._minute, self._used = minute, 0
        if self._limit is not None and self._used >= self._limit:
            return False
        self._used += 1
        return True


class Function:
    """Handlers of one function. A message that finds no free slot waits for one."""

    def __init__(self, clock: Clock, slots: int) -> None:
        self._clock, self._free = clock, slots
        self._queue: deque[Callable[[], None]] = deque()

    def offer(self, handle: Callable[[], None]) -> None:
        self._queue.append(handle)
        if self._free:
            self._free -= 1
            self._clock.spawn(self._work)

    def _work(self) -> None:
        while self._queue:
            self._queue.popleft()()
        self._free += 1


class Bus(EmbeddedBus):
    """Delivers in virtual time, to functions with slots."""

    def __init__(self, clock: Clock, meter: Meter) -> None:
        super().__init__(clock, PROJECT)
        self._agenda, self._meter = clock, meter
        self.functions: dict[str, Function] = {}

    def _queue(self, due: datetime, subscription: _Subscription, message: Message) -> None:
        delivery = _Delivery(due, 0, subscription, message)
        self._agenda.at(due, lambda: self._offer(delivery))

    def _offer(self, delivery: _Delivery) -> None:
        topic = delivery.subscription.topic
        self._meter.deliveries[topic] += 1
        function = self.functions.get(topic)
        if function is None:
            self._deliver(delivery)
        else:
            function.offer(lambda: self._deliver(delivery))


class HotDocuments:
    """Documents that take one write in so many seconds: a commit waits until its document takes the
    next one. When each was written, and how many commits of a document met another one.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.apart_seconds: dict[str, float] = {}
        self.written: dict[str, list[datetime]] = {}
        self.conflicts: Counter[str] = Counter()

    def commit(self, writes: tuple[Write, ...], do: Callable[[], Any]) -> Any:
        paths = [each.path for each in writes if each.path in self.apart_seconds]
        for path in paths:
            while (wait := self._until_free(path)) > 0:
                self._clock.sleep(wait)
        try:
            found = do()
        except Conflict as error:
            self.conflicts.update(path for path in paths if path == error.path)
            raise
        for path in paths:
            self.written.setdefault(path, []).append(self._clock.now())
        return found

    def _until_free(self, path: str) -> float:
        last = self.written.get(path)
        if not last:
            return 0
        passed = (self._clock.now() - last[-1]).total_seconds()
        return self.apart_seconds[path] - passed


class SlowStore:
    """The real store; each call takes its time and is counted."""

    def __init__(
        self,
        store: SqliteStore,
        clock: Clock,
        meter: Meter,
        on_commit: Callable[[datetime, tuple[Write, ...]], None],
        hot: HotDocuments,
    ) -> None:
        self._store, self._clock, self._meter = store, clock, meter
        self._on_commit, self._hot = on_commit, hot

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def call(*arguments: Any, **named: Any) -> Any:
            self._clock.sleep(STORE_SECONDS)
            self._meter.stored[name] += 1
            return self._call(method, *arguments, **named)

        return call

    def commit(self, *writes: Write) -> dict[str, str]:
        self._clock.sleep(STORE_SECONDS)
        self._meter.stored["commit"] += 1
        found: dict[str, str] = self._hot.commit(
            writes, lambda: self._call(self._store.commit, *writes)
        )
        self._on_commit(self._clock.now(), writes)
        return found

    def _call(self, method: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        with self._meter.apart():
            return method(*arguments, **named)


class Deployment:
    """`reads_per_minute`: None for no quota."""

    def __init__(self, reads_per_minute: int | None = None, behaviour: Any = None) -> None:
        cloud_clock = CloudClock()
        self._reads_per_minute = reads_per_minute or READS_PER_MINUTE
        self.meter = Meter()
        self.clock = Clock(cloud_clock, self.meter.apart)
        self.quota = Quota(self.clock, reads_per_minute)
        self.emulator = Emulator(PROJECT, cloud_clock, operation_seconds=1)
        self.emulator.set_behaviours(
            [behaviour or {"boot_seconds": 30, "ready_after_seconds": 10, "drain_seconds": 0}]
        )
        self.hot = HotDocuments(self.clock)
        self.store = SqliteStore(":memory:")
        self.store.commit(Put("settings/policy", POLICY))
        self.bus = Bus(self.clock, self.meter)
        self.dead: list[Any] = []
        self.on_commit: Callable[[datetime, tuple[Write, ...]], None] = lambda now, writes: None
        self._tokens = itertools.count(1)
        self._last_jitter = 0.0
        for topic, handle, attempts in (
            ("model-releases", release.handle, 100),
            (outbox.WAKEUPS, wakeup.handle, 10**6),
        ):
            self.bus.functions[topic] = Function(self.clock, INSTANCES * CONCURRENCY)
            self.bus.subscribe(
                topic,
                self._in_instances(handle),
                dead_letter_topic=outbox.DEAD_LETTERS,
                attempts=attempts,
            )
        self.bus.subscribe(outbox.STATUS, self._receive)
        self.bus.subscribe(outbox.DEAD_LETTERS, lambda event: self.dead.append(event))
        self.outcomes: dict[tuple[str, str], str] = {}
        self._next_tick = self.clock.now()

    def _in_instances(self, handle: Callable[[World, Any], None]) -> Callable[[Any], None]:
        """The handler in all instances of its function, each of which shares nothing with others.
        The instance that has been free longest is the next.
        """
        free = deque([self._world() for _ in range(INSTANCES)] * CONCURRENCY)

        def handle_in_instance(event: Any) -> None:
            world = free.popleft()
            try:
                handle(world, event)
            finally:
                free.append(world)

        return handle_in_instance

    def _world(self) -> World:
        store = SlowStore(
            self.store,
            self.clock,
            self.meter,
            lambda now, writes: self.on_commit(now, writes),
            self.hot,
        )
        compute = Compute(PROJECT, self.clock, ENDPOINT, workers=8)
        compute._calls = DirectCalls(
            PROJECT, self.clock, ENDPOINT, None, self.emulator.adapter(self._around)
        )
        return World(
            self.clock,
            lambda: store,
            lambda: self.bus,
            lambda: compute,
            lambda: f"worker-{next(self._tokens)}",
            registry=EmulatedRegistry,
            jitter=self._jitter,
            reads_per_minute=self._reads_per_minute,
            scheduler=lambda: Timer(self.bus),
        )

    def _jitter(self) -> float:
        """Spread evenly, and the same in each run."""
        self._last_jitter = (self._last_jitter + 0.618034) % 1
        return self._last_jitter

    def _around(self, request: requests.PreparedRequest, send: Callable[[], Any]) -> Any:
        self.clock.sleep(COMPUTE_SECONDS)
        method, path = str(request.method), str(request.url).partition("?")[0]
        last = path.rpartition("/")[2]
        is_wait = last == "wait"
        is_read = method == "GET" or last in ("getHealth", "listManagedInstances")
        self.meter.calls["wait" if is_wait else "read" if is_read else "change"] += 1
        if is_read and not self.quota.takes():
            self.meter.refused += 1
            return _rate_limited(request)
        answer = self._send(send)
        self.meter.conflicts += answer.status_code == 412 and "/urlMaps/" in path
        until = self.clock.now() + timedelta(seconds=LONGEST_WAIT_SECONDS)
        while is_wait and self.clock.now() < until and _is_running(answer):
            self.clock.sleep(WAIT_POLL_SECONDS)
            answer = self._send(send)
        return answer

    def _send(self, send: Callable[[], Any]) -> Any:
        with self.meter.apart():
            return send()

    # ---- Running

    def publish(self, body: Mapping[str, Any]) -> None:
        self.bus.publish("model-releases", json.dumps(body).encode())

    def run(self, minutes: float, is_done: Callable[[], bool] = lambda: False) -> timedelta:
        """Time passes, with a tick each minute, until it is done. Returns how long it took."""
        began = self.clock.now()
        end = began + timedelta(minutes=minutes)
        while self.clock.now() < end and not is_done():
            if self._next_tick <= self.clock.now():
                self.bus.publish(outbox.WAKEUPS, json.dumps({"tick": True}).encode())
                self._next_tick += MINUTE
            self.clock.run_until(min(end, self._next_tick), is_done)
            self._pass(min(end, self._next_tick), is_done)
        return self.clock.now() - began

    def _pass(self, until: datetime, is_done: Callable[[], bool]) -> None:
        seconds = (until - self.clock.now()).total_seconds()
        if seconds > 0 and not is_done():
            self.clock.advance(seconds)

    def _receive(self, event: Any) -> None:
        message = parse_message(event, "")
        data = json.loads(message.data)
        if data.get("outcome"):
            self.outcomes[data["model"], data["release"]] = data["outcome"]

    def ended(self, outcome: str) -> int:
        """How many releases ended in this way."""
        return sum(each == outcome for each in self.outcomes.values())


def _is_running(answer: Any) -> bool:
    return bool(answer.status_code == 200 and answer.json().get("status") != "DONE")


def _rate_limited(request: requests.PreparedRequest) -> requests.Response:
    """Compute Engine's answer when a quota of calls is used up."""
    message = "Quota exceeded for quota metric 'Read requests' and limit 'Read requests per minute'"
    error = {"message": message, "domain": "usageLimits", "reason": "rateLimitExceeded"}
    response = requests.Response()
    response.status_code, response.request, response.url = 403, request, str(request.url)
    response.headers["Content-Type"] = "application/json"
    body = {"error": {"code": 403, "message": message, "errors": [error]}}
    response._content = json.dumps(body).encode()
    return response
