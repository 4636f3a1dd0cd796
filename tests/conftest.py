"""Google's emulators, the order of tests, and what the end of a run reports.

An emulator starts when the first test needs it, is shared by all workers, and stops with the run.
Where it is not installed, its tests are skipped and the end of the run says so; with CI=true they
fail. Each test uses its own project (`project`), because emulators keep projects apart.

Tests run in random order (pytest-randomly). `-p no:randomly` turns that off.
"""

from __future__ import annotations

import fcntl
import gc
import json
import logging
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from local.emulators import Emulator, EmulatorError, Kind, missing, start, stop
from tests.pages import use_large_pages
from tests.run_folder import RUN_FOLDER
from tests.tools import is_ci, leave_out

# A property of a test: how many schedules it simulated, with how many rollouts, in how many seconds
# of CPU time.
SIMULATED = "simulated"
WIDE = "wide"
LONG = (
    "tests/deploy/test_whole_run.py",
    "tests/assurance/simulation/",
    "emulator/tests/test_ansible.py",
    "emulator/tests/test_node.py",
)
GROUPS = {
    "emulator/tests/test_ansible.py": "ansible",
    "emulator/tests/test_package.py": "package",
    "tests/emulators/": "waiting",
    "tests/infra/test_bus_contract.py": "waiting",
    "tests/infra/test_prometheus.py": "waiting",
    "tests/journeys/test_real_prometheus.py": "waiting",
    "tests/local/test_demo.py": "waiting",
    "tests/local/test_stack": "waiting",
    "tests/test_prometheus_discovery.py": "waiting",
}
"""Tests that one worker runs: because they share what they install, or because they mostly wait,
for other programs or for real time to pass, while the other workers have the cores.
"""
_started: list[Emulator] = []

if not is_ci():  # Hypothesis's own CI profile has no deadlines either.
    from hypothesis import HealthCheck, settings

    settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("busy")


@pytest.fixture(scope="session")
def pubsub_emulator() -> str:
    """The emulator's `host:port`."""
    return _shared("pubsub")


@pytest.fixture(scope="session")
def firestore_emulator() -> str:
    """The emulator's `host:port`."""
    return _shared("firestore")


@pytest.fixture
def project() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


def pytest_configure(config: pytest.Config) -> None:
    gc.disable()  # until everything is imported
    if not _is_worker(config):
        os.environ[RUN_FOLDER] = mkdtemp(prefix="slipway-tests-")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves out the modules without tests of the wide tier in a run of that tier: importing them
    takes several seconds.
    """
    is_module = collection_path.suffix == ".py"
    is_left_out = (
        is_module and config.getoption("markexpr") == WIDE and not _is_wide(collection_path)
    )
    return is_left_out or None


class Groups(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Sends each group to one worker, the largest first, and every other test to any worker. It
    replaces xdist's marker `xdist_group`, which has no effect with pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        return next((name for path, name in GROUPS.items() if nodeid.startswith(path)), nodeid)


@pytest.hookimpl(optionalhook=True)  # without xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups | None:
    return Groups(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Starts long tests first, so that no worker has to finish one alone. Keeps their random
    order.
    """
    hidden = {item.path for item in items if item.get_closest_marker(WIDE)}
    if hidden := {path for path in hidden if not _is_wide(path)}:
        raise pytest.UsageError(f"`make test-wide` would not find the tests marked in {hidden}")
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


def pytest_collection_finish() -> None:
    gc.freeze()  # what is imported stays
    gc.enable()
    use_large_pages()


def pytest_unconfigure(config: pytest.Config) -> None:
    if _is_worker(config):
        return
    folder = Path(os.environ.pop(RUN_FOLDER))
    for path in folder.glob("*.json"):
        record = json.loads(path.read_text())
        if "address" in record:
            ours = (each for each in _started if each.group == record["group"])
            stop(next(ours, None) or Emulator(**record))
    shutil.rmtree(folder, ignore_errors=True)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    counts = Counter(_reason(report) for report in skipped)
    if counts:
        terminalreporter.section("TESTS THAT DID NOT RUN", sep="!", red=True, bold=True)
        for reason, count in counts.items():
            terminalreporter.line(f"{count}: {reason}", red=True)
    _report_simulation(terminalreporter)
    if config.pluginmanager.has_plugin("randomly"):
        seed = config.getoption("randomly_seed")
        terminalreporter.line(f"random order: repeat it with --randomly-seed={seed}")


@cache
def _is_wide(path: Path) -> bool:
    """Whether a module of tests names the marker of the wide tier."""
    return f"pytest.mark.{WIDE}" in path.read_text()


def _reason(report: pytest.TestReport) -> str:
    """Why a test was skipped. pytest reports a skip as (path, line, `Skipped: reason`)."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def _report_simulation(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
    ]
    simulated = [
        value for report in reports for name, value in report.user_properties if name == SIMULATED
    ]
    if simulated:
        schedules, rollouts, seconds = (sum(column) for column in zip(*simulated, strict=True))
        speed = f"{schedules / seconds:.1f} schedules and {rollouts / seconds:.1f} rollouts"
        terminalreporter.line(
            f"simulation: {schedules:,} schedules in {seconds:,.0f} s of CPU time, {speed} a second"
        )


def _shared(kind: Kind) -> str:
    """The address of this run's emulator. The first worker that needs it starts it, under a lock,
    and records its address for the others.
    """
    if why := missing(kind):
        leave_out(why)
    folder = Path(os.environ[RUN_FOLDER])
    path = folder / f"{kind}.json"
    with (folder / f"{kind}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            path.write_text(json.dumps(_start(kind, folder / kind)))
    record = json.loads(path.read_text())
    if "error" in record:
        pytest.fail(record["error"])
    return str(record["address"])


def _start(kind: Kind, folder: Path) -> dict[str, object]:
    try:
        emulator = start(kind, folder)
    except EmulatorError as error:
        return {"error": str(error)}
    _started.append(emulator)
    return {"kind": emulator.kind, "address": emulator.address, "group": emulator.group}


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


class Records(logging.Handler):
    """Keeps every record of Slipway's logger, whatever other tests did to its handlers."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.all: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.all.append(record)


@pytest.fixture
def log_records() -> Iterator[list[logging.LogRecord]]:
    """What Slipway logs from now on."""
    logger, records = logging.getLogger("slipway"), Records()
    level = logger.level
    logger.addHandler(records)
    logger.setLevel(logging.INFO)
    yield records.all
    logger.removeHandler(records)
    logger.setLevel(level)
