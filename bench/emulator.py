"""Measures the Compute Engine emulator: a rolling update, a long list, the memory of a group, its
start.

`python -m bench --only emulator`. Runs in this process and in virtual time, except for the start
and the load balancers (`bench/traffic.py`). Google's unmodified client drives the rolling update,
from the patch until the group reports that it is stable; the list is read page by page, with
responses parsed as JSON. Values are CPU time, which hardly depends on other work on the machine, as
the median of several runs.
"""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from google.auth.credentials import AnonymousCredentials
from google.cloud import compute_v1

from bench import traffic
from bench.function_calls import count
from bench.results import Row, row
from compute_emulator import Emulator, VirtualClock

PROJECT, REGION = "demo", "us-central1"
GROUPS = f"regions/{REGION}/instanceGroupManagers"
RUNS, INSTANCES, POLL_SECONDS = 5, 10, 30
LISTED, WEIGHED, VMS = 5_000, 1_000, 3


def measure() -> tuple[Row, ...]:
    """One row per key. Takes about a minute on an idle core."""
    return (
        rolling_update(),
        function_calls(),
        listing(),
        memory(),
        traffic.requests_per_second(),
        traffic.first_answer(),
    )


def rolling_update() -> Row:
    """Replaces ten instances with a surge of three."""
    runs = [_swap() for _ in range(RUNS)]
    alone = [1000 * _swap(_until_idle)[0] for _ in range(RUNS)]
    how = (
        f"CPU time of a rolling update of {INSTANCES} instances by Google's client, from the patch"
        f" until stable, median of {RUNS}"
    )
    milliseconds = sorted(1000 * cpu for cpu, _, _ in runs)
    _, virtual, calls = runs[0]
    detail = {"slowest_ms": round(milliseconds[-1], 2), "virtual_seconds": virtual, "calls": calls}
    detail["without_polling_ms"] = round(statistics.median(alone), 2)
    return row("emulator_rolling_update_cpu_ms", statistics.median(milliseconds), how, **detail)


def function_calls() -> Row:
    """The cost of the same rolling update as a number that does not depend on the hour."""
    _swap()  # what is loaded and cached once does not count
    emulator, client = _before_swap()
    counted = count(lambda: _patch(emulator, client, _until_stable))
    how = (
        f"Python function calls of a rolling update of {INSTANCES} instances in virtual time, by"
        " Google's client and the emulator, from the patch until stable"
    )
    return row("emulator_swap_function_calls", counted.total(), how, **counted)


def listing() -> Row:
    """Lists all groups of a region, 500 per page."""
    emulator = _emulator()
    _make(emulator, LISTED)
    began = time.process_time()
    count = _listed(emulator)
    seconds = time.process_time() - began
    client = _managers(emulator)
    began = time.process_time()
    by_client = sum(1 for _ in client.list(project=PROJECT, region=REGION))
    with_client = time.process_time() - began
    if (count, by_client) != (LISTED, LISTED):
        raise RuntimeError(f"{count} and {by_client} groups were listed instead of {LISTED}")
    how = f"CPU time to list {LISTED} settled groups page by page, responses parsed as JSON"
    return row(
        "emulator_list_5000_groups_s", seconds, how, with_google_client_s=round(with_client, 3)
    )


def memory() -> Row:
    """The memory of a group, its instance group and the operation that created it, with and without
    VMs.
    """
    how = (
        f"traced memory (tracemalloc) of {WEIGHED} settled groups of {VMS} VMs each, divided by"
        " their number"
    )
    without, full = (_weight(size) for size in (0, VMS))
    detail = {"without_vms_kib": round(without, 2), "vm_kib": round((full - without) / VMS, 2)}
    return row("emulator_memory_per_group_kib", full, how, **detail)


def _until_stable(client: Any, emulator: Emulator) -> None:
    """Polls at a fixed interval, like a controller."""
    while not client.get(
        project=PROJECT, region=REGION, instance_group_manager="g-0"
    ).status.is_stable:
        emulator.advance(POLL_SECONDS)


