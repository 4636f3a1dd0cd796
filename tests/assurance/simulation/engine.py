"""One seeded run: workers, messages, the store and Compute Engine under one scheduler in virtual
time, with faults between them.

Every external call of the deployed code passes `Simulation.boundary`: there time passes, faults
strike, other workers get their turn, the rules are checked, and a line is added to the trace. Each
delivery is a worker in a greenlet of its own, which hands over where it would wait and nowhere
else, so the same schedule is the same run to the last byte.

    worker A  --call--call--wait 5 s---------------------call--(dies)
    worker B                 \\--call--call--frozen 200 s----------------------\\--call: its claim has expired
    scheduler                 next event by time: a delivery, a tick, a wait that is over, a disturbance
"""

from __future__ import annotations

import base64
import heapq
import json
import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

from compute_emulator import Cloud
from compute_emulator import VirtualClock as CloudClock
from compute_emulator.api import discovery, wire
from compute_emulator.engine import regions
from compute_emulator.errors import ConnectionDropped
from handlers import release, wakeup
from infra.bus.embedded import EmbeddedBus
from infra.compute.errors import ComputeError
from infra.errors import Unavailable
from infra.store import repository
from infra.store.port import Conflict, Write
from infra.store.sqlite import SqliteStore
from infra.wiring import World
from tests.assurance.simulation.calls import compute_on
from tests.assurance.simulation.edges import ServerClock, SimBus, SimStore, WorkerClock
from tests.assurance.simulation.faults import Faults
from tests.assurance.simulation.memory import MemoryStore
from tests.assurance.simulation.schedule import ERRORS, OPERATION_ERRORS, Fault, Schedule

PROJECT = "demo"
REGIONS = {name: regions.REGIONS[name] for name in ("us-central1", "europe-west4")}
LATENCY = {"compute": 0.03, "store": 0.01, "bus": 0.01}
FUNCTION_TIMEOUT = 120.0
ACK_DEADLINE = 60.0
TICK = 60.0
TICK_MESSAGE = b'{"tick": true}'
TICK_DATA = base64.b64encode(TICK_MESSAGE).decode()
WAIT_SECONDS = 4.0  # within which `operations.wait` answers: in two minutes, or "on a best-effort basis" sooner
MAX_CALLS = 60_000
MOST_CALLS = 500  # of one delivery
BEHAVIOUR: dict[str, Any] = {"boot_seconds": 5, "ready_after_seconds": 2, "drain_seconds": 0}

T = TypeVar("T")


class Death(BaseException):
    """The worker's process is gone. Not an `Exception`: no handler may survive it."""


class Worker:
    """One delivery being worked on."""

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
        self.stood_still = 0.0
        self.is_frozen = self.is_done = self.is_doomed = self.is_tick = False
        self.failure: BaseException | None = None


