"""Runs workers, messages, the store and Compute Engine under one scheduler in virtual time, with
faults injected between them.

Every external call of the deployed code passes `Simulation.boundary`, which advances time, injects
faults, lets other workers run, checks the invariants and records the call. Each delivery is a
worker in a separate greenlet that yields only where it waits, so a schedule always produces the
same run, call for call.

    worker A   --call--call--wait 5 s------------------call--(crash)
    worker B             \\--call--call--stalled 200 s--------------\\--call: its lease has expired
    scheduler            next event by time: a delivery, a tick, the end of a wait, a world fault
"""

from __future__ import annotations

import base64
import heapq
import json
import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

from compute_emulator import REGIONS as ALL_REGIONS
from compute_emulator import ConnectionDropped, Emulator, Method, Request, Response, method_of
from compute_emulator import VirtualClock as CloudClock
from handlers import release, wakeup
from infra.bus.embedded import EmbeddedBus
from infra.compute.errors import ComputeError
from infra.errors import Unavailable
from infra.registry.emulated import EmulatedRegistry
from infra.store import outbox
from infra.store.port import Conflict, Put, Write
from infra.store.sqlite import SqliteStore
from infra.wiring import World
from tests.assurance.simulation.adapters import (
    ServerClock,
    SimBus,
    SimScheduler,
    SimStore,
    WorkerClock,
)
from tests.assurance.simulation.faults import Faults
from tests.assurance.simulation.requests_counted import RequestsCounted, SimMetrics
from tests.assurance.simulation.schedule import ERRORS, OPERATION_ERRORS, Fault, Schedule
from tests.compute_calls import make_compute
from tests.memory_store import MemoryStore
from tests.open_policy import OPEN

PROJECT = "demo"
REGIONS = {name: ALL_REGIONS[name] for name in ("us-central1", "europe-west4")}
LATENCY = {"compute": 0.03, "store": 0.01, "bus": 0.01, "metrics": 0.02}
FUNCTION_TIMEOUT = 120.0
ACK_DEADLINE = 60.0
TICK = 60.0
TICK_MESSAGE = b'{"tick": true}'
TICK_DATA = base64.b64encode(TICK_MESSAGE).decode()
# How long `operations.wait` waits: at most two minutes, or less "on a best-effort basis".
WAIT_SECONDS = 4.0
MAX_CALLS_PER_RUN = 60_000
MAX_CALLS_PER_DELIVERY = 500
BEHAVIOUR: dict[str, Any] = {"boot_seconds": 5, "ready_after_seconds": 2, "drain_seconds": 0}

T = TypeVar("T")


class Crash(BaseException):
    """The worker's process is gone. Not an `Exception`, so that no handler survives it."""


class Worker:
    """Handles one delivery."""

    def __init__(
        self,
        number: int,
        started: float,
        skew: float,
        work: Callable[[Worker], None],
        redeliver: Callable[[float], None],
        backoff: float,
    ) -> None:
        self.greenlet = greenlet(partial(work, self))
        self.number, self.started, self.skew = number, started, skew
        self.redeliver, self.backoff = redeliver, backoff
        self.calls = self.wakeups = 0
        self.stalled_seconds = 0.0
        self.is_stalled = self.is_done = self.is_cancelled = self.is_tick = False
        self.failure: BaseException | None = None


