"""The app on one instance: a real HTTP server on its own port that answers with the name of its
release.

With `stream_seconds` in its profile, or in the request's header `x-stream-seconds`, the answer is a
stream of server-sent events (`data: {"n": 0, "release": ...}`, at the end `data: [DONE]`), as LLM
servers send. `x-stream-interval-seconds` sets the pause between events, `x-stream-bytes` their
size.

It works on as many requests at once as its profile allows; the others wait. The autoscaler sees
the share of busy workers as CPU. A dead app drops connections; one that is not ready answers
503. `GET /metrics` answers with what it has counted (`instance_metrics.py`), also while it is not
ready. Runs on the data plane's event loop.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import cast

from compute_emulator.traffic.body_stream import BodyStream
from compute_emulator.traffic.http import BadMessage, Reader, Request, Response, as_chunk
from compute_emulator.traffic.instance_metrics import InstanceMetrics
from compute_emulator.traffic.metrics import CONTENT_TYPE
from compute_emulator.traffic.response_profile import ResponseProfile
from compute_emulator.traffic.topology import Vm

METRICS_PATH = "/metrics"
EVENT_HEADERS = {"content-type": "text/event-stream", "cache-control": "no-cache"}


@dataclass(frozen=True, slots=True)
class Work:
    """A request, with its times by the monotonic clock."""

    connection: _Connection
    request: Request
    arrived: float
    began: float = 0.0


class App:
    """One VM's app. `clock` is the cloud's. The VM and the profile may change while it runs
    (`configure`).
    """

    def __init__(self, vm: Vm, clock: Callable[[], float], chance: Random) -> None:
        self.configure(vm)
        self._clock = clock
        self.port = 0
        self.requests = 0
        self.working = 0
        self._metrics = InstanceMetrics()
        self._chance = chance
        self._waiting: deque[Work] = deque()
        self._connections: set[_Connection] = set()
        self._streams: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._busy, self._busy_since, self._idle_since = 0.0, time.monotonic(), time.monotonic()

    def configure(self, vm: Vm) -> None:
        self.vm, self.profile = vm, vm.profile
        release = vm.names["template"]
        self._about = {"release": release, "labels": vm.labels} | vm.names
        self._headers = {
            "content-type": "application/json",
            "x-release": release,
            "x-instance": vm.names["name"],
        }

    async def start(self, host: str) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), host, 0, backlog=256)
        self.port = int(self._server.sockets[0].getsockname()[1])

    def stop(self) -> None:
        """Stop with the VM: requests in flight are cut off."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.cut()
        for stream in self._streams:
            stream.cancel()
        self._waiting.clear()

    @property
    def in_flight(self) -> int:
        return self.working + len(self._waiting)

    def busy_share(self) -> float:
        """The mean share of busy workers since the last call."""
        self._account()
        now = time.monotonic()
        passed = now - self._idle_since
        busy, self._busy, self._idle_since = self._busy, 0.0, now
        return busy / passed / self.profile.concurrency if passed > 0 else 0.0

    def accept(self, connection: _Connection, request: Request) -> None:
        is_alive, is_ready = self.vm.health(self._clock())
        is_scrape = request.target == METRICS_PATH
        self.requests += not is_scrape
        if not is_alive:
            self._metrics = InstanceMetrics()  # a process that starts again has counted nothing
            connection.cut()
        elif is_scrape:
            connection.respond(request, self._metrics_response())
        elif not is_ready:
            connection.respond(request, self._refusal("not ready"))
        elif self.working < self.profile.concurrency:
            self._begin(Work(connection, request, time.monotonic()))
        elif len(self._waiting) < self.profile.queue:
            self._waiting.append(Work(connection, request, time.monotonic()))
        else:
            self._metrics.record_refused()
            connection.respond(request, self._refusal("too many requests are waiting"))

    def _metrics_response(self) -> Response:
        model, waiting = self.vm.names["group"], len(self._waiting)
        body = self._metrics.exposition(model, self.working, waiting)
        return Response(200, {"content-type": CONTENT_TYPE}, body)

    def _begin(self, work: Work) -> None:
        self._account()
        self.working += 1
        begun = replace(work, began=time.monotonic())
        seconds = self.profile.latency(self._chance)
        if seconds > 0:
            asyncio.get_running_loop().call_later(seconds, self._finish, begun)
        else:
            self._finish(begun)

    def _finish(self, work: Work) -> None:
        events = events_of(self.profile, work.request)
        response = self._response(work.request)
        if events.count and response.status == 200:
            task = asyncio.get_running_loop().create_task(self._stream(work, events))
            self._streams.add(task)
            task.add_done_callback(self._streams.discard)
            return
        if response.status == 200:
            self._metrics.record_first_token(time.monotonic() - work.arrived)
        self._record_end(work, response.status)
        work.connection.respond(work.request, response)
        self._free_worker()

    def _record_end(self, work: Work, status: int) -> None:
        reason = "error" if status >= 500 else "stop" if work.connection.is_open else "abort"
        seconds = time.monotonic() - work.arrived
        self._metrics.record_finished(reason, seconds, work.began - work.arrived)

    async def _stream(self, work: Work, events: Events) -> None:
        """Send the events, no faster than the client reads. Ends when the connection does."""
        connection, request = work.connection, work.request
        try:
            headers = self._headers | EVENT_HEADERS
            await connection.start_stream(request, Response(200, headers, stream=BodyStream()))
            last = 0.0
            for number in range(events.count):
                if not self.vm.health(self._clock())[0]:
                    connection.cut()
                event = json.dumps({"n": number} | self._about).encode()
                await connection.write_part(b"data: " + event.ljust(events.size) + b"\n\n")
                now = time.monotonic()
                if number:
                    self._metrics.record_next_token(now - last)
                else:
                    self._metrics.record_first_token(now - work.arrived)
                last = now
                await asyncio.sleep(events.interval)
            await connection.write_part(b"data: [DONE]\n\n")
            self._record_end(work, 200)
            connection.end_stream(request)
        except ConnectionResetError:
            self._record_end(work, 200)
        finally:
            self._free_worker()

    def _free_worker(self) -> None:
        self._account()
        self.working -= 1
        while self._waiting and self.working < self.profile.concurrency:
            self._begin(self._waiting.popleft())

    def _account(self) -> None:
        now = time.monotonic()
        self._busy += min(self.working, self.profile.concurrency) * (now - self._busy_since)
        self._busy_since = now

    def _response(self, request: Request) -> Response:
        now = time.monotonic()
        failed = self.profile.fails(request.headers, self.in_flight, now, self._chance)
        content = self._about | {
            "method": request.method,
            "path": request.target,
            "host": request.headers.get("host", ""),
        }
        if "x-echo" in request.headers:
            content |= {"headers": request.headers, "body": request.body.decode("utf-8", "replace")}
        body = json.dumps(content).encode() + b"\n"
        return Response(self.profile.error_status if failed else 200, self._headers, body)

    def _refusal(self, why: str) -> Response:
        return Response(
            503, self._headers, json.dumps(self._about | {"error": why}).encode() + b"\n"
        )


