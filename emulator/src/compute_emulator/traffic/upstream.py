"""Connections from the balancer to an instance: kept open, one request at a time on each."""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

from compute_emulator.traffic.http import BadMessage, Reader, Request, Response


class Broken(Exception):
    """The instance refused the connection, or ended it before the response was complete."""


class Upstream:
    """The connections to one port."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._idle: list[_Connection] = []
        self.in_flight = 0

    async def send(self, request: Request, timeout: float) -> Response:
        """Raises `Broken`, or `TimeoutError` after `timeout` seconds; a timeout closes the
        connection."""
        self.in_flight += 1
        try:
            connection = await self._connection()
            response = await connection.send(request, timeout)
            if connection.is_open:
                self._idle.append(connection)
            return response
        finally:
            self.in_flight -= 1

    def close(self) -> None:
        for connection in self._idle:
            connection.cut()
        self._idle.clear()

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
    def __init__(self) -> None:
        self._reader = Reader()
        self._transport: asyncio.Transport | None = None
        self._response: asyncio.Future[Response] | None = None

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def send(self, request: Request, timeout: float) -> Response:
        if self._transport is None:
            raise Broken("the connection is closed")
        loop = asyncio.get_running_loop()
        response: asyncio.Future[Response] = loop.create_future()
        self._response = response
        self._transport.write(request.encoded())
        timer = loop.call_later(timeout, self._late)
        try:
            return await response
        finally:
            timer.cancel()
            self._response = None

    def cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            response = self._reader.response()
        except BadMessage as error:
            self._fail(Broken(str(error)))
            self.cut()
            return
        if response is not None and self._response is not None and not self._response.done():
            self._response.set_result(response)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail(Broken("the connection ended before the response"))

    def _late(self) -> None:
        self._fail(TimeoutError())
        self.cut()

    def _fail(self, why: Exception) -> None:
        if self._response is not None and not self._response.done():
            self._response.set_exception(why)
