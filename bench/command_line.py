"""Measures the CPU time of `slipway status` over 1,000 models, as a process."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.results import Row, row
from bench.setting import ROOT, clean_environment
from infra.store.port import Put
from infra.store.sqlite import SqliteStore
from tests.scenario import Scenario

MODELS, RUNS = 1000, 5


def measure() -> tuple[Row, ...]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "store.sqlite"
        _fill(path)
        seconds = [_cpu_seconds(path) for _ in range(RUNS)]
    how = f"user and system time of the process, {MODELS} models in a rollout, embedded store;"
    middle = statistics.median(seconds)
    return (row("status_1000_models_cpu_s", middle, f"{how} median of {RUNS}", seconds=seconds),)


def _fill(path: Path) -> None:
    """All models are in the same rollout."""
    scenario = Scenario()
    scenario.given_serving("1", rollout={"bake_seconds": 0})
    scenario.when_released("2")
    document = scenario.store.get("models/tiny")
    assert document
    store = SqliteStore(path)
    for number in range(MODELS):
        name = f"model-{number:04}"
        store.commit(Put(f"models/{name}", document.data | {"model": name}))
    store.close()


def _cpu_seconds(path: Path) -> float:
    command = [sys.executable, "-m", "console", "status", "--project", "bench"]
    environment = clean_environment() | {"SLIPWAY_STORE": f"sqlite:{path}"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    assert ended.stdout.count("\nmodel-") == MODELS
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return round(spent, 3)
