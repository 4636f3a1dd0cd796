"""Processes of the deployed functions, which tests can kill and stop."""

from __future__ import annotations

import http.client
import itertools
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from local.processes import HOST, Program, free_port

ROOT = Path(__file__).parents[2]
LONGEST_SECONDS = 120
GONE = 503  # no function returns this itself


@dataclass
class Worker:
    """One instance of a function. `life` counts its starts, so that a caller cannot kill a
    successor.
    """

    program: Program
    life: int = 0
    is_up: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        with self.lock:
            self.life += 1
            self.program.start()
        self.program.wait_until_up()
        self.is_up = True

    def kill(self, life: int) -> bool:
        """Kills the process unless it has restarted since; returns whether it did."""
        with self.lock:
            if self.life != life or not self.is_up:
                return False
            self.is_up = False
            self.program.kill()
        return True

    def freeze(self, life: int) -> bool:
        """Stops the process until `thaw`, like a paused machine."""
        with self.lock:
            if self.life != life or not self.is_up:
                return False
            self.is_up = False
            self.program.signal(signal.SIGSTOP)
        return True

    def thaw(self) -> None:
        with self.lock:
            self.program.signal(signal.SIGCONT)
            self.is_up = True

    def stop(self) -> None:
        with self.lock:
            self.program.signal(signal.SIGCONT)
            self.program.stop()

    def call(self, path: str, headers: Mapping[str, str], body: bytes) -> int:
        """The status of its response; `GONE` without a response."""
        connection = http.client.HTTPConnection(HOST, self.program.port, timeout=LONGEST_SECONDS)
        try:
            connection.request("POST", path, body, dict(headers))
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return GONE
        finally:
            connection.close()


class Workers:
    """The instances of one function, used round-robin."""

    def __init__(
        self, target: str, count: int, environment: Mapping[str, str], folder: Path
    ) -> None:
        self.all = tuple(
            Worker(_program(target, number, environment, folder)) for number in range(count)
        )
        self._cycle = itertools.cycle(self.all)
        self._lock = threading.Lock()

    def next(self, patience_seconds: float) -> Worker | None:
        """The next instance that is up. Like the platform, waits for one that is starting."""
        until = time.monotonic() + patience_seconds
        while True:
            with self._lock:
                found = next(
                    (
                        worker
                        for worker in itertools.islice(self._cycle, len(self.all))
                        if worker.is_up
                    ),
                    None,
                )
            if found or time.monotonic() > until:
                return found
            time.sleep(0.05)


def _program(target: str, number: int, environment: Mapping[str, str], folder: Path) -> Program:
    port = free_port()
    command = (
        *(sys.executable, "-m", "functions_framework", "--source", "main.py", "--target", target),
        *("--signature-type", "cloudevent", "--host", HOST, "--port", str(port)),
    )
    log = folder / f"{target}-{number}.log"
    variables = {**environment, "FUNCTION_TARGET": target, "PYTHONUNBUFFERED": "1"}
    return Program(
        f"function {target} {number}", command, port, log, variables, ROOT, "/robots.txt"
    )
