"""The emulator as a program: start, invalid arguments and files, shutdown."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from compute_emulator import Cloud, VirtualClock
from compute_emulator.__main__ import USE, apply_file, main
from compute_emulator.control.config_file import SETTERS
from emulator.tests.readme import ROOT, block, blocks


@contextmanager
def program(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The running program and its URL."""
    command = [sys.executable, "-m", "compute_emulator", "--port", "0", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as running:
        assert running.stdout is not None
        try:
            yield running, running.stdout.readline().split()[-1].removesuffix("/control)")
        finally:
            running.kill()


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_stopped_and_exits_with_zero(by: signal.Signals) -> None:
    with program("--speed", "60", "--project", "p") as (running, url):
        assert requests.get(f"{url}/compute/v1/projects/p", timeout=10).json()["name"] == "p"
        running.send_signal(by)
        stdout, stderr = running.communicate(timeout=30)
    assert (running.returncode, stdout, stderr) == (0, "stopped\n", "")


def test_it_takes_time_as_google_does_on_request(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"propagation_seconds": 90}))
    options = ("--realistic-times", "--operation-seconds", "4", "--config", str(file))
    with program(*options) as (_, url):
        delays = requests.get(f"{url}/control/delays", timeout=10).json()
        operations = requests.get(f"{url}/control/operation-seconds", timeout=10).json()
    assert delays == {"propagation_seconds": 90.0, "certificate_seconds": 1200.0}
    assert operations["default"] == 4
    assert operations["by_method"]["compute.urlMaps.*"] == 15


def test_it_starts_with_the_settings_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    fault = {"kind": "error", "error_class": "throttled", "method": "compute.zones.get", "nth": 2}
    planned = {"after_seconds": 3600, "post": "/instances", "body": {"effect": "preempt"}}
    file.write_text(
        json.dumps({"faults": [fault], "zones": {"us-central1-a": "DOWN"}, "later": [planned]})
    )
    with program("--config", str(file)) as (_, url):
        zone = f"{url}/compute/v1/projects/demo/zones/us-central1-a"
        assert requests.get(zone, timeout=10).json()["status"] == "DOWN"
        assert requests.get(zone, timeout=10).status_code == 429
        (waiting,) = requests.get(f"{url}/control/later", timeout=10).json()
    assert waiting.items() >= ({"state": "WAITING"} | planned).items()


# Invalid arguments and files


