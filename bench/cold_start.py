"""Measures cold starts in CPU time (user and system, all threads): from the start of a process to
its first request to Compute Engine (reconciler), and to being ready for an event (intake).

Each function is compared with `programs/plain.py`, which imports what functions usually import. The
programs alternate, so that other work on the machine affects all alike; the value is the median of
the rounds' ratios. All run on compiled modules (the first round, which compiles them, does not
count), without a running server or a warm connection.

    reconciler  start ── imports, app, clients ── event posted ── model loaded ──> first request
    intake      start ── imports, app, clients, ready ──> (event posted, responded)
    plain       start ── imports, clients ───────────────────────────────────────> first request

The reconciler's time includes the Firestore read before its first request. The intake's time ends
when its clients exist; its first event builds the validators of messages. The details have the time
until each has responded to its event, and of the whole processes: of the reconciler that is one
pass, to which Compute Engine answers 503.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from statistics import median

from bench.results import Row, row
from bench.setting import MODEL, ROOT, Setting, clean_environment, no_compute, release_message
from infra.wiring import RealClock

PROGRAMS = ROOT / "bench" / "programs"
PATIENCE_SECONDS = 60


class RequestRecorder:
    """An HTTP server in place of Compute Engine. Responds with 503 and records the CPU time that
    the watched process has taken when its first request arrives.
    """

    def __init__(self) -> None:
        self._arrived = threading.Event()
        self._process, self._first = 0, 0.0
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
            self._first = time.clock_gettime(_cpu_clock_of(self._process))
            self._arrived.set()

    def watch(self, process: int) -> None:
        """The first request from now on is one of this process."""
        self._process = process
        self._arrived.clear()

    def first(self) -> float:
        """The CPU time of the watched process at its first request; waits for it."""
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


def _cpu_clock_of(process: int) -> int:
    """The clock of a process's CPU time, as clock_getcpuclockid(3) finds it on Linux."""
    return (~process << 3) | 2


@dataclass(frozen=True)
class Run:
    """One run of a program, in seconds of its CPU time. `numbers`: what it printed."""

    first_request: float
    whole: float
    numbers: tuple[float, ...]


@dataclass(frozen=True)
class Round:
    """One run of all three programs."""

    plain: Run
    reconciler: Run
    intake: Run


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
    plain = _run(recorder, [str(PROGRAMS / "plain.py"), recorder.url], environment)
    wakeup = json.dumps({"model": MODEL})
    reconciler = _run(recorder, _function("on_wakeup", wakeup), environment)
    release = json.dumps(release_message("1", f"cold-{number}"))
    # Without emulators too, the intake creates a Firestore client.
    with_firestore = environment | {"SLIPWAY_STORE": "firestore"}
    intake = _run(recorder, _function("on_release", release), with_firestore, sends_request=False)
    if has_emulators and intake.numbers[2] != 200:
        raise RuntimeError(f"on_release responded to its event with {intake.numbers[2]:g}")
    return Round(plain, reconciler, intake)


def _function(target: str, data: str) -> list[str]:
    topic = {"on_wakeup": "model-wakeups", "on_release": "model-releases"}[target]
    return [str(PROGRAMS / "function.py"), target, topic, data]


def _run(
    recorder: RequestRecorder,
    command: Sequence[str],
    environment: dict[str, str],
    *,
    sends_request: bool = True,
) -> Run:
    target = {"FUNCTION_TARGET": command[1]} if "function.py" in command[0] else {}
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment | target,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        recorder.watch(process.pid)
        arrived = recorder.first() if sends_request else 0.0
        assert process.stdout is not None
        out = process.stdout.read()
        used = os.wait4(process.pid, 0)[2]
        process.returncode = 0
    numbers = [line.split() for line in out.splitlines() if not line.startswith("{")]
    if not numbers:
        raise RuntimeError(f"{command[0]} printed no times")
    whole = used.ru_utime + used.ru_stime
    return Run(arrived, whole, tuple(float(each) for each in numbers[-1]))


def _reconciler_row(rounds: list[Round], store: str) -> Row:
    ratios = [each.reconciler.first_request / each.plain.first_request for each in rounds]
    how = (
        "on_wakeup, CPU time from process start to its first Compute request (functions-framework"
        f" app, one wake-up, {store} read), over a program with the usual imports and one request;"
        f" median of {len(rounds)} pairs"
    )
    return row(
        "cold_start_ratio",
        median(ratios),
        how,
        store=store,
        ratios=_rounded(ratios),
        ratio_of_whole_processes=_median(
            each.reconciler.whole / each.plain.whole for each in rounds
        ),
        reconciler_ready_seconds=_median(each.reconciler.numbers[0] for each in rounds),
        reconciler_first_request_seconds=_median(each.reconciler.first_request for each in rounds),
        reconciler_whole_seconds=_median(each.reconciler.whole for each in rounds),
        plain_imported_seconds=_median(each.plain.numbers[0] for each in rounds),
        plain_first_request_seconds=_median(each.plain.first_request for each in rounds),
        plain_whole_seconds=_median(each.plain.whole for each in rounds),
    )


def _intake_row(rounds: list[Round], has_emulators: bool) -> Row:
    """Without emulators the event fails, so the time to respond is left out."""
    ratios = [each.intake.numbers[0] / each.plain.first_request for each in rounds]
    how = (
        "on_release, CPU time from process start to ready for its event (imports, app, Firestore"
        f" and Pub/Sub clients), over the same program; median of {len(rounds)} pairs"
    )
    responded = {
        "ratio_to_first_response": _median(
            each.intake.numbers[1] / each.plain.first_request for each in rounds
        ),
        "intake_responded_seconds": _median(each.intake.numbers[1] for each in rounds),
    }
    return row(
        "cold_start_intake_ratio",
        median(ratios),
        how,
        ratios=_rounded(ratios),
        **(responded if has_emulators else {}),
        intake_ready_seconds=_median(each.intake.numbers[0] for each in rounds),
        plain_first_request_seconds=_median(each.plain.first_request for each in rounds),
    )


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(value, 3) for value in values]


def _median(values: Iterable[float]) -> float:
    return round(median(values), 3)
