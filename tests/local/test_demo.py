"""The demo as a process: its exit status, its output and its files."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from local.processes import answers
from local.stack import FUNCTIONS
from tests.console.browser import chromium
from tests.tools import require_program

ROOT = Path(__file__).resolve().parents[2]
FAST = ("--embedded", "--speed", "80")
QUICK = ("--embedded", "--speed", "200")
EXAMPLES = sorted((ROOT / "examples").iterdir())


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


def printed_commands(text: str) -> list[str]:
    """The commands that a kept stack prints, without those that go on until Ctrl-C."""
    lines = re.sub(r" \\\n +", " ", text).splitlines()
    commands = [
        line.strip() for line in lines if re.match(r"  (\S*slipway|curl|echo|export|gcloud) ", line)
    ]
    return [each for each in commands if not each.endswith(" dashboard")]


def environment_of(folder: Path) -> dict[str, str]:
    """That of a person's shell, which also knows another project."""
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "emulator/src")))
    of_others = {"GOOGLE_CLOUD_PROJECT": "other", "PROMETHEUS_URL": "http://127.0.0.1:1"}
    return os.environ | of_others | {"XDG_STATE_HOME": str(folder), "PYTHONPATH": paths}


def run_printed(commands: list[str], folder: Path) -> dict[str, str]:
    """Runs the commands one after the other; returns what each printed. What a plan would change,
    and what is taken back, has status 2.
    """
    exports, outputs = "", {}
    for command in commands:
        if command.startswith("export"):
            exports = f"{command}; "
        elif not command.startswith("gcloud") or require_program("gcloud"):
            runnable = re.sub(r"^\S*slipway ", f"{sys.executable} -m console ", command)
            done = subprocess.run(
                ["bash", "-c", exports + runnable],
                cwd=folder,
                env=environment_of(folder),
                timeout=100,
                capture_output=True,
                text=True,
            )
            expected = 2 if re.search(r" plan | publish demo-5", command) else 0
            assert done.returncode == expected, (command, done.stdout, done.stderr)
            outputs[command.partition("slipway ")[2] or command] = done.stdout
    return outputs


def see_dashboard(folder: Path) -> str:
    """What a browser shows of the model on `slipway dashboard`."""
    command = [sys.executable, "-u", "-m", "console", "dashboard", "--port", "0"]
    with subprocess.Popen(
        command, cwd=folder, env=environment_of(folder), stdout=subprocess.PIPE, text=True
    ) as program:
        try:
            address = read_until(program, "Ctrl-C").split()[0]
            with chromium(folder) as browser:
                browser.open(f"{address}models/tiny")
                assert browser.screenshot().startswith(b"\x89PNG")
                return str(browser.evaluate("document.body.innerText"))
        finally:
            program.kill()


@pytest.mark.wide
@pytest.mark.timeout(300)
def test_a_newcomer_succeeds_with_each_printed_command_and_each_example(tmp_path: Path) -> None:
    """Sees what happened, plans and publishes a release, sees a canary taken back and why,
    publishes each example, is refused, and opens the dashboard.
    """
    program = demo(tmp_path, *QUICK, "--keep")
    text = read_until(program, "From now on")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    commands = printed_commands(text)
    outputs = run_printed(commands, tmp_path)

    answer = json.loads(next(out for command, out in outputs.items() if "/tiny" in command))
    assert answer["labels"] == {"slipway-model": "tiny", "slipway-release": "2"}
    assert "\nsucceeded: " in outputs["publish demo-4.json --wait"]
    assert "rolled_back" in outputs["publish demo-5.json --wait"]
    assert "instances of release 5 are healthy" in " ".join(outputs["why tiny 5"].split())
    assert all(f"publish examples/{each.name}" in " ".join(outputs) for each in EXAMPLES)
    assert "release 2 of tiny exists" in " ".join(outputs["quarantine list"].split())
    assert re.search("release 5: .*→ rolled.back", see_dashboard(tmp_path))

    program.send_signal(signal.SIGTERM)
    status, narrated = wait(program)
    assert status == 0
    assert "ranker 42: baking -> succeeded" in narrated
    assert "tiny 2: published -> quarantined" in narrated
    assert "slipway-ranker-" not in narrated


def test_a_speed_out_of_range_is_rejected(tmp_path: Path) -> None:
    for speed in ("0", "5000"):
        status, out = wait(demo(tmp_path, "--speed", speed))
        assert status == 2
        assert "must be 1 to 200" in out
