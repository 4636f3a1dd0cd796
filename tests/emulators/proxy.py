"""Relays deliveries from Google's Pub/Sub emulator to the functions and applies each one's fate.

    emulator ──push──> proxy ──fate, real envelope──> a function's process
        ^                │ ^
        └─ acknowledged ─┘ └── redelivered with Pub/Sub's backoff until a function acknowledges it

Once the proxy acknowledges a message, it redelivers it itself like the service until a function
acknowledges it, so that only intended losses occur. After its ack deadline the emulator redelivers
on its own, even during a delivery.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Overdue
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from local.processes import HOST
from tests.emulators.backoff import Backoffs
from tests.emulators.envelopes import enveloped
from tests.emulators.fates import GOOGLES_DEADLINE_SECONDS, Fate
from tests.emulators.workers import LONGEST_SECONDS, Worker, Workers

FROZEN_SECONDS = GOOGLES_DEADLINE_SECONDS + 4.0  # long enough for a redelivery
ACKNOWLEDGED = range(200, 300)
NO_INSTANCE = 429
AGAIN_SECONDS = 0.5
COLD_START_SECONDS = 8.0

Judge = Callable[[str, str, int], Fate]
"""Arguments: a topic's short name, a model (empty for a tick), and the number of the delivery."""


@dataclass(frozen=True)
class Delivery:
    """One push of one message. `published` is the emulator's timestamp; `began` and `ended` are
    monotonic seconds.
    """

    message: str
    published: str
    model: str
    topic: str
    fate: Fate
    began: float
    ended: float
    status: int