@pytest.mark.parametrize(
    "arguments",
    [
        "--port 65536",
        "--port -1",
        "--port http",
        "--speed -1",
        "--speed nan",
        "--operation-seconds -1",
        "--project No/Name",
        "--colour red",
    ],
)
def test_an_invalid_argument_is_named(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert all(word in last for word in arguments.split())


def test_a_port_in_use_is_named_with_a_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["--port", str(port)]) == 2
    output = capsys.readouterr().err
    assert f"cannot listen on 127.0.0.1:{port}" in output
    assert "--port 0" in output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "line 1 column 2"),
        ("7", "settings are an object with members such as behaviours"),
        ('{"weather": "fine"}', "unknown member 'weather'; use one of behaviours, "),
        ('{"behaviours": {}}', "behaviours must be a list"),
        ('{"behaviours": [7]}', "behaviours[0] must be an object, not 7"),
        ('{"behaviours": [{"template": 7}]}', "behaviours[0].template must be a glob, not 7"),
        (
            '{"behaviours": [{"boot_seconds": true}]}',
            "behaviours[0].boot_seconds must be seconds (0 or more), not True",
        ),
        (
            '{"behaviours": [{"jitter": 2}]}',
            "behaviours[0].jitter must be a number from 0 to 1, not 2",
        ),
        (
            '{"behaviours": [{"creation_error": 7}]}',
            "behaviours[0].creation_error must be one of stock_out, quota",
        ),
        (
            '{"behaviours": [{"creation_error": {"kind": "quota", "times": "x"}}]}',
            "creation_error must be one of",
        ),
        ('{"load": []}', "load: expected a JSON object, not []"),
        ('{"load": {"g": 7}}', "load[g] must be an object, not 7"),
        (
            '{"load": {"g": {"cpu": "high"}}}',
            "load[g].cpu must be a number (0 or more), not 'high'",
        ),
        (
            '{"load": {"g": {"cpus": 1}}}',
            "load[g]: unknown member 'cpus'; use one of cpu, cpu_demand, rps, balancing, metrics",
        ),
        (
            '{"load": {"g": {"metrics": {"q": "lots"}}}}',
            'load[g].metrics[q] must be a number, {"mean": number} or one of',
        ),
        (
            '{"stock_outs": {"mars-1": {}}}',
            "stock_outs[mars-1]: 'mars-1' is not a zone, a region or *",
        ),
        (
            '{"stock_outs": {"*": {"machine": "n1-*"}}}',
            "stock_outs[*]: unknown member 'machine'; use one of from, until, acc",
        ),
        (
            '{"stock_outs": {"*": {"until": "noon"}}}',
            "stock_outs[*].until must be a number (0 or more), not 'noon'",
        ),
        (
            '{"quotas": {"CPU": 4}}',
            "quotas[CPU]: unknown metric 'CPU'; use INSTANCES, CPUS",
        ),
        ('{"quotas": {"mars/CPUS": 4}}', "quotas[mars/CPUS]: 'mars' is not a region"),
        ('{"quotas": {"CPUS": -4}}', "quotas[CPUS] must be a number (0 or more), not -4"),
        ('{"faults": {"kind": "error"}}', "faults must be a list"),
        ('{"faults": [7]}', "faults[0]: a fault must be an object, not 7"),
        ('{"faults": [{"kind": "latency"}]}', "faults[0]: latency takes seconds, above 0"),
        (
            '{"faults": [{"kind": "error", "nth": 0}]}',
            "faults[0]: nth must be a whole number, 1 or more, not 0",
        ),
        (
            '{"faults": [{"kind": "error", "status": 200}]}',
            "faults[0]: status must be an HTTP status from 400 to 599, not 200",
        ),
        (
            '{"faults": [{"kind": "error", "chance": 7}]}',
            "faults[0]: chance must be a number from 0 to 1, not 7",
        ),
        (
            '{"faults": [{"kind": "error", "method": "compute.clouds.*"}]}',
            "method: 'compute.clouds.*' matches no method",
        ),
        (
            '{"faults": [{"kind": "error"}, {"kind": "error", "error_class": "x"}]}',
            "faults[1]: error_class: 'x' is not one of",
        ),
        (
            '{"zones": {"mars-1": "DOWN"}}',
            "zones: 'mars-1' is not a zone; GET /control/zones lists the zones",
        ),
        (
            '{"zones": {"us-central1-a": "LOST"}}',
            "zones: expected an object of zones, each DOWN, UNREACHABLE or UP",
        ),
        ('{"operation_seconds": "2"}', "operation_seconds must be a number (0 or more), not '2'"),
        (
            '{"operation_seconds_by_method": {"compute.*": -2}}',
            "operation_seconds_by_method[compute.*] must be a number",
        ),
        (
            '{"operation_seconds_by_method": {"clouds": 2}}',
            "operation_seconds_by_method: 'clouds' matches no method",
        ),
        ('{"traffic": [{"error_rate": 7}]}', "traffic[0].error_rate must be from 0 to 1, not 7"),
        (
            '{"later": [{"post": "/zones"}]}',
            "later[0]: after_seconds must be a number, 0 or more, not None",
        ),
        (
            '{"later": [{"after_seconds": 1, "post": "/moon"}]}',
            "later[0]: POST /moon cannot be scheduled",
        ),
    ],
)
def test_an_invalid_file_is_rejected_naming_the_member_and_its_valid_values(
    tmp_path: Path, text: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "settings.json"
    file.write_text(text)
    assert main(["--port", "0", "--config", str(file)]) == 2
    output = capsys.readouterr()
    assert (output.out, output.err.startswith(f"cannot use the settings in {file}: ")) == ("", True)
    assert words in output.err


def test_behaviours_can_be_a_separate_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "behaviours.json"
    for text in ('[{"boot_seconds": 7}]', '{"behaviours": [{"boot_seconds": 7}]}'):
        file.write_text(text)
        cloud = Cloud()
        apply_file(cloud, file, "behaviours")
        assert cloud.behaviours == [{"boot_seconds": 7}]
    file.write_text("[]")
    assert main(["--port", "0", "--config", str(file)]) == 2
    assert "settings are an object" in capsys.readouterr().err


# Examples in the help and the README


def test_the_settings_in_the_help_are_valid_and_complete(tmp_path: Path) -> None:
    example = re.search(r"^  (\{\"behaviours\".*?\}\]\})$", USE, re.DOTALL | re.MULTILINE)
    assert example is not None
    file = tmp_path / "settings.json"
    file.write_text(example[1])
    apply_file(Cloud(), file, "")
    assert set(json.loads(example[1])) == set(SETTERS)


def test_the_settings_in_the_readme_are_valid(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    assert blocks("json")
    for settings in blocks("json"):
        file.write_text(settings)
        apply_file(Cloud(), file, "")


def test_the_control_commands_in_the_help_work_as_written() -> None:
    lines = [
        line.split("   ")[0].strip()
        for line in USE.splitlines()
        if line.strip().startswith("curl ")
    ]
    assert len(lines) >= 6
    with program("--speed", "60") as (_, url):
        for line in lines:
            typed = line.replace("http://127.0.0.1:9100", url)
            done = subprocess.run(
                ["bash", "-c", f"{typed} --fail-with-body"],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, (line, done.stdout)
            json.loads(done.stdout)


def test_the_commands_in_the_readme_use_existing_options(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    helped = capsys.readouterr().out
    commands = re.findall(r"^compute-emulator ([^#\n]*)", block("sh", "pip install"), re.MULTILINE)
    assert commands
    for command in commands:
        assert all(word in helped for word in command.split() if word.startswith("--"))


def run_python_of_the_readme(word: str) -> dict[str, Any]:
    """Run the code block that contains this word and return its names."""
    names: dict[str, Any] = {}
    exec(block("python", word), names)
    return names


def test_the_pytest_fixture_in_the_readme_works(tmp_path: Path) -> None:
    (tmp_path / "test_zone.py").write_text(block("python", "@pytest.fixture"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_zone.py"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "emulator" / "src")}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert "1 passed" in done.stdout, done.stdout


def test_googles_client_over_http_works_as_in_the_readme() -> None:
    cloud = run_python_of_the_readme("insert_unary")["server"].cloud
    assert [each["name"] for each in cloud.list_in("global", "instanceTemplates")] == ["v1"]


def test_the_in_process_example_in_the_readme_works() -> None:
    names = run_python_of_the_readme("advance(3600)")
    assert list(names["client"].list(project="demo")) == []
    assert names["emulator"].now() == VirtualClock().now() + 3600