class Simulation:
    def __init__(
        self,
        plan: Schedule,
        store: MemoryStore | SqliteStore,
        disturb: Callable[[Fault], None],
        *,
        is_fast: bool = True,
    ) -> None:
        """`disturb` does what a fault of the world is."""
        self.cloud_clock = CloudClock()
        self.began = self.cloud_clock()
        self.cloud = Cloud(PROJECT, self.cloud_clock, operation_seconds=1, regions=REGIONS)
        self.cloud.set_behaviours([BEHAVIOUR])
        self.store = store
        self.bus = EmbeddedBus(ServerClock(self.now))
        self.clock = WorkerClock(self._worker_time, self.pass_time)
        self.compute = compute_on(self.line, PROJECT, self.clock, is_fast=is_fast)
        self.handlers: dict[str, Callable[[World, Any], None]] = {
            "model-releases": release.handle,
            repository.WAKEUPS: wakeup.handle,
        }
        for topic in (*self.handlers, repository.STATUS, repository.DEAD_LETTERS):
            self.bus.subscribe(topic, partial(self._published, topic))
        self.current: Worker | None = None
        self.scheduler = getcurrent()
        self.heap: list[tuple[float, int, Callable[[], None]]] = []
        self.count = self.messages = self.workers = 0
        self.said: list[int] = []  # the numbers of the messages that people sent
        self.alive: set[Worker] = set()
        self.in_flight = 0  # deliveries that are not acknowledged, ticks apart
        self.told: list[tuple[str, Any]] = []
        self.is_healed = False
        self.skipped = 0.0  # seconds that passed at once, since nothing could happen in them
        self.lines: list[tuple[Any, ...]] = []  # every call and note; `told` makes text of them
        self.struck: Counter[str] = Counter()
        self.writes: Counter[str] = Counter()
        self.names: list[str] = []  # of every call, in order
        self.read_before: dict[str, deque[tuple[float, wire.Response]]] = {}
        self.on_commit: list[Callable[[tuple[Write, ...]], None]] = []
        self.after_write: list[Callable[[str, str], None]] = []
        self.broken: list[str] = []
        self._store, self._bus = (
            SimStore(self.boundary, store, self.on_commit),
            SimBus(self.boundary, self.publish),
        )
        self.faults = Faults(plan)
        disturbances = self.faults.on_the_world
        for number, fault in enumerate(
            disturbances, -len(disturbances)
        ):  # before whatever else happens then
            self._push(self.began + fault.at, number, partial(disturb, fault))

    # ---- time and turns

    def now(self) -> float:
        return self.cloud_clock()

    def lived(self) -> float:
        """Seconds since the beginning, without those that were skipped."""
        return self.now() - self.began - self.skipped

    def _worker_time(self) -> float:
        return self.now() + (self.current.skew if self.current else 0.0)

    def at(self, when: float, do: Callable[[], None]) -> None:
        self.count += 1
        self._push(max(when, self.now()), self.count, do)

    def _push(self, when: float, number: int, do: Callable[[], None]) -> None:
        heapq.heappush(self.heap, (when, number, do))

    def step(self) -> bool:
        """The next event. False when there is none."""
        if not self.heap or self.broken:
            return False
        when, _, do = heapq.heappop(self.heap)
        if when > self.now():
            self.let_pass(when - self.now())
        do()
        return not self.broken

    def pass_time(self, seconds: float) -> None:
        """The running worker waits: at once where nothing else happens meanwhile, else others go
        first."""
        worker, now = self._running(), self.now()
        wake = now + max(0.0, seconds)
        if self.heap and self.heap[0][0] <= wake:
            self.at(wake, lambda: self._go(worker))
            self.scheduler.switch()
        elif wake > now:
            self.let_pass(wake - now)
        if worker.is_doomed or self.broken or wake - worker.started > FUNCTION_TIMEOUT:
            self._end(worker)

    def let_pass(self, seconds: float) -> None:
        """Time passes, and what it brings about at Compute Engine happens; nobody works
        meanwhile."""
        self.cloud_clock.advance(seconds)
        self.cloud.advance()

    def _end(self, worker: Worker) -> None:
        """The worker's time is over, or the simulation's. One that stands still is not seen to be
        late."""
        if worker.is_doomed or self.broken:
            raise Death("the simulation is over")
        if not worker.is_frozen:
            self.note(f"worker {worker.number} ran into the function's time-out")
            self.struck["time-out"] += 1
            raise Death("time-out")

    def _resume(self, worker: Worker) -> None:
        self.current = worker
        worker.greenlet.switch()
        self.current = None

    def _run(self, worker: Worker, work: Callable[[World], None]) -> None:
        try:
            work(self._world(worker))
        except BaseException as error:
            worker.failure = error
        worker.is_done = True
        at_work = self.now() - worker.started - worker.stood_still
        if at_work > ACK_DEADLINE and not worker.is_doomed:
            self.break_off(f"worker {worker.number} was at work for {at_work:.0f} s")

    def _world(self, worker: Worker) -> World:
        return World(
            self.clock,
            lambda: self._store,
            lambda: self._bus,
            lambda: self.compute,
            lambda: f"worker-{worker.number}",
        )

    # ---- messages

    def publish(
        self, topic: str, data: bytes, attributes: Mapping[str, str] = MappingProxyType({})
    ) -> str:
        published = self.bus.publish(topic, data, attributes)
        self.bus.pump()
        return published

    def _published(self, topic: str, event: Any) -> None:
        if topic not in self.handlers:
            self.told.append((topic, event))
            return
        self.messages += 1
        if topic == "model-releases":
            self.said.append(self.messages)
        delays = [0.0]
        for fault in self._befalling(topic, _is_tick(event)):
            match fault.kind:
                case "drop" if topic == repository.WAKEUPS:
                    return
                case "delay" | "drop":
                    delays = [fault.seconds or 600.0]
                case "duplicate":
                    delays += [fault.seconds * (number + 1) for number in range(fault.times)]
        for delay in delays:
            self._deliver(topic, event, 1, self.now() + delay)

    def _befalling(self, topic: str, is_tick: bool) -> list[Fault]:
        """The faults that strike the message that has just been counted."""
        if self.is_healed:
            return []
        struck = self.faults.of_message(self.messages, topic, is_tick=is_tick)
        for fault in struck:
            self.struck[fault.kind] += 1
            self.note(f"message {self.messages} {fault.kind}")
        return struck

    def _deliver(self, topic: str, event: Any, attempt: int, when: float) -> None:
        self.in_flight += not _is_tick(event)
        self.at(when, lambda: self._delivered(topic, event, attempt))

    def _delivered(self, topic: str, event: Any, attempt: int) -> None:
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
        self._go(worker)

    def _go(self, worker: Worker) -> None:
        self._resume(worker)
        self._look_after()

    def _look_after(self) -> None:
        """Somebody has handed over: the messages of those that are over meet their fate."""
        for each in [each for each in self.alive if each.is_done]:
            self.alive.discard(each)
            self.in_flight -= not each.is_tick
            self._over(each)

    def _over(self, worker: Worker) -> None:
        failure = worker.failure
        if failure is None or worker.is_doomed:
            return
        if not isinstance(failure, Death | Unavailable | Conflict | ComputeError):
            self.break_off(f"uncaught {type(failure).__name__}: {failure}", failure)
        if not worker.is_frozen:
            worker.redeliver(worker.backoff)

    def tick(self) -> None:
        self.publish(repository.WAKEUPS, TICK_MESSAGE)
        self.at(self.now() + TICK, self.tick)

    def skip(self) -> None:
        """Nothing happens until a message that is late by hours: let those hours pass at once,
        without a tick."""
        late = [when for when, _, _ in self.heap if when > self.now() + 2 * TICK]
        if late and len(late) == len(self.heap) - 1:  # all but the next tick
            span = min(late) - self.now()
            self.skipped += span
            self.let_pass(span)

    # ---- the boundary

    def boundary(
        self, name: str, target: str, is_write: bool, do: Callable[[Fault | None], T]
    ) -> T:
        """One external call of the running worker. `do` has the effect; the fault that it gets is
        for it to play."""
        worker = self._running()
        number = len(self.names) + 1
        self.names.append(name)
        self._count(worker, name, target)
        fault = self._strike(number, name, is_write)
        kind = fault.kind if fault else ""
        if fault and kind == "pause_before":
            self._freeze(worker, fault.seconds)
        self.pass_time(LATENCY[name.partition(".")[0]])
        if kind in ("crash_before", "no_effect"):
            self._line(number, worker, name, target, kind)
            raise Death(name) if kind == "crash_before" else _no_answer(name)
        answer = self._done(number, worker, name, target, is_write, partial(do, fault), fault)
        if kind in ("crash_after", "lost_reply"):
            raise Death(name) if kind == "crash_after" else _no_answer(name)
        if fault and kind == "pause_after":
            self._freeze(worker, fault.seconds)
        return answer

    def _count(self, worker: Worker, name: str, target: str) -> None:
        worker.calls += 1
        worker.wakeups += name == "bus.publish" and target == repository.WAKEUPS
        if worker.wakeups > 1 and not worker.is_tick:
            self.break_off(f"one delivery published {worker.wakeups} wake-ups")
        if worker.calls > MOST_CALLS:
            self.break_off(f"one delivery made more than {MOST_CALLS} calls")
        if len(self.names) > MAX_CALLS:
            self.break_off(f"no end in sight after {MAX_CALLS} calls")

    def _done(
        self,
        number: int,
        worker: Worker,
        name: str,
        target: str,
        is_write: bool,
        do: Callable[[], T],
        fault: Fault | None,
    ) -> T:
        outcome = "well"
        try:
            return do()
        except Exception as error:
            outcome = type(error).__name__
            raise
        finally:
            self._line(
                number,
                worker,
                name,
                target,
                f"{outcome} {fault.kind} {fault.code}" if fault else outcome,
            )
            if is_write:
                self.writes[name] += 1
                for look in self.after_write:
                    look(name, target)

    def _running(self) -> Worker:
        if self.current is None:
            raise AssertionError("outside of any worker")
        return self.current

    def _strike(self, number: int, name: str, is_write: bool) -> Fault | None:
        if self.is_healed:
            return None
        fault = self.faults.of_call(number, name, is_write, has_read=bool(self.read_before))
        if fault:
            self.struck[fault.kind + (f":{fault.code}" if fault.code else "")] += 1
        return fault

    def _freeze(self, worker: Worker, seconds: float) -> None:
        """The worker stands still; beyond the acknowledgement deadline its message goes to another
        one meanwhile."""
        self.note(f"worker {worker.number} freezes for {seconds:.0f} s")
        if seconds >= ACK_DEADLINE and not worker.is_frozen:
            worker.is_frozen = True
            worker.redeliver(ACK_DEADLINE)
        worker.stood_still += seconds
        self.pass_time(seconds)
        self.note(f"worker {worker.number} wakes")

    def line(self, request: wire.Request) -> wire.Response:
        """Compute Engine's end of the wire, for the real client's adapter and for the fast calls
        alike."""
        method, target = _asked(request.http, request.target)
        if method.mutates and request.body:
            body = json.loads(request.body)
            target = target or str(body.get("name", ""))
            if "targetSize" in body and method.verb != "insert":
                self.break_off(f"{method.id} writes the size of {target}")
        return self.boundary(
            method.id, target, method.mutates, lambda fault: self._answer(method, request, fault)
        )

    def _answer(
        self, method: discovery.Method, request: wire.Request, fault: Fault | None
    ) -> wire.Response:
        faults, kind = self.cloud.faults, fault.kind if fault else ""
        if not fault and _is_wait(method):
            self._wait_for(_asked(request.http, request.target)[1])
        if kind == "stale" and fault:
            return self._stale(request, fault.seconds) or wire.handle(self.cloud, request)
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
        answered = wire.handle(self.cloud, request)
        faults.clear()
        if kind == "garbled":
            return wire.Response(200, b"<html>not what you wanted")
        if not method.mutates and answered.status in (200, 404) and not _is_wait(method):
            self._remember(request, answered)
        return answered

    def _wait_for(self, name: str) -> None:
        """Until the operation is over, but not for long. Source: regionOperations.wait."""
        until = self.now() + WAIT_SECONDS
        held = next(
            (held for (_, called), held in self.cloud.operations.table.items() if called == name),
            None,
        )
        while held and held["status"] != "DONE" and self.now() < until:
            upcoming = self.cloud.next_event_at()
            self.pass_time((until if upcoming is None else min(until, upcoming)) - self.now())

    def _remember(self, request: wire.Request, answered: wire.Response) -> None:
        if self.faults.has_stale_reads:
            kept = self.read_before.setdefault(
                f"{request.http} {request.target} {request.body!r}", deque(maxlen=100)
            )
            kept.append((self.now(), answered))

    def _stale(self, request: wire.Request, seconds: float) -> wire.Response | None:
        """An answer that was right some time ago, at most `seconds`."""
        kept = self.read_before.get(f"{request.http} {request.target} {request.body!r}", ())
        return next((answered for at, answered in kept if at >= self.now() - seconds), None)

    # ---- the record

    def note(self, text: str) -> None:
        self.lines.append((self.now() - self.began, text))

    def _line(self, number: int, worker: Worker, name: str, target: str, outcome: str) -> None:
        self.lines.append((self.now() - self.began, number, worker.number, name, target, outcome))

    def made(self) -> tuple[tuple[float, int], ...]:
        """When each call was made, in the order of `names`, and by which worker."""
        calls = sorted((line[1], line[0], line[2]) for line in self.lines if len(line) > 2)
        return tuple((at, worker) for _, at, worker in calls)

    def story(self) -> list[str]:
        """All that happened, a line each."""
        return [_said(*line) for line in self.lines]

    def break_off(self, why: str, error: BaseException | None = None) -> None:
        if error is not None:
            import traceback

            why += "\n" + "".join(traceback.format_exception(error)[-12:])
        self.broken.append(f"at {self.now() - self.began:.2f} s, call {len(self.names)}: {why}")

    def close(self) -> None:
        """End every worker that still waits, so that nothing is left half done."""
        for worker in list(self.alive):
            worker.is_doomed = True
            while not worker.is_done:
                self._resume(worker)
        self.store.close()


