"""Programs of the local stack: each in a process group of its own, its output in a file, up when it
answers over HTTP.

Used by `local/stack.py`. Whoever starts one stops it: `stop` ends the group that was made here, and
no other process."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

HOST = "127.0.0.1"
TAIL = 2000


class DidNotStart(Exception):
    """A part of the stack did not come up; the text says which, and has the end of its log."""


@dataclass
class Program:
    """A program that serves HTTP on `port`. `probe` is a path that answers, however, once it
    serves."""

    name: str
    command: Sequence[str]
    port: int
    log: Path
    environment: Mapping[str, str]
    folder: Path
    probe: str = "/"
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def start(self) -> None:
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment},
                cwd=self.folder,
                start_new_session=True,
            )

    def wait_until_up(self, patience_seconds: float = 60.0) -> None:
        """Raises `DidNotStart` when the program ends or does not answer in time."""
        until = time.monotonic() + patience_seconds
        while time.monotonic() < until and self._process and self._process.poll() is None:
            if answers(self.port, self.probe):
                return
            time.sleep(0.1)
        raise DidNotStart(f"{self.name} did not come up; the end of {self.log}:\n{self.tail()}")

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-TAIL:] if self.log.exists() else ""

    def signal(self, number: int) -> None:
        """Send a signal to the whole group; nothing happens where it has ended."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """End the whole group at once, as a machine's failure does: nothing in it gets to know. It
        may be started again."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._process = None

    def stop(self, patience_seconds: float = 5.0) -> None:
        """End the whole group: asked first, then forced. Safe to repeat."""
        if self._process is None:
            return
        self.signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_seconds)
        self.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", path)
        connection.getresponse()
        return True
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