def _until_idle(client: Any, emulator: Emulator) -> None:
    """Advances from event to event until there are no more."""
    emulator.advance()
    while (upcoming := emulator.next_event_at()) is not None:
        emulator.advance(upcoming - emulator.now())


def _swap(wait: Callable[[Any, Emulator], None] = _until_stable) -> tuple[float, float, int]:
    """The CPU seconds, virtual seconds and calls of one rolling update."""
    emulator, client = _before_swap()
    gc.collect()
    calls, began, cpu = emulator.calls.counts.total(), emulator.now(), time.process_time()
    _patch(emulator, client, wait)
    spent = time.process_time() - cpu
    return spent, round(emulator.now() - began, 1), emulator.calls.counts.total() - calls


def _before_swap() -> tuple[Emulator, Any]:
    """An emulator with a stable group on template v1, and a client."""
    emulator = Emulator(clock=VirtualClock(), operation_seconds_by_method={"*.patch": 2})
    _templates(emulator)
    _make(emulator, 1, INSTANCES)
    client = _managers(emulator)
    _until_stable(client, emulator)
    return emulator, client


def _patch(emulator: Emulator, client: Any, wait: Callable[[Any, Emulator], None]) -> None:
    """Replaces all instances by such of template v2."""
    version = compute_v1.InstanceGroupManagerVersion(
        instance_template="global/instanceTemplates/v2"
    )
    patch = compute_v1.InstanceGroupManager(versions=[version])
    client.patch_unary(
        project=PROJECT,
        region=REGION,
        instance_group_manager="g-0",
        instance_group_manager_resource=patch,
    )
    wait(client, emulator)
    swapped = [each["template"] for each in emulator.instances()]
    if swapped != ["v2"] * INSTANCES:
        raise RuntimeError(f"the update ended with {swapped}")


def _weight(size: int) -> float:
    """KiB per group."""
    emulator = _emulator()
    _make(emulator, 1, size, first=WEIGHED)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    _make(emulator, WEIGHED, size)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (after - before) / WEIGHED / 1024


def _emulator() -> Emulator:
    emulator = Emulator(clock=VirtualClock())
    _templates(emulator)
    return emulator


def _managers(emulator: Emulator) -> Any:
    client = compute_v1.RegionInstanceGroupManagersClient(credentials=AnonymousCredentials())
    client.transport._session.mount("https://", emulator.adapter())
    return client


def _templates(emulator: Emulator) -> None:
    disk = {
        "boot": True,
        "initializeParams": {"sourceImage": "projects/cos-cloud/global/images/family/cos-121-lts"},
    }
    network = {"network": "global/networks/default"}
    properties = {"machineType": "n1-standard-1", "disks": [disk], "networkInterfaces": [network]}
    for name in ("v1", "v2"):
        emulator.call("POST", "global/instanceTemplates", {"name": name, "properties": properties})


def _make(emulator: Emulator, count: int, size: int = 0, first: int = 0) -> None:
    """Creates groups `g-0`, `g-1`, … on template v1, and lets them settle."""
    policy = {"type": "PROACTIVE", "maxSurge": {"fixed": 3}, "maxUnavailable": {"fixed": 0}}
    for number in range(first, first + count):
        body = {
            "name": f"g-{number}",
            "targetSize": size,
            "instanceTemplate": "global/instanceTemplates/v1",
            "updatePolicy": policy,
        }
        emulator.call("POST", GROUPS, body)
    emulator.advance(600)


def _listed(emulator: Emulator) -> int:
    count, token = 0, ""
    while True:
        page = emulator.call(
            "GET", f"{GROUPS}?maxResults=500" + (f"&pageToken={token}" if token else "")
        )
        count += len(page["items"])
        token = page.get("nextPageToken", "")
        if not token:
            return count
