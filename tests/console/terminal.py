"""Runs `slipway` in this process on a scenario's store and bus, in virtual time."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from console.connect import Connect, Connection, Failure
from console.main import main
from console.options import Program
from tests.scenario import PROJECT, Scenario

FASTER = 20
"""So many virtual seconds pass in a second that a command waits."""


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    notes: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Terminal:
    """`is_real`: with colours and cursor movements, as people have it. `stop_after`: Ctrl-C after
    so many waits. `at_wait`: what happens at which wait.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        is_real: bool = False,
        stop_after: int | None = None,
        at_wait: tuple[int, Callable[[], None]] | None = None,
    ) -> None:
        self._scenario, self._is_real = scenario, is_real
        self._stop_after, self._at_wait, self._count = stop_after, at_wait, 0

    def run(self, *arguments: str) -> Result:
        return run(lambda project: self._connect(project), *arguments, is_real=self._is_real)

    def _connect(self, project: str | None) -> Connection:
        if project not in (None, PROJECT):
            raise Failure(f"there is no project {project} here")
        return Connection(
            self._scenario.world,
            PROJECT,
            f"project {PROJECT}",
            find_settings=lambda: self._scenario.settings,
            sleep=self._sleep,
            timer=lambda: self._scenario.clock.now().timestamp(),
        )

    def _sleep(self, seconds: float) -> None:
        if self._count == self._stop_after:
            raise KeyboardInterrupt
        self._count += 1
        if self._at_wait and self._count == self._at_wait[0]:
            self._at_wait[1]()
        self._scenario.when_seconds_pass(seconds * FASTER)


def run(connect: Connect, *arguments: str, is_real: bool = False) -> Result:
    consoles = [
        Console(
            file=io.StringIO(),
            width=80,
            force_terminal=is_real,
            color_system="truecolor" if is_real else None,
            highlight=False,
            _environ={"TERM": "xterm-256color"},
        )
        for _ in range(2)
    ]
    out, notes = consoles
    status = main(arguments, Program(connect, out, notes))
    assert isinstance(out.file, io.StringIO)
    assert isinstance(notes.file, io.StringIO)
    return Result(status, out.file.getvalue(), notes.file.getvalue())