def _is_wait(method: discovery.Method) -> bool:
    return method.id.endswith("Operations.wait")


@lru_cache(maxsize=4096)
def _asked(http: str, target: str) -> tuple[discovery.Method, str]:
    """The method of a request, and the name in its path."""
    path = wire.PREFIX.sub("", target.partition("?")[0])
    routed = discovery.route(http, tuple(path.split("/")))
    if routed is None:
        raise AssertionError(f"no method for {http} {path}")
    method, taken = routed
    return method, taken.get(method.name_parameter or "", "")


def _said(at: float, *what: Any) -> str:
    match what:
        case (text,):
            return f"{at:10.2f} -- {text}"
        case (number, worker, name, target, outcome):
            return f"{at:10.2f} {number:5} w{worker:<3} {name} {target}: {outcome}"
    raise AssertionError(f"no line of a story: {what}")


def _is_tick(event: Any) -> bool:
    return bool(event.data["message"]["data"] == TICK_DATA)


def _no_answer(name: str) -> Exception:
    return ConnectionDropped(name) if name.startswith("compute.") else Unavailable(f"no answer to {name}")


def quiet_logs() -> Callable[[], None]:
    """Silence while simulations run; the answer ends it."""
    logger = logging.getLogger("slipway")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    return lambda: logger.setLevel(before)
