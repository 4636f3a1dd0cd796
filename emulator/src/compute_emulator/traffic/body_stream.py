"""The body of a response while it arrives: parts in, parts out, and no more in memory than
`HIGH_WATER` bytes.

A reader that falls behind pauses its source, so a slow client slows the instance down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

HIGH_WATER = 256 * 1024


class Source(Protocol):
    """Where the parts come from. `abort` gives the body up."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def abort(self) -> None: ...


class BodyStream:
    """`length` is the body's length if the sender has announced it."""

    def __init__(self, length: int | None = None) -> None:
        self.length = length
        self.source: Source | None = None
        self.on_end: list[Callable[[], None]] = []
        self._parts: list[bytes] = []
        self._size = 0
        self._is_paused = self._is_complete = self._has_ended = False
        self._error: Exception | None = None
        self._reader: asyncio.Future[None] | None = None

    # For the source

    def feed(self, data: bytes) -> None:
        if not data or self._has_ended:
            return
        self._parts.append(data)
        self._size += len(data)
        if self._size > HIGH_WATER and not self._is_paused and self.source is not None:
            self._is_paused = True
            self.source.pause()
        self._wake()

    def finish(self) -> None:
        self._is_complete = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """The body ends here, incomplete."""
        if not self._is_complete and self._error is None:
            self._error = error
            self._wake()

    # For the reader

    async def next(self) -> bytes:
        """The bytes that have arrived since the last call; empty at the end. Raises what the source
        failed with.
        """
        while not self._parts and not self._is_complete and self._error is None:
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        if self._parts:
            data = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
            if self._is_paused and self.source is not None:
                self._is_paused = False
                self.source.resume()
            return data
        self.end()
        if self._error is not None:
            raise self._error
        return b""

    async def read(self) -> bytes:
        """All of the body."""
        parts = []
        while data := await self.next():
            parts.append(data)
        return b"".join(parts)

    def end(self) -> None:
        """Stop reading. If the body is incomplete, its source is aborted."""
        if self._has_ended:
            return
        self._has_ended = True
        if self._is_paused and self.source is not None:
            self.source.resume()
        if not self._is_complete and self._error is None and self.source is not None:
            self.source.abort()
        for call in self.on_end:
            call()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
