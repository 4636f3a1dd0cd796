"""A real Prometheus for tests: Debian's package, on a free port, with its data in a folder.

Without the program the calling test is skipped, and the end of the run says so; in CI it fails.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from tests.tools import require_program

START_SECONDS = 20


@contextmanager
def prometheus(
    folder: Path, settings: str, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """The URL of a Prometheus that is ready. `settings` is its prometheus.yml; its log stays in the
    folder.
    """
    program, address = require_program("prometheus"), f"127.0.0.1:{_free_port()}"
    file, log = folder / "prometheus.yml", folder / "prometheus.log"
    file.write_text(settings)
    command = [
        program,
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    given = {**os.environ, **(environment or {})}
    with (
        log.open("wb") as out,
        subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=given) as process,
    ):
        try:
            until(lambda: process.poll() is not None or _is_ready(address))
            assert process.poll() is None, log.read_text()
            yield f"http://{address}"
        finally:
            process.terminate()


def scrape(target: str, seconds: float = 1.0, job: str = "lb") -> str:
    """Settings that scrape one target, `host:port`, every so many seconds."""
    interval = f"{seconds * 1000:.0f}ms"
    return (
        f"scrape_configs: [{{job_name: {job}, scrape_interval: {interval}, scrape_timeout:"
        f" {interval}, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )


def ask(url: str, query: str) -> list[tuple[dict[str, str], float]]:
    """Labels and value of each series of an instant query."""
    answer = requests.get(f"{url}/api/v1/query", params={"query": query}, timeout=10)
    answer.raise_for_status()
    result: list[dict[str, Any]] = answer.json()["data"]["result"]
    return [(each["metric"], float(each["value"][1])) for each in result]


def until(holds: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "the condition never became true"
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _is_ready(address: str) -> bool:
    try:
        return requests.get(f"http://{address}/-/ready", timeout=1).ok
    except requests.RequestException:
        return False
