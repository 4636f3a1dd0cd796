"""A forwarding rule's listening port: one request at a time on each connection. Uses TLS for a
rule whose target is an HTTPS proxy. Streamed responses are passed on as they arrive, no faster than
the client reads.
"""

from __future__ import annotations

import asyncio
import logging
from typing import cast

from compute_emulator.errors import JsonObject
from compute_emulator.keys import Key
from compute_emulator.traffic.balancer import Balancer
from compute_emulator.traffic.body_stream import BodyStream
from compute_emulator.traffic.http import BadMessage, Reader, Request, Response, as_chunk
from compute_emulator.traffic.tls import ServerCertificates
from compute_emulator.traffic.topology import Rule

LOG = logging.getLogger("compute_emulator")


class Listener:
    """The port of one rule. The rule may change, but not whether it uses TLS (`configure`)."""

    def __init__(self, rule: Rule, balancer: Balancer) -> None:
        self.rule, self._balancer = rule, balancer
        self.port = 0
        self.certificates = ServerCertificates(rule.certificates) if rule.is_https else None
        self._server: asyncio.Server | None = None
        self._clients: set[_Client] = set()

    @property
    def key(self) -> Key:
        return self.rule.key

    @property
    def scheme(self) -> str:
        return "https" if self.rule.is_https else "http"

    def configure(self, rule: Rule) -> None:
        """Open connections keep the certificate that they were served."""
        if self.certificates is not None and rule.certificates != self.rule.certificates:
            self.certificates.configure(rule.certificates)
        self.rule = rule

    def state(self, host: str) -> JsonObject:
        """Where it is served and, for TLS, the certificates that a client has to trust."""
        state: JsonObject = {"url": f"{self.scheme}://{host}:{self.port}"}
        if self.certificates is None:
            return state
        certificates = [
            {"names": each.names, "pem": each.chain} | ({"why": each.why} if each.why else {})
            for each in self.certificates.served
        ]
        return state | {"certificates": certificates}

    async def start(self, host: str) -> None:
        loop = asyncio.get_running_loop()
        context = self.certificates.context if self.certificates is not None else None
        self._server = await loop.create_server(
            lambda: _Client(self), host, 0, backlog=512, ssl=context
        )
        self.port = int(self._server.sockets[0].getsockname()[1])

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for client in list(self._clients):
            client.cut()

    async def handle(self, request: Request, client: str) -> Response:
        return await self._balancer.handle(self.rule, request, client)


class _Client(asyncio.Protocol):
    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._reader = Reader()
        self._transport: asyncio.Transport | None = None
        self._serving: asyncio.Task[None] | None = None
        self._address = ""
        self._stream: BodyStream | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._address = str((transport.get_extra_info("peername") or ("",))[0])
        self._listener._clients.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._listener._clients.discard(self)
        self._writable.set()
        if self._stream is not None:
            self._stream.end()
            self._stream.fail(ConnectionResetError("the client is gone"))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        self._next()

    def cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _next(self) -> None:
        if self._serving is not None:
            return
        try:
            request = self._reader.request()
        except BadMessage as error:
            self._write(
                Request("GET", "/", keeps_alive=False),
                Response(error.status, body=f"{error}\n".encode()),
            )
            return
        if request is not None:
            self._serving = asyncio.get_running_loop().create_task(self._serve(request))
        elif self._reader.expects_continue and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def _serve(self, request: Request) -> None:
        try:
            response = await self._listener.handle(request, self._address)
        except Exception as error:  # one failed request must not close the port
            LOG.exception("failed on %s %s", request.method, request.target)
            response = Response(
                500, {"content-type": "text/plain"}, f"the emulator failed: {error!r}".encode()
            )
        keeps_alive = request.keeps_alive
        if response.stream is not None:
            keeps_alive = await self._pass_on(request, response, response.stream) and keeps_alive
        self._serving = None
        if response.stream is None:
            self._write(request, response)
        if keeps_alive:
            self._next()

    async def _pass_on(self, request: Request, response: Response, stream: BodyStream) -> bool:
        """Stream a response. Returns whether the connection can be used again. A stream that fails
        closes it: the head is already sent, so there is no other way to tell the client.
        """
        if self._transport is None or self._transport.is_closing():
            stream.end()
            return False
        head, is_chunked = response.head_for(request)
        keeps_alive = request.keeps_alive and (is_chunked or stream.length is not None)
        self._stream = stream
        try:
            self._transport.write(head)
            if request.method != "HEAD":
                await self._copy(stream, is_chunked)
        except Exception as error:
            LOG.debug("a stream ended early: %r", error)
            self.cut()
            return False
        finally:
            self._stream = None
            stream.end()
        if not keeps_alive and self._transport is not None:
            self._transport.close()
        return keeps_alive

    async def _copy(self, stream: BodyStream, is_chunked: bool) -> None:
        while data := await stream.next():
            if self._transport is None:
                return
            self._transport.write(as_chunk(data) if is_chunked else data)
            await self._writable.wait()
        if is_chunked and self._transport is not None:
            self._transport.write(as_chunk(b""))

    def _write(self, request: Request, response: Response) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(response.encoded_for(request))
        if not request.keeps_alive:
            self._transport.close()
