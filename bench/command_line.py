"""Measures `slipway status` over 1,000 models and `slipway plan`, as processes, and a page of the
dashboard.
"""

from __future__ import annotations

import itertools
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from wsgiref.util import setup_testing_defaults

from bench.results import Row, row
from bench.setting import PROJECT, ROOT, clean_environment, release_message
from console.connect import Connection
from console.dashboard.app import App
from console.dashboard.sources import READS_A_SECOND, Sources
from infra.store.firestore import FirestoreStore
from infra.store.port import Put, Store
from infra.store.sqlite import SqliteStore
from infra.wiring import RealClock, World
from local import emulators
from tests.scenario import Scenario

MODELS, RUNS = 1000, 5
A_COMMIT = 50
MODEL = "model-0500"
DIFFERS = 2  # the exit status of a plan that would change something
PAGES = ("/", f"/models/{MODEL}")


def measure() -> tuple[Row, ...]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "store.sqlite"
        store = SqliteStore(path)
        _fill(store)
        store.close()
        seconds = [_status_seconds(path) for _ in range(RUNS)]
        pages = _page_seconds(path)
        plans = _plan_seconds(Path(folder))
    how = f"user and system time of the process, {MODELS} models in a rollout, embedded store;"
    middle = statistics.median(seconds)
    slowest = {page: round(1000 * statistics.median(each)) for page, each in pages.items()}
    about = (
        f"CPU time of the slowest of the list of {MODELS} models and a model, each as the first"
        " page of a process and later, when the list is read anew; embedded store, median of"
        f" {RUNS}"
    )
    return (
        row("status_1000_models_cpu_s", middle, f"{how} median of {RUNS}", seconds=seconds),
        row(
            "plan_cpu_s",
            statistics.median(plans),
            "user and system time of the process, a rolling update of a model that serves, the"
            f" emulator by HTTP in another process, embedded store; median of {RUNS}",
            seconds=plans,
        ),
        row("page_1000_models_ms", max(slowest.values()), about, ms=slowest),
        _firestore_row(),
    )


def _fill(store: Store) -> None:
    """All models are in the same rollout; one has its log and its releases."""
    scenario = Scenario()
    scenario.given_serving("1", rollout={"bake_seconds": 0})
    scenario.when_released("2")
    document = scenario.store.get("models/tiny")
    assert document
    names = [f"model-{number:04}" for number in range(MODELS)]
    for start in range(0, MODELS, A_COMMIT):
        part = names[start : start + A_COMMIT]
        store.commit(*(Put(f"models/{name}", document.data | {"model": name}) for name in part))
    for collection in ("log", "releases"):
        for each in scenario.store.list(f"models/tiny/{collection}", MODELS):
            key = each.path.rpartition("/")[2]
            store.commit(Put(f"models/{MODEL}/{collection}/{key}", each.data | {"model": MODEL}))


def _status_seconds(path: Path) -> float:
    seconds, printed = _cpu_seconds({"SLIPWAY_STORE": f"sqlite:{path}"}, "status")
    assert printed.count("\nmodel-") == MODELS
    return seconds


def _plan_seconds(folder: Path) -> list[float]:
    """The first run, which compiles modules, does not count."""
    scenario = Scenario()
    scenario.given_serving("1")
    store = SqliteStore(folder / "planned.sqlite")
    for collection in ("settings", "models", "models/tiny/log", "models/tiny/releases"):
        store.commit(*(Put(each.path, each.data) for each in scenario.store.list(collection, 1000)))
    store.close()
    event = folder / "event.json"
    event.write_text(json.dumps(release_message("2", "tiny")))
    with scenario.emulator.serve() as server:
        environment = {
            "SLIPWAY_STORE": f"sqlite:{folder}/planned.sqlite",
            "SLIPWAY_COMPUTE_ENDPOINT": server.url,
            "SLIPWAY_REGISTRY": "emulated",
        }
        found = [
            _cpu_seconds(environment, "plan", str(event), status=DIFFERS) for _ in range(RUNS + 1)
        ]
    assert all(" 2 of tiny" in printed and "STEP" in printed for _, printed in found), found[0]
    return [seconds for seconds, _ in found[1:]]


def _cpu_seconds(
    environment: dict[str, str], command: str, *arguments: str, status: int = 0
) -> tuple[float, str]:
    """User and system time of the process, and what it printed."""
    program = [sys.executable, "-m", "console", command, *arguments, "--project", PROJECT]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(
        program,
        cwd=ROOT,
        env=clean_environment() | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert ended.returncode == status, ended.stderr
    spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return round(spent, 3), ended.stdout


def _page_seconds(path: Path) -> dict[str, list[float]]:
    """The CPU time of each page as the first one, and when the list is due to be read anew."""
    found: dict[str, list[float]] = {}
    for page in PAGES * RUNS:
        times = itertools.count(step=2 * MODELS / READS_A_SECOND)
        app = _app(SqliteStore(path), times.__next__)
        for which in (f"first {page}", page):
            taken, body = _timed(app, page)
            assert MODEL in body.decode() or page == "/"
            found.setdefault(which, []).append(taken)
    return found


def _firestore_row() -> Row:
    """The emulator, a Java program, takes seconds for 1,000 documents: what counts here is what the
    dashboard does with them.
    """
    name = "page_firestore_cpu_ms"
    if why := emulators.missing("firestore"):
        return row(name, None, why)
    with emulators.running("firestore") as addresses:
        store = FirestoreStore("bench", emulator=addresses["firestore"], timeout_seconds=60)
        _fill(store)
        found = []
        for _ in range(RUNS):
            app, began = _app(store, time.monotonic), time.process_time()
            _timed(app, "/")
            found.append(round(1000 * (time.process_time() - began)))
    how = (
        f"CPU time of the first page of a process that is connected, {MODELS} models in Firestore's"
        f" emulator; median of {RUNS}"
    )
    return row(name, statistics.median(found), how, ms=found)


def _app(store: Store, timer: Callable[[], float]) -> App:
    world = World(RealClock(), lambda: store, _nothing, _nothing)
    return App(Sources(Connection(world, "bench", "project bench", timer=timer)), None)


def _timed(app: App, path: str) -> tuple[float, bytes]:
    environ: dict[str, Any] = {"SCRIPT_NAME": "", "PATH_INFO": path}
    setup_testing_defaults(environ)
    statuses: list[str] = []
    before = time.process_time()
    body = b"".join(app(environ, lambda status, headers: statuses.append(status)))  # type: ignore[arg-type]
    taken = time.process_time() - before
    assert statuses == ["200 OK"]
    return taken, body


def _nothing() -> Any:
    raise AssertionError("pages need only the store")
