"""Cold starts: from a process's start to its first word with Compute Engine, and to being ready for
an event.

Each function is compared with `programs/plain.py`, which does at its top what functions usually do.
The programs take turns, so that whatever else the machine does meets all of them alike, and the
median of the pairs' own ratios counts. All run on compiled modules (the first round, which compiles
them, is not counted) and start from nothing else: no server, no warm connection.

    turn      start ── imports, app, clients ── event posted ── model read from the store ──> first request at Compute Engine
    intake    start ── imports, app, clients, ready ──> (event posted, answered)
    plain     start ── imports, clients ─────────────────────────────────────────────────────> its request at Compute Engine

Nothing is moved past the finish: the turn's way includes the Firestore read before its first
request, and the intake's ends after its clients are made; what it still costs to answer the first
event is told beside it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from statistics import median
from typing import Any

from bench.results import Row, row
from bench.setting import MODEL, ROOT, Setting, clean_environment, no_compute, release_message
from infra.wiring import RealClock

PROGRAMS = ROOT / "bench" / "programs"
PATIENCE_SECONDS = 60


class Door:
    """Where requests to Compute Engine arrive; each is answered with 503, and the moment of the
    first is kept."""

    def __init__(self) -> None:
        self._came = threading.Event()
        self._first = 0.0
        door = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                door._note()
                self.send_response(503)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def _note(self) -> None:
        if not self._came.is_set():
            self._first = time.monotonic()
            self._came.set()

    def forget(self) -> None:
        self._came.clear()

    def first(self) -> float:
        """When the first request since `forget` arrived; waits for it."""
        if not self._came.wait(PATIENCE_SECONDS):
            raise RuntimeError("no request arrived at Compute Engine")
        return self._first

    @contextmanager
    def open(self) -> Iterator[Door]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


@dataclass(frozen=True)
class Round:
    """Seconds since each program's start: one run of all three."""

    plain_imported: float
    plain_connected: float
    plain_asked: float
    turn_ready: float
    turn_asked: float
    intake_ready: float
    intake_answered: float
    intake_to_plain_processor_time: float


def measure(setting: Setting, pairs: int) -> tuple[Row, Row]:
    """The rows of the turn and of the intake."""
    door = Door()
    setting.accept(setting.world(RealClock(), no_compute), release_message("1"))
    with door.open():
        environment = (
            clean_environment() | setting.environment | {"SLIPWAY_COMPUTE_ENDPOINT": door.url}
        )
        rounds = [
            _round(door, environment, number, setting.has_emulators) for number in range(pairs + 1)
        ][1:]
    return _turn_row(rounds, setting.kind), _intake_row(rounds, setting.has_emulators)


def _round(door: Door, environment: dict[str, str], number: int, has_emulators: bool) -> Round:
    began, said, asked = _run(
        door, [str(PROGRAMS / "plain.py"), door.url], environment, is_asking=True
    )
    wakeup = json.dumps({"model": MODEL})
    turn_began, turn_said, turn_asked = _run(
        door, _function("on_wakeup", wakeup), environment, is_asking=True
    )
    release = json.dumps(release_message("1", f"cold-{number}"))
    connecting = environment | {
        "SLIPWAY_STORE": "firestore"
    }  # its client is made, whether or not anybody is there to answer
    intake_began, intake_said, _ = _run(
        door, _function("on_release", release), connecting, is_asking=False
    )
    if has_emulators and intake_said[3] != 200:
        raise RuntimeError(f"on_release answered its event with {intake_said[3]:g}")
    return Round(
        plain_imported=said[0] - began,
        plain_connected=said[1] - began,
        plain_asked=asked - began,
        turn_ready=turn_said[1] - turn_began,
        turn_asked=turn_asked - turn_began,
        intake_ready=intake_said[1] - intake_began,
        intake_answered=intake_said[2] - intake_began,
        intake_to_plain_processor_time=intake_said[4] / said[2],
    )


def _function(target: str, data: str) -> list[str]:
    topic = {"on_wakeup": "model-wakeups", "on_release": "model-releases"}[target]
    return [str(PROGRAMS / "function.py"), target, topic, data]


def _run(
    door: Door, command: Sequence[str], environment: dict[str, str], *, is_asking: bool
) -> tuple[float, list[float], float]:
    """When the program started, the numbers that it printed, and when its request arrived (0: it
    sends none)."""
    target = {"FUNCTION_TARGET": command[1]} if "function.py" in command[0] else {}
    door.forget()
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment | target,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        arrived = door.first() if is_asking else 0.0
        out = process.communicate(timeout=PATIENCE_SECONDS)[0]
    numbers = [line.split() for line in out.splitlines() if not line.startswith("{")]
    if not numbers:
        raise RuntimeError(f"{command[0]} printed no moments")
    return began, [float(each) for each in numbers[-1]], arrived


def _turn_row(rounds: list[Round], store: str) -> Row:
    ratios = [each.turn_asked / each.plain_asked for each in rounds]
    how = (
        "on_wakeup, process start to its first Compute request (functions-framework app, one"
        f" wake-up, {store} read), over a program with the usual imports and one request; median of"
        f" {len(rounds)} pairs"
    )
    return row(
        "cold_start_ratio", median(ratios), how, store=store, ratios=_rounded(ratios),
        **_seconds(rounds, "turn_asked", "turn_ready", "plain_asked", "plain_imported"),
    )  # fmt: skip


def _intake_row(rounds: list[Round], has_emulators: bool) -> Row:
    """Without the emulators nobody answers the event, and how long that takes says nothing."""
    ratios = [each.intake_ready / each.plain_asked for each in rounds]
    how = (
        "on_release, process start to ready for its event (imports, app, Firestore and Pub/Sub"
        f" clients), over the same program; median of {len(rounds)} pairs"
    )
    to_answer = (
        round(median(each.intake_answered / each.plain_asked for each in rounds), 3)
        if has_emulators
        else None
    )
    of_processor_time = round(median(each.intake_to_plain_processor_time for each in rounds), 3)
    to_clients = median(each.intake_ready / each.plain_connected for each in rounds)
    return row(
        "cold_start_intake_ratio", median(ratios), how, ratios=_rounded(ratios),
        ratio_to_the_programs_clients_made=round(to_clients, 3), ratio_to_first_event_answered=to_answer,
        ratio_of_processor_time=of_processor_time,
        **_seconds(rounds, "intake_ready", "intake_answered", "plain_asked", "plain_connected"),
    )  # fmt: skip


def _rounded(values: list[float]) -> list[float]:
    return [round(value, 3) for value in values]


def _seconds(rounds: list[Round], *names: str) -> dict[str, Any]:
    return {
        f"{name}_seconds": round(median(getattr(each, name) for each in rounds), 3)
        for name in names
    }
