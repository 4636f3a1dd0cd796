"""Compares Slipway with a gcloud script: the same first provision and the same swap, against the
same emulator.

Both create the same resources with six instances and swap them in the same three steps. Instances
and operations behave the same, over HTTP, in real time. Slipway runs as in `make demo`: a release
is published to Pub/Sub, and the deployed functions do the rest. The script is `by_gcloud.sh`. The
two provisions, which need CPU time, run one after the other; the two swaps, which mostly wait, run
in parallel.

    Slipway   release published ──> the model is settled: healthy, autoscaler on, nothing to change
    gcloud    script started    ──> it ends: group stable, version reached, all instances healthy

Each clock stops when its side knows that it is done. The details contain when all instances were
ready, observed from outside in the same way for both.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.results import Row, row
from bench.setting import IMAGE, MODEL, PROJECT, ROOT, clean_environment, release_message
from compute_emulator import Emulator, RealClock
from infra.fleet.resources.instance_template import user_data
from infra.store import repository
from local.stack import Stack

SCRIPT = ROOT / "bench" / "by_gcloud.sh"
OPERATION_SECONDS = 1.0
BEHAVIOUR = {
    "boot_seconds": 5.0,
    "ready_after_seconds": 3.0,
    "drain_seconds": 0.0,
    "delete_seconds": 5.0,
}
SIZE, MOST = 6, 10
PATIENCE_SECONDS = 300.0
MISSING = "not measured: gcloud is not installed"


@dataclass(frozen=True)
class Done:
    """One job of one side: seconds until it knew that it was done, seconds until all instances were
    ready, calls by method, and how many of them were changes.
    """

    seconds: float
    ready_after: float
    calls: Counter[str]
    changes: int


class Witness:
    """Observes the emulator's instances, to find when all are ready and on one new template."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator, self._template = emulator, ""

    @contextmanager
    def watching(self) -> Iterator[Callable[[], float]]:
        began, ready, ended = time.monotonic(), [0.0], threading.Event()

        def watch() -> None:
            while not ended.is_set():
                if found := self._is_ready():
                    self._template, ready[0] = found, time.monotonic() - began
                    return
                ended.wait(0.1)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield lambda: ready[0]
        finally:
            ended.set()
            thread.join()

    def _is_ready(self) -> str:
        instances = self._emulator.instances(group=f"slipway-{MODEL}-blue")
        templates = {each["template"] for each in instances}
        is_ready = len(instances) == SIZE and all(
            each["ready"] and each["action"] == "NONE" for each in instances
        )
        return (
            templates.pop()
            if is_ready and len(templates) == 1 and self._template not in templates
            else ""
        )


def measure() -> tuple[Row, Row]:
    """The rows of the provision and of the swap."""
    if shutil.which("gcloud") is None:
        return row("provision_vs_gcloud", None, MISSING), row("swap_vs_gcloud", None, MISSING)
    with _slipway() as (ours, backend), _gcloud() as theirs:
        made = ours("1"), theirs("provision", "1")
        with ThreadPoolExecutor(2) as pool:
            swapping = pool.submit(ours, "2"), pool.submit(theirs, "swap", "1", "2")
            swapped = swapping[0].result(), swapping[1].result()
    provision = _row("provision_vs_gcloud", "first provision", *made, backend)
    return provision, _row("swap_vs_gcloud", "swap in three steps", *swapped, backend)


def _row(name: str, what: str, ours: Done, theirs: Done, backend: str) -> Row:
    boot, ready = BEHAVIOUR["boot_seconds"], BEHAVIOUR["ready_after_seconds"]
    how = (
        f"{what} of {SIZE} instances, wall time of Slipway ({ours.seconds:.1f} s,"
        f" {ours.calls.total()} calls) over that of a gcloud script ({theirs.seconds:.1f} s,"
        f" {theirs.calls.total()} calls); {OPERATION_SECONDS:g} s an operation, {boot:g} s to boot,"
        f" {ready:g} s more to be ready, real time, {backend}"
    )
    return row(
        name,
        ours.seconds / theirs.seconds,
        how,
        backend=backend,
        slipway=_details(ours),
        gcloud=_details(theirs),
    )


def _details(done: Done) -> dict[str, Any]:
    return {
        "seconds": round(done.seconds, 1),
        "instances_ready_after_seconds": round(done.ready_after, 1),
        "calls": done.calls.total(),
        "changes": done.changes,
        "by_method": dict(sorted(done.calls.items())),
    }


def _timed(emulator: Emulator, witness: Witness, job: Callable[[], None]) -> Done:
    emulator.calls.clear()
    began = time.monotonic()
    with witness.watching() as ready_after:
        job()
        seconds = time.monotonic() - began
    with emulator.paused():
        calls, changes = dict(emulator.calls.counts), emulator.calls.mutations
    named = Counter({name.removeprefix("compute."): count for name, count in calls.items()})
    return Done(seconds, ready_after() or seconds, named, changes)


# ---- Slipway


@contextmanager
def _slipway() -> Iterator[tuple[Callable[[str], Done], str]]:
    """A function that publishes a version and waits for it, and the stack's backend."""
    with Stack(speed=1) as stack:
        stack.emulator.operation_seconds = OPERATION_SECONDS
        stack.emulator.set_behaviours([BEHAVIOUR])
        witness = Witness(stack.emulator)

        def publish_and_wait(version: str) -> None:
            stack.publish("model-releases", release_message(version))
            _until_settled(stack, version)

        try:
            yield (
                lambda version: _timed(stack.emulator, witness, lambda: publish_and_wait(version)),
                stack.backend,
            )
        except Exception:
            stack.keeps_logs = True
            raise


def _until_settled(stack: Stack, version: str) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        document = stack.store.get(repository.release_path(MODEL, version))
        if document and document.data.get("outcome"):
            if document.data["outcome"] != "succeeded":
                raise RuntimeError(
                    f"release {version}: {document.data['outcome']}: {document.data.get('why')}"
                )
            model = stack.store.get(repository.model_path(MODEL))
            if model and model.data.get("requeue_at") is None:
                return
        time.sleep(0.1)
    raise RuntimeError(
        f"release {version} is not settled after {PATIENCE_SECONDS:g} s; logs: {stack.folder}"
    )


# ---- gcloud


@contextmanager
def _gcloud() -> Iterator[Callable[..., Done]]:
    """A function that runs the script, with its own emulator."""
    emulator = Emulator(PROJECT, RealClock(), operation_seconds=OPERATION_SECONDS)
    emulator.set_behaviours([BEHAVIOUR])
    witness = Witness(emulator)
    with emulator.serve() as server, TemporaryDirectory(prefix="slipway-bench-") as folder:
        environment = _gcloud_environment(server.url, Path(folder))
        yield lambda *arguments: _timed(emulator, witness, lambda: _script(environment, *arguments))


def _script(environment: dict[str, str], *arguments: str) -> None:
    done = subprocess.run(
        ["bash", str(SCRIPT), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"by_gcloud.sh {' '.join(arguments)} failed:\n{done.stderr[-2000:]}")


def _gcloud_environment(url: str, folder: Path) -> dict[str, str]:
    """Keeps gcloud from prompting, reporting usage, and using the user's configuration."""
    script = folder / "user-data.yaml"
    script.write_text(user_data())
    return clean_environment() | {
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": f"{url}/compute/v1/",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_PROJECT": PROJECT,
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
        "CLOUDSDK_CONFIG": str(folder / "gcloud"),
        "MODEL": MODEL,
        "SIZE": str(SIZE),
        "MOST": str(MOST),
        "IMAGE": IMAGE,
        "USER_DATA": str(script),
    }
