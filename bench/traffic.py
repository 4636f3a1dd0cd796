"""Measures the requests per second through the emulator's load balancers, and how long the program
takes to answer its first request.

The emulator runs as a program with its data plane on. A group of small instances, each a server on
its own port, is behind a forwarding rule, and a load generator in a third process keeps a number of
connections busy. Every response must be 200. The value counts the responses that the load generator
received; the emulator's CPU time is in the details.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from bench.results import Row, row

ROOT = Path(__file__).resolve().parent.parent
PROJECT, REGION = "demo", "us-central1"
INSTANCES, CONNECTIONS, WARM_SECONDS, SECONDS = 30, 32, 1.0, 8.0
STARTS = 5
SPEED = 60
"""Emulated time passes faster, so that instances boot within a second; requests do not."""

SHORTEST = {"latency_seconds": 0.0}
"""Instances respond at once, so that only the path through the load balancer counts."""


def requests_per_second() -> Row:
    with _program() as (url, process):
        _build(url)
        target = _served(url)
        _load(target, WARM_SECONDS)
        before = _processor_seconds(process.pid)
        report = _load(target, SECONDS)
        spent = _processor_seconds(process.pid) - before
    if set(report["statuses"]) != {"200"}:
        raise RuntimeError(f"the load generator received {report['statuses']}")
    how = (
        f"responses per second of one forwarding rule with {INSTANCES} instances, through URL map"
        f" and backend service, to a load generator in another process with {CONNECTIONS}"
        f" connections, for {SECONDS:g} s of real time"
    )
    detail = {
        "milliseconds": report["milliseconds"],
        "cpu_ms_per_request": round(1000 * spent / report["requests"], 3),
    }
    return row(
        "emulator_requests_per_second", report["rps"], how, requests=report["requests"], **detail
    )


def first_answer() -> Row:
    """From the start of the process to its first answer. The fastest start counts: other work on
    the machine only slows a start down.
    """
    seconds = sorted(_start() for _ in range(STARTS))
    how = (
        "wall time from the start of `compute-emulator` to its first answer, a region, fastest of"
        f" {STARTS}"
    )
    return row("emulator_first_answer_s", seconds[0], how, slowest_s=round(seconds[-1], 3))


def _start() -> float:
    began = time.monotonic()
    with _program() as (url, _):
        region = f"{url}/compute/v1/projects/{PROJECT}/regions/{REGION}"
        requests.get(region, timeout=30).raise_for_status()
        return time.monotonic() - began


@contextmanager
def _program() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The emulator's address, and its process."""
    command = [
        sys.executable,
        "-m",
        "compute_emulator",
        "--port",
        "0",
        "--speed",
        str(SPEED),
        "--data-plane",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1].removesuffix("/control)"), process
        finally:
            process.terminate()


def _build(url: str) -> None:
    """Creates a group of `INSTANCES` and its load balancer."""
    everywhere, here = "global/", f"regions/{REGION}/"
    disk = {
        "boot": True,
        "initializeParams": {"sourceImage": "projects/cos-cloud/global/images/family/cos-121-lts"},
    }
    network = {"network": "global/networks/default"}
    properties = {"machineType": "n1-standard-1", "disks": [disk], "networkInterfaces": [network]}
    group = {
        "name": "g",
        "targetSize": INSTANCES,
        "instanceTemplate": "global/instanceTemplates/v1",
    }
    backend = {"group": f"projects/{PROJECT}/{here}instanceGroups/g"}
    service = {
        "name": "bs",
        "loadBalancingScheme": "EXTERNAL_MANAGED",
        "healthChecks": ["global/healthChecks/hc"],
    }
    rule = {
        "name": "fr",
        "target": "global/targetHttpProxies/tp",
        "portRange": "80",
        "loadBalancingScheme": "EXTERNAL_MANAGED",
    }
    for collection, body in (
        (f"{everywhere}instanceTemplates", {"name": "v1", "properties": properties}),
        (
            f"{everywhere}healthChecks",
            {
                "name": "hc",
                "type": "HTTP",
                "httpHealthCheck": {"port": 8080, "requestPath": "/ready"},
            },
        ),
        (f"{here}instanceGroupManagers", group | {"namedPorts": [{"name": "http", "port": 8080}]}),
        (f"{everywhere}backendServices", service | {"backends": [backend]}),
        (f"{everywhere}urlMaps", {"name": "um", "defaultService": "global/backendServices/bs"}),
        (f"{everywhere}targetHttpProxies", {"name": "tp", "urlMap": "global/urlMaps/um"}),
        (f"{everywhere}forwardingRules", rule),
    ):
        answered = requests.post(
            f"{url}/compute/v1/projects/{PROJECT}/{collection}", json=body, timeout=30
        )
        if not answered.ok:
            raise RuntimeError(f"{collection}: {answered.text}")
    requests.put(f"{url}/control/traffic", json=[SHORTEST], timeout=30).raise_for_status()


def _served(url: str) -> str:
    """The rule's address, once every instance takes requests."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        state = requests.get(f"{url}/control/data-plane", timeout=30).json()
        backends = [each for service in state["backend_services"].values() for each in service]
        if sum(each["takes_requests"] for each in backends) == INSTANCES:
            return str(next(iter(state["forwarding_rules"].values()))["url"])
        time.sleep(0.1)
    raise RuntimeError(f"{INSTANCES} instances did not become healthy within two minutes")


def _load(url: str, seconds: float) -> dict[str, Any]:
    command = [
        sys.executable,
        "-m",
        "compute_emulator.traffic.load_generator",
        url,
        "--seconds",
        str(seconds),
    ]
    command += ["--connections", str(CONNECTIONS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _processor_seconds(process: int) -> float:
    """The CPU time of a process so far. Source: proc_pid_stat(5), fields 14 and 15."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