class Simulation:
    def __init__(
        self,
        plan: Schedule,
        store: MemoryStore | SqliteStore,
        inject: Callable[[Fault], None],
        *,
        is_fast: bool = True,
    ) -> None:
        """`inject` applies a fault of the world."""
        self.cloud_clock = CloudClock()
        self.began = self.cloud_clock()
        self.emulator = Emulator(PROJECT, self.cloud_clock, operation_seconds=1, regions=REGIONS)
        self.emulator.set_behaviours([BEHAVIOUR])
        self.store = store
        store.commit(Put("settings/policy", OPEN))
        self.bus = EmbeddedBus(ServerClock(self.now))
        self.clock = WorkerClock(self._worker_time, self.wait)
        self.compute = make_compute(self.handle_request, PROJECT, self.clock, is_fast=is_fast)
        self.handlers: dict[str, Callable[[World, Any], None]] = {
            "model-releases": release.handle,
            outbox.WAKEUPS: wakeup.handle,
        }
        for topic in (*self.handlers, outbox.STATUS, outbox.DEAD_LETTERS):
            self.bus.subscribe(topic, partial(self._accept_message, topic))
        self.current: Worker | None = None
        self.scheduler = getcurrent()
        self.heap: list[tuple[float, int, Callable[[], None]]] = []
        self.count = self.messages = self.workers = 0
        self.user_messages: list[int] = []  # the numbers of the messages that users sent
        self.line: list[dict[str, Any]] = []  # those messages, in the order of publication
        self.alive: set[Worker] = set()
        self.in_flight = 0  # deliveries not yet acknowledged, without ticks
        self.notifications: list[tuple[str, Any]] = []
        self.is_healed, self.ticks_since = False, 0.0  # since when a tick has woken what is due
        self.skipped_seconds = 0.0  # skipped because nothing was due in them
        self.records: list[tuple[Any, ...]] = []  # every call and note; see `format_trace`
        self.injected: Counter[str] = Counter()
        self.writes: Counter[str] = Counter()
        self.call_names: list[str] = []  # of every call, in order
        self.earlier_reads: dict[str, deque[tuple[float, Response]]] = {}
        self.on_commit: list[Callable[[tuple[Write, ...]], None]] = []
        self.after_write: list[Callable[[str, str], None]] = []
        self.violations: list[str] = []
        self._store, self._bus, self._scheduler = (
            SimStore(self.boundary, store, self.on_commit),
            SimBus(self.boundary, self.publish),
            SimScheduler(self.boundary, self.publish_at),
        )
        self.counted: RequestsCounted | None = None
        self.faults = Faults(plan)
        world_faults = self.faults.world_faults
        # Negative numbers: before anything else that is due at the same time.
        for number, fault in enumerate(world_faults, -len(world_faults)):
            self._push(self.began + fault.at, number, partial(inject, fault))

    # ---- time and scheduling

    def now(self) -> float:
        return self.cloud_clock()

    def elapsed(self) -> float:
        """Seconds since the start, without the skipped ones."""
        return self.now() - self.began - self.skipped_seconds

    def _worker_time(self) -> float:
        return self.now() + (self.current.skew if self.current else 0.0)

    def schedule(self, when: float, do: Callable[[], None]) -> None:
        self.count += 1
        self._push(max(when, self.now()), self.count, do)

    def _push(self, when: float, number: int, do: Callable[[], None]) -> None:
        heapq.heappush(self.heap, (when, number, do))

    def step(self) -> bool:
        """Runs the next event. False when there is none, or the run has failed."""
        if not self.heap or self.violations:
            return False
        when, _, do = heapq.heappop(self.heap)
        if when > self.now():
            self.advance(when - self.now())
        do()
        return not self.violations

    def wait(self, seconds: float) -> None:
        """Makes the running worker wait, and runs the events that are due meanwhile."""
        worker, now = self._running(), self.now()
        wake = now + max(0.0, seconds)
        if self.heap and self.heap[0][0] <= wake:
            self.schedule(wake, lambda: self._resume(worker))
            self.scheduler.switch()
        elif wake > now:
            self.advance(wake - now)
        if worker.is_cancelled or self.violations or wake - worker.started > FUNCTION_TIMEOUT:
            self._end(worker)

    def advance(self, seconds: float) -> None:
        """Advances the clock and Compute Engine's state; no worker runs meanwhile."""
        self.cloud_clock.advance(seconds)
        self.emulator.advance()
        if self.counted:
            self.counted.advance(seconds, self.now())

    def _end(self, worker: Worker) -> None:
        """Ends a worker that has run out of time, or whose run is over. The time-out of a stalled
        worker is not enforced.
        """
        if worker.is_cancelled or self.violations:
            raise Crash("the simulation is over")
        if not worker.is_stalled:
            self.note(f"worker {worker.number} ran into the function's time-out")
            self.injected["time-out"] += 1
            raise Crash("time-out")

    def _switch_to(self, worker: Worker) -> None:
        self.current = worker
        worker.greenlet.switch()
        self.current = None

    def _run(self, worker: Worker, work: Callable[[World], None]) -> None:
        try:
            work(self._world(worker))
        except BaseException as error:
            worker.failure = error
        worker.is_done = True
        busy = self.now() - worker.started - worker.stalled_seconds
        if busy > ACK_DEADLINE and not worker.is_cancelled:
            self.fail(f"worker {worker.number} was busy for {busy:.0f} s")

    def _world(self, worker: Worker) -> World:
        return World(
            self.clock,
            lambda: self._store,
            lambda: self._bus,
            lambda: self.compute,
            lambda: f"worker-{worker.number}",
            registry=EmulatedRegistry,
            jitter=lambda: 0.5,
            scheduler=lambda: self._scheduler,
            metrics=partial(SimMetrics, self.boundary, self.counted) if self.counted else None,
        )

    # ---- messages

    def publish(
        self, topic: str, data: bytes, attributes: Mapping[str, str] = MappingProxyType({})
    ) -> str:
        if topic == "model-releases":
            self.line.append(json.loads(data))
        published = self.bus.publish(topic, data, attributes)
        self.bus.pump()
        return published

    def publish_at(self, topic: str, data: bytes, at: datetime) -> None:
        self.schedule(at.timestamp(), partial(self._publish, topic, data))

    def _publish(self, topic: str, data: bytes) -> None:
        self.publish(topic, data)

    def _accept_message(self, topic: str, event: Any) -> None:
        if topic not in self.handlers:
            self.notifications.append((topic, event))
            return
        self.messages += 1
        if topic == "model-releases":
            self.user_messages.append(self.messages)
        delays = [0.0]
        for fault in self._message_faults(topic, _is_tick(event)):
            match fault.kind:
                case "drop" if topic == outbox.WAKEUPS:
                    return
                case "delay" | "drop":
                    delays = [fault.seconds or 600.0]
                case "duplicate":
                    delays += [fault.seconds * (number + 1) for number in range(fault.times)]
        for delay in delays:
            self._deliver(topic, event, 1, self.now() + delay)

    def _message_faults(self, topic: str, is_tick: bool) -> list[Fault]:
        """The faults that apply to the latest message."""
        if self.is_healed:
            return []
        faults = self.faults.for_message(self.messages, topic, is_tick=is_tick)
        for fault in faults:
            self.injected[fault.kind] += 1
            self.note(f"message {self.messages} {fault.kind}")
        return faults

    def _deliver(self, topic: str, event: Any, attempt: int, when: float) -> None:
        self.in_flight += not _is_tick(event)
        self.schedule(when, lambda: self._start_worker(topic, event, attempt))

    def _start_worker(self, topic: str, event: Any, attempt: int) -> None:
        self.workers += 1
        worker = Worker(
            self.workers,
            self.now(),
            0.0 if self.is_healed else self.faults.skew(self.workers),
            partial(self._run, work=lambda world: self.handlers[topic](world, event)),
            lambda after: self._deliver(topic, event, attempt + 1, self.now() + after),
            min(10.0 * 2 ** min(attempt - 1, 20), 600.0),
        )
        worker.is_tick = _is_tick(event)
        self.alive.add(worker)
        self._resume(worker)

    def _resume(self, worker: Worker) -> None:
        self._switch_to(worker)
        self._reap()

    def _reap(self) -> None:
        """Acknowledges or redelivers the messages of workers that have finished."""
        for each in [each for each in self.alive if each.is_done]:
            self.alive.discard(each)
            self.in_flight -= not each.is_tick
            self._finish(each)

    def _finish(self, worker: Worker) -> None:
        failure = worker.failure
        if failure is None or worker.is_cancelled:
            return
        if not isinstance(failure, Crash | Unavailable | Conflict | ComputeError):
            self.fail(f"uncaught {type(failure).__name__}: {failure}", failure)
        if not worker.is_stalled:
            worker.redeliver(worker.backoff)

    def tick(self) -> None:
        self.publish(outbox.WAKEUPS, TICK_MESSAGE)
        self.schedule(self.now() + TICK, self.tick)

    def skip_to_late_message(self) -> None:
        """Skips the hours until the next late message, without ticks, if nothing else is due."""
        late = [when for when, _, _ in self.heap if when > self.now() + 2 * TICK]
        if late and len(late) == len(self.heap) - 1:  # everything except the next tick
            span = min(late) - self.now()
            self.skipped_seconds += span
            self.advance(span)
            self.ticks_since = self.now()

    # ---- the boundary

    def boundary(
        self, name: str, target: str, is_write: bool, do: Callable[[Fault | None], T]
    ) -> T:
        """Makes one external call of the running worker. `do` performs it, together with the fault
        that it is given.
        """
        worker = self._running()
        number = len(self.call_names) + 1
        self.call_names.append(name)
        self._count(worker, name, target)
        fault = self._fault_for(number, name, is_write)
        kind = fault.kind if fault else ""
        if fault and kind == "stall_before":
            self._stall(worker, fault.seconds)
        self.wait(LATENCY[name.partition(".")[0]])
        if kind in ("crash_before", "no_effect"):
            self._record_call(number, worker, name, target, kind)
            raise Crash(name) if kind == "crash_before" else _no_answer(name)
        answer = self._perform(number, worker, name, target, is_write, partial(do, fault), fault)
        if kind in ("crash_after", "lost_reply"):
            raise Crash(name) if kind == "crash_after" else _no_answer(name)
        if fault and kind == "stall_after":
            self._stall(worker, fault.seconds)
        return answer

    def _count(self, worker: Worker, name: str, target: str) -> None:
        worker.calls += 1
        worker.wakeups += name == "bus.publish" and target == outbox.WAKEUPS
        if worker.wakeups > 1 and not worker.is_tick:
            self.fail(f"one delivery published {worker.wakeups} wake-ups")
        if worker.calls > MAX_CALLS_PER_DELIVERY:
            self.fail(f"one delivery made more than {MAX_CALLS_PER_DELIVERY} calls")
        if len(self.call_names) > MAX_CALLS_PER_RUN:
            self.fail(f"the run has made more than {MAX_CALLS_PER_RUN} calls")

    def _perform(
        self,
        number: int,
        worker: Worker,
        name: str,
        target: str,
        is_write: bool,
        do: Callable[[], T],
        fault: Fault | None,
    ) -> T:
        outcome = "ok"
        try:
            return do()
        except Exception as error:
            outcome = type(error).__name__
            raise
        finally:
            self._record_call(
                number,
                worker,
                name,
                target,
                f"{outcome} {fault.kind} {fault.code}" if fault else outcome,
            )
            if is_write:
                self.writes[name] += 1
                for check in self.after_write:
                    check(name, target)

    def _running(self) -> Worker:
        if self.current is None:
            raise AssertionError("no worker is running")
        return self.current

    def _fault_for(self, number: int, name: str, is_write: bool) -> Fault | None:
        if self.is_healed:
            return None
        fault = self.faults.for_call(number, name, is_write, has_read=bool(self.earlier_reads))
        if fault:
            self.injected[fault.kind + (f":{fault.code}" if fault.code else "")] += 1
        return fault

    def _stall(self, worker: Worker, seconds: float) -> None:
        """Stalls the worker. After the acknowledgement deadline its message is redelivered."""
        self.note(f"worker {worker.number} write_stalls for {seconds:.0f} s")
        if seconds >= ACK_DEADLINE and not worker.is_stalled:
            worker.is_stalled = True
            worker.redeliver(ACK_DEADLINE)
        worker.stalled_seconds += seconds
        self.wait(seconds)
        self.note(f"worker {worker.number} resumes")

    def handle_request(self, request: Request) -> Response:
        """Answers a request as Compute Engine, for the real client's adapter and the fast calls."""
        method = _method_of(request)
        target = method.resource
        if method.is_mutation and request.body:
            body = json.loads(request.body)
            target = target or str(body.get("name", ""))
            if "targetSize" in body and method.verb != "insert":
                self.fail(f"{method.id} writes the size of {target}")
        return self.boundary(
            method.id,
            target,
            method.is_mutation,
            lambda fault: self._answer(method, request, fault),
        )

    def _answer(self, method: Method, request: Request, fault: Fault | None) -> Response:
        faults, kind = self.emulator.faults, fault.kind if fault else ""
        if not fault and _is_wait(method):
            self._wait_for(method.resource)
        if kind == "stale" and fault:
            return self._stale(request, fault.seconds) or self.emulator.handle(request)
        if kind == "error" and fault:
            status, reason = ERRORS[fault.code]
            faults.add("error", method.id, times=1, status=status, reason=reason)
        elif kind == "operation_error" and fault:
            faults.add(
                "operation_error",
                method.id,
                times=1,
                status=OPERATION_ERRORS[fault.code],
                code=fault.code,
            )
        elif kind == "operation_never":
            faults.add("operation_never_ends", method.id, times=1)
        answered = self.emulator.handle(request)
        faults.clear()
        if kind == "garbled":
            return Response(200, b"<html>not JSON")
        if not method.is_mutation and answered.status in (200, 404) and not _is_wait(method):
            self._remember(request, answered)
        return answered

    def _wait_for(self, name: str) -> None:
        """Waits until the operation is done, at most `WAIT_SECONDS`. Source: Compute API reference,
        regionOperations.wait.
        """
        until = self.now() + WAIT_SECONDS
        operation = self.emulator.operation(name)
        while operation and operation["status"] != "DONE" and self.now() < until:
            upcoming = self.emulator.next_event_at()
            self.wait((until if upcoming is None else min(until, upcoming)) - self.now())

    def _remember(self, request: Request, answered: Response) -> None:
        if self.faults.has_stale_reads:
            kept = self.earlier_reads.setdefault(
                f"{request.http} {request.target} {request.body!r}", deque(maxlen=100)
            )
            kept.append((self.now(), answered))

    def _stale(self, request: Request, seconds: float) -> Response | None:
        """An earlier answer to the same request, at most `seconds` old."""
        kept = self.earlier_reads.get(f"{request.http} {request.target} {request.body!r}", ())
        return next((answered for at, answered in kept if at >= self.now() - seconds), None)

    # ---- the record

    def note(self, text: str) -> None:
        self.records.append((self.now() - self.began, text))

    def _record_call(
        self, number: int, worker: Worker, name: str, target: str, outcome: str
    ) -> None:
        self.records.append((self.now() - self.began, number, worker.number, name, target, outcome))

    def call_log(self) -> tuple[tuple[float, int], ...]:
        """When each call was made, and by which worker, in the order of `call_names`."""
        calls = sorted((line[1], line[0], line[2]) for line in self.records if len(line) > 2)
        return tuple((at, worker) for _, at, worker in calls)

    def format_trace(self) -> list[str]:
        """The records as text, one line each."""
        return [_format_line(*line) for line in self.records]

    def fail(self, why: str, error: BaseException | None = None) -> None:
        if error is not None:
            import traceback

            why += "\n" + "".join(traceback.format_exception(error)[-12:])
        self.violations.append(
            f"at {self.now() - self.began:.2f} s, call {len(self.call_names)}: {why}"
        )

    def close(self) -> None:
        """Ends every worker that still waits, so that no greenlet is left suspended."""
        for worker in list(self.alive):
            worker.is_cancelled = True
            while not worker.is_done:
                self._switch_to(worker)
        self.store.close()


def _is_wait(method: Method) -> bool:
    return method.id.endswith("Operations.wait")


def _method_of(request: Request) -> Method:
    method = method_of(request.http, request.target)
    if method is None:
        raise AssertionError(f"no method for {request.http} {request.target}")
    return method


def _format_line(at: float, *what: Any) -> str:
    match what:
        case (text,):
            return f"{at:10.2f} -- {text}"
        case (number, worker, name, target, outcome):
            return f"{at:10.2f} {number:5} w{worker:<3} {name} {target}: {outcome}"
    raise AssertionError(f"not a record: {what}")


def _is_tick(event: Any) -> bool:
    return bool(event.data["message"]["data"] == TICK_DATA)


def _no_answer(name: str) -> Exception:
    return (
        ConnectionDropped(name)
        if name.startswith("compute.")
        else Unavailable(f"no answer to {name}")
    )


def mute_logs() -> Callable[[], None]:
    """Turns Slipway's log off; the returned function turns it on again."""
    logger = logging.getLogger("slipway")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    return lambda: logger.setLevel(before)
