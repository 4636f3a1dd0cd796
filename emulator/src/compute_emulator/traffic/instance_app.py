"""The app on one instance: a real HTTP server on its own port that answers with the name of its
release.

It works on as many requests at once as its profile allows; the others wait. The autoscaler sees
the share of busy workers as CPU. A dead app drops connections; one that is not ready answers
503. Runs on the data plane's event loop."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable
from random import Random
from typing import cast

from compute_emulator.traffic.http import BadMessage, Reader, Request, Response
from compute_emulator.traffic.topology import Vm


class App:
    """One VM's app. `clock` is the cloud's. The VM and the profile may change while it runs
    (`configure`)."""

    def __init__(self, vm: Vm, clock: Callable[[], float], chance: Random) -> None:
        self.configure(vm)
        self._clock = clock
        self.port = 0
        self.requests = 0
        self.working = 0
        self._chance = chance
        self._waiting: deque[tuple[_Connection, Request]] = deque()
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._busy, self._busy_since, self._idle_since = 0.0, time.monotonic(), time.monotonic()

    def configure(self, vm: Vm) -> None:
        self.vm, self.profile = vm, vm.profile
        release = vm.names["template"]
        self._about = {"release": release} | vm.names
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
        self.requests += 1
        is_alive, is_ready = self.vm.health(self._clock())
        if not is_alive:
            connection.cut()
        elif not is_ready:
            connection.respond(request, self._refusal("not ready"))
        elif self.working < self.profile.concurrency:
            self._begin(connection, request)
        elif len(self._waiting) < self.profile.queue:
            self._waiting.append((connection, request))
        else:
            connection.respond(request, self._refusal("too many requests are waiting"))

    def _begin(self, connection: _Connection, request: Request) -> None:
        self._account()
        self.working += 1
        seconds = self.profile.latency(self._chance)
        if seconds > 0:
            asyncio.get_running_loop().call_later(seconds, self._finish, connection, request)
        else:
            self._finish(connection, request)

    def _finish(self, connection: _Connection, request: Request) -> None:
        self._account()
        self.working -= 1
        connection.respond(request, self._response(request))
        while self._waiting and self.working < self.profile.concurrency:
            self._begin(*self._waiting.popleft())

    def _account(self) -> None:
        now = time.monotonic()
        self._busy += min(self.working, self.profile.concurrency) * (now - self._busy_since)
        self._busy_since = now

    def _response(self, request: Request) -> Response:
        failed = self.profile.error_rate and self._chance.random() < self.profile.error_rate
        content = self._about | {
            "method": request.method,
            "path": request.target,
            "host": request.headers.get("host", ""),
        }
        if "x-echo" in request.headers:
            content |= {"headers": request.headers, "body": request.body.decode("utf-8", "replace")}  # type: ignore[dict-item]
        body = json.dumps(content).encode() + b"\n"
        return Response(self.profile.error_status if failed else 200, self._headers, body)

    def _refusal(self, why: str) -> Response:
        return Response(
            503, self._headers, json.dumps(self._about | {"error": why}).encode() + b"\n"
        )


class _Connection(asyncio.Protocol):
    """One client's connection to an app. Its requests are answered one after the other."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._reader = Reader()
        self._transport: asyncio.Transport | None = None
        self._is_busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._app._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._app._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        self._next()

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
