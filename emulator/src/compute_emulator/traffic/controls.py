"""The data plane's controls: what is served where, how instances answer, and the Prometheus
metrics. Imports no event loop.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from compute_emulator.control.registry import Controls, Query
from compute_emulator.engine.cloud import Cloud
from compute_emulator.errors import JsonObject
from compute_emulator.traffic import metrics, response_profile

CONTROLS = Controls()


@CONTROLS.add(
    "GET",
    "/data-plane",
    "where each forwarding rule and instance listens, what is healthy, and the measured load",
)
def show_data_plane(cloud: Cloud, query: Query, body: Any) -> JsonObject:
    if cloud.data_plane is None:
        return {
            "on": False,
            "why": "start with --data-plane, or in a program with emulator.data_plane()",
        }
    state: JsonObject = cloud.data_plane.state()
    return state


@CONTROLS.add("GET", "/traffic", "how instances answer; overrides their behaviours")
def show_traffic(cloud: Cloud, query: Query, body: Any) -> Any:
    return cloud.traffic


@CONTROLS.add("PUT", "/traffic", "replace all entries: a list")
def replace_traffic(cloud: Cloud, query: Query, body: Any) -> Any:
    return _set(cloud, _entries(body))


@CONTROLS.add(
    "POST",
    "/traffic",
    'add an entry (or a list) before the others: {"template": "v2*", "latency_seconds": 0.3,'
    ' "error_rate": 0.1}',
)
def add_traffic(cloud: Cloud, query: Query, body: Any) -> Any:
    return _set(cloud, _entries(body) + cloud.traffic)


@CONTROLS.add("DELETE", "/traffic", "remove all entries: behaviours apply")
def clear_traffic(cloud: Cloud, query: Query, body: Any) -> Any:
    return _set(cloud, [])


def _entries(body: Any) -> list[Any]:
    return body if isinstance(body, list) else [body]


def _set(cloud: Cloud, entries: list[Any]) -> list[JsonObject]:
    """Takes effect before it returns. Raises ValueError."""
    response_profile.check_entries(entries)
    cloud.traffic = entries
    if cloud.data_plane is not None:
        cloud.data_plane.refresh()
    return cloud.traffic


def exposition(cloud: Cloud) -> bytes:
    """The metrics at `/metrics`: instances as gauges, API calls, and the traffic if there is a
    data plane.
    """
    instances = Counter(
        (each["group"], each["template"], each["version"] or "", each["status"])
        for each in cloud.snapshot()
    )
    labels = ("group", "release", "version", "status")
    families = [
        metrics.family(
            "compute_instances",
            "gauge",
            "Managed instances by group, release and status.",
            [
                ("", dict(zip(labels, key, strict=True)), count)
                for key, count in sorted(instances.items())
            ],
        ),
        metrics.family(
            "compute_calls_total",
            "counter",
            "Compute API calls by method.",
            [
                ("", {"method": method}, count)
                for method, count in sorted(cloud.calls.counts.items())
            ],
        ),
    ]
    for name in ("cpu", "rps"):
        found = sorted((group, load[name]) for group, load in cloud.measured.items())
        samples = [
            ("", {"group": group.partition("/")[2], "region": group.partition("/")[0]}, value)
            for group, value in found
        ]
        about = {
            "cpu": "Mean share of a group's busy workers.",
            "rps": "Requests per second to a group.",
        }[name]
        families.append(metrics.family(f"compute_group_{name}", "gauge", about, samples))
    if cloud.data_plane is not None:
        families += cloud.data_plane.metrics.families()
    return "".join(families).encode()