@dataclass(frozen=True, slots=True)
class Events:
    """The events of a streamed answer: how many, the seconds between them, and the least bytes of
    each.
    """

    count: int
    interval: float
    size: int


def events_of(profile: ResponseProfile, request: Request) -> Events:
    """What a request asks for, else what the profile says; malformed numbers count as absent."""
    headers = request.headers
    seconds = _number(headers.get("x-stream-seconds"), profile.stream_seconds)
    interval = _number(headers.get("x-stream-interval-seconds"), profile.stream_interval_seconds)
    interval = max(interval, 0.001)
    count = math.ceil(seconds / interval) if seconds > 0 else 0
    return Events(count, interval, int(_number(headers.get("x-stream-bytes"), 0)))


def _number(text: str | None, default: float) -> float:
    try:
        number = float(text) if text is not None else default
    except ValueError:
        return default
    return number if math.isfinite(number) else default


class _Connection(asyncio.Protocol):
    """One client's connection to an app. Its requests are answered one after the other."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._reader = Reader()
        self._transport: asyncio.Transport | None = None
        self._is_busy = False
        self._is_chunked = False
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._app._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._app._connections.discard(self)
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        self._next()

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def respond(self, request: Request, response: Response) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(response.encoded_for(request))
        self._is_busy = False
        if not request.keeps_alive:
            self._transport.close()
        else:
            self._next()

    async def start_stream(self, request: Request, response: Response) -> None:
        """Send the head. Raises `ConnectionResetError` if the connection is closed, as `write_part`
        does.
        """
        head, self._is_chunked = response.head_for(request)
        await self._write(head)

    async def write_part(self, data: bytes) -> None:
        await self._write(as_chunk(data) if self._is_chunked else data)

    def end_stream(self, request: Request) -> None:
        if self._transport is None:
            return
        if self._is_chunked:
            self._transport.write(as_chunk(b""))
        self._is_busy = False
        if not request.keeps_alive or not self._is_chunked:
            self._transport.close()
        else:
            self._next()

    async def _write(self, data: bytes) -> None:
        await self._writable.wait()
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError
        self._transport.write(data)

    def _next(self) -> None:
        if self._is_busy:
            return
        try:
            request = self._reader.request()
        except BadMessage as error:
            self.respond(
                Request("GET", "/", keeps_alive=False),
                Response(error.status, body=f"{error}\n".encode()),
            )
            return
        if request is not None:
            self._is_busy = True
            self._app.accept(self, request)
        elif self._reader.expects_continue and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
