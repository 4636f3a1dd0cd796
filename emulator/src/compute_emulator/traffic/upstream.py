"""Connections from the balancer to an instance: kept open, one request at a time on each.

A response that arrives in one piece is returned whole. Of any other the head is returned at once,
and its body follows as a stream; the connection serves the next request when the stream has
ended.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

from compute_emulator.traffic.body_stream import BodyStream
from compute_emulator.traffic.http import BadMessage, Reader, Request, Response


class Broken(Exception):
    """The instance refused the connection, or ended it before the response was complete."""


class Upstream:
    """The connections to one port."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._idle: list[_Connection] = []
        self.in_flight = 0

    async def send(
        self, request: Request, timeout: float, stream_timeout: float | None = None
    ) -> Response:
        """Raises `Broken`, or `TimeoutError` if the response has not begun after `timeout` seconds.
        A stream fails in the same way if it has not ended after `stream_timeout` seconds (default:
        `timeout`), counted from the call. A timeout closes the connection.
        """
        self.in_flight += 1
        is_streaming = False
        try:
            connection = await self._connection()
            response = await connection.send(request, timeout, stream_timeout or timeout)
            if response.stream is not None:
                is_streaming = True
                response.stream.on_end.append(lambda: self._release(connection))
            elif connection.is_open:
                self._idle.append(connection)
            return response
        finally:
            if not is_streaming:
                self.in_flight -= 1

    def close(self) -> None:
        for connection in self._idle:
            connection.cut()
        self._idle.clear()

    def _release(self, connection: _Connection) -> None:
        self.in_flight -= 1
        if connection.is_open:
            self._idle.append(connection)

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                _Connection, self._host, self._port, ssl=self._tls
            )
        except OSError as error:
            raise Broken(f"connection refused: {error}") from error
        return connection


class _Connection(asyncio.Protocol):
    """The source of the stream that it receives (`body_stream.Source`)."""

    def __init__(self) -> None:
        self._reader = Reader()
        self._transport: asyncio.Transport | None = None
        self._response: asyncio.Future[Response] | None = None
        self._stream: BodyStream | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def send(self, request: Request, timeout: float, stream_timeout: float) -> Response:
        if self._transport is None:
            raise Broken("the connection is closed")
        loop = asyncio.get_running_loop()
        sent = loop.time()
        future: asyncio.Future[Response] = loop.create_future()
        self._response = future
        self._transport.write(request.encoded())
        timer = loop.call_later(timeout, self._late)
        try:
            response = await future
        except asyncio.CancelledError:
            self.cut()
            raise
        finally:
            timer.cancel()
            self._response = None
        if response.stream is not None and self._stream is response.stream:
            self._timer = loop.call_at(sent + stream_timeout, self._late)
        return response

    def cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        if self.is_open:
            cast(asyncio.Transport, self._transport).pause_reading()

    def resume(self) -> None:
        if self.is_open:
            cast(asyncio.Transport, self._transport).resume_reading()

    def abort(self) -> None:
        self._end_stream()
        self.cut()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            if self._stream is None:
                response = self._reader.response_start()
                if response is None or self._response is None or self._response.done():
                    return
                if response.stream is not None:
                    self._stream = response.stream
                    response.stream.source = self
                self._response.set_result(response)
            if self._stream is not None:
                self._receive(self._stream)
        except BadMessage as error:
            self._fail(Broken(str(error)))
            self.cut()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail(Broken("the connection ended before the response"))

    def _receive(self, stream: BodyStream) -> None:
        part, is_end = self._reader.body_part()
        stream.feed(part)
        if is_end:
            self._end_stream()
            stream.finish()

    def _end_stream(self) -> None:
        self._stream = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._fail(TimeoutError())
        self.cut()

    def _fail(self, why: Exception) -> None:
        if self._response is not None and not self._response.done():
            self._response.set_exception(why)
        if self._stream is not None:
            self._stream.fail(why)
            self._end_stream()
