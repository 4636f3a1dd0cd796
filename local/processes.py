"""Runs the local stack's HTTP servers as processes with a log file each.

Each runs in its own process group and is up once it responds over HTTP. The caller of `start` must
call `stop`, which ends that group and no other process.
"""

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
SETTINGS = ("SLIPWAY_", "PROMETHEUS_", "GOOGLE_", "FUNCTION_", "PUBSUB_", "FIRESTORE_")
TAIL = 2000


class DidNotStart(Exception):
    """A part of the stack did not start; the text names it and contains the end of its log."""


@dataclass
class Program:
    """A program that serves HTTP on `port`. `probe` is a path that responds, with any status, once
    it serves.
    """

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
                env={**inherited(os.environ), **self.environment},
                cwd=self.folder,
                start_new_session=True,
            )

    def wait_until_up(self, patience_seconds: float = 60.0) -> None:
        """Raises `DidNotStart` if the program ends or does not respond in time."""
        until = time.monotonic() + patience_seconds
        while time.monotonic() < until and self._process and self._process.poll() is None:
            if answers(self.port, self.probe):
                return
            time.sleep(0.1)
        raise DidNotStart(f"{self.name} did not start; the end of {self.log}:\n{self.tail()}")

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-TAIL:] if self.log.exists() else ""

    def signal(self, number: int) -> None:
        """Sends a signal to the group, if it still runs."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """Kills the group without warning, like a machine failure. It can be started again."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._process = None

    def stop(self, patience_seconds: float = 5.0) -> None:
        """Stops the group, by force if it does not stop itself. Safe to repeat."""
        if self._process is None:
            return
        self.signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_seconds)
        self.kill()


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """A shell's environment without the variables that configure Slipway: those of a project must
    not reach a local stack.
    """
    return {name: text for name, text in environment.items() if not name.startswith(SETTINGS)}


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