class Proxy:
    """`targets` maps topics to workers. Messages of other topics end in `heard`. `acknowledged`
    holds the ids of messages that a function acknowledged; `warnings` are errors of the proxy.
    """

    def __init__(self, targets: Mapping[str, Workers], judge: Judge, speed: float) -> None:
        self._targets, self._judge = targets, judge
        self._hasty_seconds = GOOGLES_DEADLINE_SECONDS / speed
        self.backoffs = Backoffs(speed)
        self._pool = ThreadPoolExecutor(64, thread_name_prefix="proxy")
        # A pool of their own, because redeliveries wait for other deliveries.
        self._repeats = ThreadPoolExecutor(64, thread_name_prefix="again")
        self._server = _server(self._push)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._lock = threading.Lock()
        self._numbers: Counter[tuple[str, str]] = Counter()
        self._attempts: Counter[str] = Counter()
        self._passing: dict[str, threading.Event] = defaultdict(threading.Event)
        self._frozen = threading.Lock()
        self._waiting = 0
        self.acknowledged: set[str] = set()
        self.deliveries: list[Delivery] = []
        self.heard: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self._closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._server.server_port}"

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._repeats.shutdown(wait=True, cancel_futures=True)
        self._pool.shutdown(wait=True, cancel_futures=True)

    @property
    def is_idle(self) -> bool:
        """Whether no delivery is running or waiting."""
        with self._lock:
            return self._waiting == 0

    def _submit(
        self, work: Callable[..., Any], *arguments: Any, pool: ThreadPoolExecutor | None = None
    ) -> Future[Any]:
        with self._lock:
            self._waiting += 1
        future = (pool or self._pool).submit(work, *arguments)
        future.add_done_callback(self._done)
        return future

    def _done(self, future: Future[Any]) -> None:
        with self._lock:
            self._waiting -= 1
        if not future.cancelled() and (error := future.exception()):
            self.warnings.append(repr(error))

    def _push(self, path: str, body: bytes) -> int:
        """The response to a push of the emulator."""
        push, topic_name = json.loads(body), path.strip("/")
        topic = topic_name.rpartition("/")[2]
        if topic not in self._targets:
            self.heard.append(push["message"])
            return 204
        taken = Push(push, topic_name, topic, _model(push["message"]))
        if self._tried(taken) not in ACKNOWLEDGED:
            self._submit(self._again, taken, pool=self._repeats)
        return 204

    def _tried(self, push: Push) -> int:
        with self._lock:
            self._numbers[push.topic, push.model] += 1
            number = self._numbers[push.topic, push.model]
        return self._meet(push, self._judge(push.topic, push.model, number))

    def _again(self, push: Push) -> None:
        """Redelivers with backoff until a function acknowledges."""
        is_over = False
        while not is_over:
            with self._lock:
                wait = self.backoffs.after_failure(push.topic, push.body["message"]["messageId"])
            is_over = self._closing.wait(wait) or self._tried(push) in ACKNOWLEDGED

    def _meet(self, push: Push, fate: Fate) -> int:
        match fate.kind:
            case "lost":
                return 204
            case "refused":
                return 503
            case "late":
                self._submit(self._later, push, fate, lambda: time.sleep(fate.seconds))
                return 204
            case "overtaken":
                overtaker = self._passing[push.topic]
                overtaker.clear()
                self._submit(self._later, push, fate, lambda: overtaker.wait(fate.seconds))
                return 204
            case "ack lost":
                self._deliver(push, fate)
                return 500
            case "doubled" | "repeated":
                first = self._submit(self._deliver, push, fate)
                self._submit(self._later, push, fate, lambda: time.sleep(fate.seconds))
                return self._answer(first, fate)
            case _:
                return self._answer(self._submit(self._deliver, push, fate), fate)

    def _answer(self, delivery: Future[int], fate: Fate) -> int:
        """The function's status, or 504 if it took too long; the function continues either way. A
        stopped function is left to the emulator's deadline.
        """
        patience = (
            self._hasty_seconds if fate.is_hasty and fate.kind != "frozen" else LONGEST_SECONDS
        )
        try:
            return delivery.result(patience)
        except Overdue:
            return 504

    def _later(self, push: Push, fate: Fate, wait: Callable[[], object]) -> None:
        wait()
        while self._deliver(push, fate) not in ACKNOWLEDGED and not self._closing.is_set():
            time.sleep(AGAIN_SECONDS)

    def _deliver(self, push: Push, fate: Fate) -> int:
        began, message = time.monotonic(), push.body["message"]
        with self._lock:
            self._attempts[message["messageId"]] += 1
            attempt = self._attempts[message["messageId"]]
        headers, body = enveloped(push.body, push.topic_name, attempt, fate.envelope)
        worker = self._targets[push.topic].next(COLD_START_SECONDS)
        status = NO_INSTANCE
        if worker:
            self._harm(worker, fate)
            status = worker.call(f"/{push.topic_name}", headers, body)
        self._passing[push.topic].set()
        if status in ACKNOWLEDGED:
            self.acknowledged.add(message["messageId"])
        which = (message["messageId"], message["publishTime"], push.model, push.topic)
        self.deliveries.append(Delivery(*which, fate, began, time.monotonic(), status))
        return status

    def _harm(self, worker: Worker, fate: Fate) -> None:
        life = worker.life
        if fate.kind == "killed":
            self._submit(self._kill, worker, life, fate.seconds)
        if fate.kind == "frozen" and self._frozen.acquire(blocking=False):
            self._submit(self._freeze, worker, life, fate.seconds)

    def _kill(self, worker: Worker, life: int, after: float) -> None:
        time.sleep(after)
        if worker.kill(life):
            worker.start()

    def _freeze(self, worker: Worker, life: int, after: float) -> None:
        """One at a time."""
        try:
            time.sleep(after)
            if worker.freeze(life):
                time.sleep(FROZEN_SECONDS)
                worker.thaw()
        finally:
            self._frozen.release()


@dataclass(frozen=True)
class Push:
    """`body` is what the emulator sent, `topic_name` the topic's full name."""

    body: Mapping[str, Any]
    topic_name: str
    topic: str
    model: str


def _model(message: Mapping[str, Any]) -> str:
    """The model that a message is about; empty for a tick and for what is not understood."""
    try:
        return str(json.loads(base64.b64decode(message.get("data", ""))).get("model", ""))
    except (ValueError, AttributeError):
        return ""


def _server(push: Callable[[str, bytes], int]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            status = push(self.path, self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    return Server((HOST, 0), Handler)
