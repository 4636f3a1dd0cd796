"""Google's emulators for the tests that need them: started when first asked for, once for all
workers, stopped when the run ends.

Where an emulator is not installed its tests are skipped and the end of the run says so; with
CI=true they fail instead, so that nothing goes untested where it counts. Each test takes a project
of its own (`project`): emulators keep projects apart."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import uuid
from collections import Counter
from pathlib import Path
from tempfile import mkdtemp

import pytest

from local.emulators import Emulator, EmulatorError, Kind, missing, start, stop
from tests.pages import use_large_pages

RUN_FOLDER = "SLIPWAY_TEST_RUN"  # shared by the workers of one run; they inherit the variable
NOT_RUN = "NOT RUN, no emulator: "
SIMULATED = (  # a test's property: how many schedules it ran, with how many rollouts, in how many seconds of a processor
    "simulated"
)
_started: list[Emulator] = []


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
    if not _is_worker(config):
        os.environ[RUN_FOLDER] = mkdtemp(prefix="slipway-tests-")


def pytest_collection_finish() -> None:
    use_large_pages()


def pytest_unconfigure(config: pytest.Config) -> None:
    if _is_worker(config):
        return
    folder = Path(os.environ.pop(RUN_FOLDER))
    for record in folder.glob("*.json"):
        told = json.loads(record.read_text())
        if "address" in told:
            stop(next((one for one in _started if one.group == told["group"]), Emulator(**told)))
    shutil.rmtree(folder, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    counts = Counter(
        reason.partition(NOT_RUN)[2].rstrip("')") for reason in reasons if NOT_RUN in reason
    )
    if counts:
        terminalreporter.section("TESTS THAT WERE NOT RUN", sep="!", red=True, bold=True)
        for reason, count in counts.items():
            terminalreporter.line(f"{count} tests: {reason}", red=True)
    _tell_speed(terminalreporter)


def _tell_speed(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
    ]
    told = [
        value for report in reports for name, value in report.user_properties if name == SIMULATED
    ]
    if told:
        ran, rollouts, seconds = (sum(column) for column in zip(*told, strict=True))
        speed = f"{ran / seconds:.1f} schedules, {rollouts / seconds:.1f} rollouts a second"
        terminalreporter.line(
            f"simulation: {ran:,} schedules in {seconds:,.0f} s of a processor's time, {speed}"
        )


def _shared(kind: Kind) -> str:
    """The address of this run's emulator. The first worker that asks starts it, under a lock, and
    leaves a note for others."""
    if why := missing(kind):
        (
            pytest.fail(f"with CI=true every emulator must be there: {why}")
            if _in_ci()
            else pytest.skip(NOT_RUN + why)
        )
    folder = Path(os.environ[RUN_FOLDER])
    note = folder / f"{kind}.json"
    with (folder / f"{kind}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not note.exists():
            note.write_text(json.dumps(_start(kind, folder / kind)))
    told = json.loads(note.read_text())
    if "error" in told:
        pytest.fail(told["error"])
    return str(told["address"])


def _start(kind: Kind, folder: Path) -> dict[str, object]:
    try:
        emulator = start(kind, folder)
    except EmulatorError as error:
        return {"error": str(error)}
    _started.append(emulator)
    return {"kind": emulator.kind, "address": emulator.address, "group": emulator.group}


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() in ("true", "1")
