"""Measures the peak memory of a function instance after its first pass, a first provision.

The function runs as deployed (`python -m functions_framework`, which starts gunicorn with one
worker) over real HTTP and gRPC; time passes faster, which does not change the memory. The value is
the worker's peak resident memory as the kernel counts it (`VmHWM`). The memory of all processes,
including gunicorn's arbiter, is in the details.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.results import Row, row
from bench.setting import (
    MODEL,
    PROJECT,
    ROOT,
    Setting,
    clean_environment,
    no_compute,
    push_of,
    release_message,
)
from compute_emulator import Emulator, ScaledClock
from infra.wiring import RealClock
from local.processes import answers, free_port

SPEED = 20.0
PATIENCE_SECONDS = 60.0


def measure(setting: Setting) -> Row:
    if not Path("/proc/self/smaps_rollup").exists():
        return row(
            "memory_mib",
            None,
            "not measured: this system has no /proc",
        )
    if not setting.has_emulators:
        return row(
            "memory_mib",
            None,
            "not measured: the emulators of Firestore and Pub/Sub are not installed",
        )
    model = f"{MODEL}-memory"
    setting.accept(setting.world(RealClock(), no_compute), release_message("1", model))
    epoch = time.time()
    emulator = Emulator(PROJECT, ScaledClock(SPEED, epoch, epoch), operation_seconds=1)
    with emulator.serve() as server:
        where = {
            "SLIPWAY_COMPUTE_ENDPOINT": server.url,
            "SLIPWAY_CLOCK": f"scaled:{SPEED:g}:{epoch}",
        }
        with served("on_wakeup", clean_environment() | setting.environment | where) as (
            process,
            url,
        ):
            before = max(peak_kib(each) for each in family(process.pid))
            status = post(url, "model-wakeups", {"model": model})
            if status != 200 or not emulator.calls.mutations:
                raise RuntimeError(
                    f"the pass responded with {status} after {emulator.calls.mutations} changes"
                )
            processes = family(process.pid)
            peak = max(peak_kib(each) for each in processes)
            total = sum(_kib(Path(f"/proc/{each}/smaps_rollup"), "Pss:") for each in processes)
    how = (
        "peak resident memory (VmHWM) of on_wakeup's worker under functions-framework, after a"
        f" first provision; {setting.kind}"
    )
    return row(
        "memory_mib",
        peak / 1024,
        how,
        store=setting.kind,
        before_the_first_event_mib=round(before / 1024, 1),
        all_processes_of_the_instance_mib=round(total / 1024, 1),
        processes=len(processes),
        calls=emulator.calls.counts.total(),
    )


@contextmanager
def served(
    target: str, environment: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Runs a function as deployed, on loopback, for the duration of the block."""
    port = free_port()
    where = (
        "--source",
        str(ROOT / "main.py"),
        "--target",
        target,
        "--signature-type",
        "cloudevent",
    )
    command = (
        sys.executable,
        "-m",
        "functions_framework",
        *where,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    )
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment | {"FUNCTION_TARGET": target},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + PATIENCE_SECONDS
        while not answers(port, "/robots.txt"):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"function {target} did not start")
            time.sleep(0.01)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def post(url: str, topic: str, body: object) -> int:
    """Pushes a message like Pub/Sub and returns the response's status."""
    request = urllib.request.Request(
        f"{url}/projects/{PROJECT}/topics/{topic}",
        json.dumps(push_of(topic, body)).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
        return int(answer.status)


def family(pid: int) -> list[int]:
    """The process and its children: gunicorn's arbiter and its worker."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in family(int(child)))]


def peak_kib(pid: int) -> int:
    return _kib(Path(f"/proc/{pid}/status"), "VmHWM:")


def _kib(file: Path, name: str) -> int:
    return next(
        int(line.split()[1]) for line in file.read_text().splitlines() if line.startswith(name)
    )
