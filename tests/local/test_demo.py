"""The demo as a process: its exit status, its output and its files."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from local.processes import answers
from local.stack import FUNCTIONS

ROOT = Path(__file__).resolve().parents[2]
FAST = ("--embedded", "--speed", "80")


def demo(folder: Path, *arguments: str, before: str = "pass") -> subprocess.Popen[str]:
    """Starts the demo. `before` is code that runs first and may change `demo` and `story`."""
    files = ("--json-report", str(folder / "report.json"), "--picture", str(folder / "picture.svg"))
    code = (
        f"import sys; from local import demo; from local import story; {before};"
        " sys.exit(demo.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-u", "-c", code, *files, *arguments]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        # The folders for logs after a failure, and for the file that says where the stack runs.
        env=os.environ | {"TMPDIR": str(folder), "XDG_STATE_HOME": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait(program: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        out, _ = program.communicate(timeout=110)
    finally:
        program.kill()
    return program.returncode, out


def read_until(program: subprocess.Popen[str], words: str) -> str:
    assert program.stdout
    text = ""
    while words not in text:
        line = program.stdout.readline()
        assert line, f"the demo ended before it printed {words!r}:\n{text}"
        text += line
    return text


def test_the_demo_keeps_its_promises_and_writes_its_files(tmp_path: Path) -> None:
    status, out = wait(demo(tmp_path, *FAST))
    assert status == 0, out
    report = json.loads((tmp_path / "report.json").read_text())
    assert [(each["version"], each["outcome"]) for each in report["releases"]] == [
        ("1", "succeeded"),
        ("2", "succeeded"),
        ("3", "rolled_back"),
    ]
    assert {phase["phase"] for phase in report["releases"][1]["phases"]} == {
        "desired",
        "step_1",
        "step_2",
        "step_3",
        "baking",
    }
    assert report["releases"][2]["reason"] == "unhealthy"
    shares = [sample["shares"].get("3", 0) for sample in report["instances"]]
    assert (max(shares), shares[-1]) == (5, 0)
    assert (
        report["instances"][-1]["by_version"]
        == report["instances"][-1]["healthy"]
        == {"2": report["floor"]}
    )
    assert report["backend"] == "embedded"
    assert (tmp_path / "picture.svg").read_text().startswith("<svg")
    for output in (
        "/instanceGroups/slipway-tiny-green",
        "/backendServices/slipway-tiny-green",
        "address  ",
    ):
        assert output in out


@pytest.mark.wide
def test_the_rolling_story_keeps_its_promises(tmp_path: Path) -> None:
    status, out = wait(demo(tmp_path, *FAST, "--story", "rolling"))
    assert status == 0, out
    assert "release 3 never becomes healthy and is rolled back" in out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["calls"]["compute.regionInstanceGroupManagers.insert"] == 1


@pytest.mark.wide
def test_a_broken_promise_ends_with_status_1_and_what_differs(tmp_path: Path) -> None:
    status, out = wait(demo(tmp_path, *FAST, before="story.CANARY.crashing.clear()"))
    assert status == 1
    assert "but release 3 succeeded" in out
    logs = re.search(r"^  logs: (\S+)$", out, re.MULTILINE)
    assert logs
    assert (Path(logs[1]) / "functions.log").stat().st_size


@pytest.mark.wide
def test_a_slow_run_ends_with_status_1_and_the_reason(tmp_path: Path) -> None:
    status, out = wait(
        demo(tmp_path, "--embedded", "--speed", "1", before="demo.LIMIT_SECONDS = 3")
    )
    assert status == 1
    assert "it took longer than 3 s" in out
    assert "release 1 has not ended" in out


def test_a_stop_signal_leaves_nothing_running(
    tmp_path: Path, pubsub_emulator: str, firestore_emulator: str
) -> None:
    program = demo(tmp_path)
    text = read_until(program, "release 1: step 1")
    program.send_signal(signal.SIGINT)
    status, _ = wait(program)
    assert status == 130
    assert not list(tmp_path.glob("slipway-*"))
    ports = [int(port) for port in re.findall(r"on (?:http://)?127\.0\.0\.1:(\d+)", text)]
    assert len(ports) == 3 + len(FUNCTIONS)  # and the emulators
    assert not any(answers(port, "/") for port in ports)


@pytest.mark.wide
def test_a_kept_stack_runs_until_stopped_and_prints_how_to_use_it(tmp_path: Path) -> None:
    program = demo(tmp_path, *FAST, "--keep")
    text = read_until(program, "Logs of the functions")
    command = re.search(r"^  (\S+ -c \"import base64, requests.*)$", text, re.MULTILINE)
    assert command
    subprocess.run(command[1], shell=True, check=True, timeout=30, cwd=ROOT)
    read_until(program, "release 4: desired")
    command_line = [sys.executable, "-m", "console"]
    environment = os.environ | {"XDG_STATE_HOME": str(tmp_path), "GOOGLE_CLOUD_PROJECT": "other"}

    def slipway(*arguments: str) -> str:
        return subprocess.run(
            [*command_line, *arguments],
            cwd=ROOT,
            env=environment,
            check=True,
            timeout=60,
            capture_output=True,
            text=True,
        ).stdout

    assert slipway("abort", "tiny", "--wait").endswith("settled: release 2 serves\n")
    assert "2 succeeded" in " ".join(slipway("history", "tiny").split())
    started = time.monotonic()
    program.send_signal(signal.SIGTERM)
    assert wait(program)[0] == 0
    assert time.monotonic() - started < 60


def test_a_speed_out_of_range_is_rejected(tmp_path: Path) -> None:
    for speed in ("0", "5000"):
        status, out = wait(demo(tmp_path, "--speed", speed))
        assert status == 2
        assert "must be 1 to 200" in out
