"""Measures `slipway status` over 1,000 models and `slipway plan`, as processes, and a page of the
dashboard.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from wsgiref.util import setup_testing_defaults

from bench.results import Row, row
from bench.setting import PROJECT, ROOT, clean_environment, release_message
from console.connect import Connection
from console.dashboard.app import App
from console.dashboard.sources import FRESH_SECONDS, Sources
from infra.store.port import Put
from infra.store.sqlite import SqliteStore
from infra.wiring import RealClock, World
from tests.scenario import Scenario

MODELS, RUNS = 1000, 5
MODEL = "model-0500"
DIFFERS = 2  # the exit status of a plan that would change something
PAGES = ("/", f"/models/{MODEL}")


def measure() -> tuple[Row, ...]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "store.sqlite"
        _fill(path)
        seconds = [_status_seconds(path) for _ in range(RUNS)]
        first, pages = _page_seconds(path)
        plans = _plan_seconds(Path(folder))
    how = f"user and system time of the process, {MODELS} models in a rollout, embedded store;"
    middle = statistics.median(seconds)
    slowest = {page: round(1000 * statistics.median(each)) for page, each in pages.items()}
    about = (
        f"the slower of the list of {MODELS} models and a model, median of {RUNS}, while the list"
        f" is read anew in the background; the first page takes {first:.1f} s"
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
    )


def _fill(path: Path) -> None:
    """All models are in the same rollout; one has its log and its releases."""
    scenario = Scenario()
    scenario.given_serving("1", rollout={"bake_seconds": 0})
    scenario.when_released("2")
    document = scenario.store.get("models/tiny")
    assert document
    store = SqliteStore(path)
    for number in range(MODELS):
        name = f"model-{number:04}"
        store.commit(Put(f"models/{name}", document.data | {"model": name}))
    for collection in ("log", "releases"):
        for each in scenario.store.list(f"models/tiny/{collection}", MODELS):
            key = each.path.rpartition("/")[2]
            store.commit(Put(f"models/{MODEL}/{collection}/{key}", each.data | {"model": MODEL}))
    store.close()


def _status_seconds(path: Path) -> float:
    seconds, printed = _cpu_seconds({"SLIPWAY_STORE": f"sqlite:{path}"}, "status")
    assert printed.count("\nmodel-") == MODELS
    return seconds


def _plan_seconds(folder: Path) -> list[float]:
    """The first run, which compiles modules, does not count."""
    scenario = Scenario()
    scenario.given_serving("1")
    store = SqliteStore(folder / "planned.sqlite")
    for collection in ("models", "models/tiny/log", "models/tiny/releases"):
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


def _page_seconds(path: Path) -> tuple[float, dict[str, list[float]]]:
    """The wall time of the first page, and of each page afterwards: each is asked for when the list
    is due to be read anew.
    """
    seconds = [0.0]
    store = SqliteStore(path)
    world = World(RealClock(), lambda: store, _nothing, _nothing)
    connection = Connection(world, "bench", "project bench", timer=lambda: seconds[0])
    app = App(Sources(connection), None)
    (first, _), found = _timed(app, "/"), dict[str, list[float]]()
    for page in PAGES * RUNS:
        seconds[0] += FRESH_SECONDS
        taken, body = _timed(app, page)
        assert MODEL in body.decode() or page == "/"
        found.setdefault(page, []).append(taken)
    return first, found


def _timed(app: App, path: str) -> tuple[float, bytes]:
    environ: dict[str, Any] = {"SCRIPT_NAME": "", "PATH_INFO": path}
    setup_testing_defaults(environ)
    statuses: list[str] = []
    before = time.perf_counter()
    body = b"".join(app(environ, lambda status, headers: statuses.append(status)))  # type: ignore[arg-type]
    taken = time.perf_counter() - before
    assert statuses == ["200 OK"]
    return taken, body


def _nothing() -> Any:
    raise AssertionError("pages need only the store")
