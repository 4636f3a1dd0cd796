from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from local.processes import DidNotStart, Program, answers, free_port

SERVE = (
    "import http.server, sys; http.server.test(http.server.SimpleHTTPRequestHandler,"
    " port=int(sys.argv[1]), bind='127.0.0.1')"
)
WITH_A_CHILD = (
    "import os, subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'import time;"
    " time.sleep(60)']); print(child.pid, flush=True); " + SERVE
)


def program(code: str, folder: Path) -> Program:
    port = free_port()
    return Program(
        "a program",
        [sys.executable, "-u", "-c", code, str(port)],
        port,
        folder / "log",
        {"WORD": "here"},
        folder,
    )


def is_alive(pid: int) -> bool:
    """Processes that have ended may remain as zombies if nothing reaps them."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_a_program_responds_after_start_and_not_after_stop(tmp_path: Path) -> None:
    server = program(SERVE, tmp_path)
    server.start()
    server.wait_until_up()
    assert answers(server.port, "/anything")
    server.stop()
    server.stop()
    assert not answers(server.port, "/anything")


def test_a_killed_program_restarts_on_its_port_and_keeps_its_log(
    tmp_path: Path,
) -> None:
    server = program("print('hello', flush=True); " + SERVE, tmp_path)
    for _ in range(2):
        server.start()
        server.wait_until_up()
        server.kill()
        assert not answers(server.port, "/anything")
    assert server.tail().count("hello") == 2


def test_a_program_that_ends_at_once_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    broken = program("import os; raise SystemExit('no bread ' + os.environ['WORD'])", tmp_path)
    broken.start()
    with pytest.raises(DidNotStart, match=r"a program did not start(.|\n)*no bread here"):
        broken.wait_until_up()
    broken.stop()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_stop_ends_child_processes_too(tmp_path: Path) -> None:
    parent = program(WITH_A_CHILD, tmp_path)
    parent.start()
    parent.wait_until_up()
    child = int(parent.tail().split()[0])
    assert is_alive(child)
    parent.stop()
    until = time.monotonic() + 10
    while is_alive(child) and time.monotonic() < until:
        time.sleep(0.02)
    assert not is_alive(child)
    assert is_alive(os.getpid())


def test_a_program_gets_no_settings_of_a_project(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PROMETHEUS_URL", "http://prometheus:9090")
    monkeypatch.setenv("SLIPWAY_METRICS", "cloud-monitoring")
    prints = (
        "import os; print(sorted({'PROMETHEUS_URL', 'SLIPWAY_METRICS', 'WORD'} & {*os.environ})"
    )
    running = program(f"{prints}, flush=True); {SERVE}", tmp_path)
    running.start()
    try:
        running.wait_until_up()
        assert running.tail().startswith("['WORD']")
    finally:
        running.stop()
