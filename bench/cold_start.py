"""Measures cold starts: from the start of a process to its first request to Compute Engine
(reconciler) and to being ready for an event (intake).

Each function is compared with `programs/plain.py`, which imports what functions usually import. The
programs alternate, so that other work on the machine affects all alike; the value is the median of
the rounds' ratios. All run on compiled modules (the first round, which compiles them, does not
count), without a running server or a warm connection.

    reconciler  start ── imports, app, clients ── event posted ── model loaded ──> first request
    intake      start ── imports, app, clients, ready ──> (event posted, responded)
    plain       start ── imports, clients ───────────────────────────────────────> first request

The reconciler's time includes the Firestore read before its first request. The intake's time ends
when its clients exist; the time until it has responded to the first event is in the details.
"""

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


class RequestRecorder:
    """An HTTP server in place of Compute Engine. Responds with 503 and records when the first
    request arrives.
    """

    def __init__(self) -> None:
        self._arrived = threading.Event()
        self._first = 0.0
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                recorder._record()
                self.send_response(503)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def _record(self) -> None:
        if not self._arrived.is_set():
            self._first = time.monotonic()
            self._arrived.set()

    def reset(self) -> None:
        self._arrived.clear()

    def first(self) -> float:
        """When the first request since `reset` arrived; waits for it."""
        if not self._arrived.wait(PATIENCE_SECONDS):
            raise RuntimeError("no request arrived at Compute Engine")
        return self._first

    @contextmanager
    def running(self) -> Iterator[RequestRecorder]:
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
    """One run of all three programs, in seconds since each one's start."""

    plain_imported: float
    plain_connected: float
    plain_first_request: float
    reconciler_ready: float
    reconciler_first_request: float
    intake_ready: float
    intake_responded: float
    intake_to_plain_cpu_time: float


def measure(setting: Setting, pairs: int) -> tuple[Row, Row]:
    """The rows of the reconciler and of the intake."""
    recorder = RequestRecorder()
    setting.accept(setting.world(RealClock(), no_compute), release_message("1"))
    with recorder.running():
        environment = (
            clean_environment() | setting.environment | {"SLIPWAY_COMPUTE_ENDPOINT": recorder.url}
        )
        rounds = [
            _round(recorder, environment, number, setting.has_emulators)
            for number in range(pairs + 1)
        ][1:]
    return _reconciler_row(rounds, setting.kind), _intake_row(rounds, setting.has_emulators)


def _round(
    recorder: RequestRecorder, environment: dict[str, str], number: int, has_emulators: bool
) -> Round:
    began, plain_times, plain_request = _run(
        recorder, [str(PROGRAMS / "plain.py"), recorder.url], environment, sends_request=True
    )
    wakeup = json.dumps({"model": MODEL})
    reconciler_began, reconciler_times, reconciler_request = _run(
        recorder, _function("on_wakeup", wakeup), environment, sends_request=True
    )
    release = json.dumps(release_message("1", f"cold-{number}"))
    # Without emulators too, the intake creates a Firestore client.
    with_firestore = environment | {"SLIPWAY_STORE": "firestore"}
    intake_began, intake_times, _ = _run(
        recorder, _function("on_release", release), with_firestore, sends_request=False
    )
    if has_emulators and intake_times[3] != 200:
        raise RuntimeError(f"on_release responded to its event with {intake_times[3]:g}")
    return Round(
        plain_imported=plain_times[0] - began,
        plain_connected=plain_times[1] - began,
        plain_first_request=plain_request - began,
        reconciler_ready=reconciler_times[1] - reconciler_began,
        reconciler_first_request=reconciler_request - reconciler_began,
        intake_ready=intake_times[1] - intake_began,
        intake_responded=intake_times[2] - intake_began,
        intake_to_plain_cpu_time=intake_times[4] / plain_times[2],
    )


def _function(target: str, data: str) -> list[str]:
    topic = {"on_wakeup": "model-wakeups", "on_release": "model-releases"}[target]
    return [str(PROGRAMS / "function.py"), target, topic, data]


def _run(
    recorder: RequestRecorder,
    command: Sequence[str],
    environment: dict[str, str],
    *,
    sends_request: bool,
) -> tuple[float, list[float], float]:
    """When the program started, the numbers that it printed, and when its request arrived (0 if it
    sends none).
    """
    target = {"FUNCTION_TARGET": command[1]} if "function.py" in command[0] else {}
    recorder.reset()
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment | target,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        arrived = recorder.first() if sends_request else 0.0
        out = process.communicate(timeout=PATIENCE_SECONDS)[0]
    numbers = [line.split() for line in out.splitlines() if not line.startswith("{")]
    if not numbers:
        raise RuntimeError(f"{command[0]} printed no times")
    return began, [float(each) for each in numbers[-1]], arrived


def _reconciler_row(rounds: list[Round], store: str) -> Row:
    ratios = [each.reconciler_first_request / each.plain_first_request for each in rounds]
    how = (
        "on_wakeup, process start to its first Compute request (functions-framework app, one"
        f" wake-up, {store} read), over a program with the usual imports and one request; median of"
        f" {len(rounds)} pairs"
    )
    return row(
        "cold_start_ratio",
        median(ratios),
        how,
        store=store,
        ratios=_rounded(ratios),
        **_seconds(rounds, "reconciler_first_request", "reconciler_ready"),
        **_seconds(rounds, "plain_first_request", "plain_imported"),
    )


def _intake_row(rounds: list[Round], has_emulators: bool) -> Row:
    """Without emulators the event fails, so the time to respond is left out."""
    ratios = [each.intake_ready / each.plain_first_request for each in rounds]
    how = (
        "on_release, process start to ready for its event (imports, app, Firestore and Pub/Sub"
        f" clients), over the same program; median of {len(rounds)} pairs"
    )
    to_response = (
        round(median(each.intake_responded / each.plain_first_request for each in rounds), 3)
        if has_emulators
        else None
    )
    cpu_time_ratio = round(median(each.intake_to_plain_cpu_time for each in rounds), 3)
    to_clients = median(each.intake_ready / each.plain_connected for each in rounds)
    return row(
        "cold_start_intake_ratio",
        median(ratios),
        how,
        ratios=_rounded(ratios),
        ratio_to_plain_connected=round(to_clients, 3),
        ratio_to_first_response=to_response,
        cpu_time_ratio=cpu_time_ratio,
        **_seconds(rounds, "intake_ready", "intake_responded"),
        **_seconds(rounds, "plain_first_request", "plain_connected"),
    )


def _rounded(values: list[float]) -> list[float]:
    return [round(value, 3) for value in values]


def _seconds(rounds: list[Round], *names: str) -> dict[str, Any]:
    return {
        f"{name}_seconds": round(median(getattr(each, name) for each in rounds), 3)
        for name in names
    }
