"""A whole drift scan over many settled models: CPU time, memory and calls, each size in a process
of its own.

The models of `bench/scale/project.py` are compared by the deployed code, with the official Compute
client and Firestore's messages, in as many ticks as it takes when a list call takes half a second.
CPU time is that of the process without making the project's answers, imports included; memory is
its peak as the kernel counts it.
"""

from __future__ import annotations

import json
import pickle
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.results import Row, row
from bench.scale.project import (
    COPIED,
    ComputeEngine,
    Copied,
    Firestore,
    PassingClock,
    Sent,
    document_name,
    encode_document,
)
from infra.cold_start import fast_imports

SIZES = (1000, 3000, 10_000)


def measure() -> tuple[Row, ...]:
    with TemporaryDirectory(prefix="slipway-bench-") as folder:
        file = Path(folder) / "copied"
        file.write_bytes(pickle.dumps(copy_project()))
        runs = {count: _in_own_process(file, count) for count in SIZES}
    largest = runs[max(SIZES)]
    if any(run["woken"] for run in runs.values()):
        raise RuntimeError(f"models without drift were woken: {runs}")
    how = (
        f"a whole drift scan over {max(SIZES)} settled models, all exposed in one URL map, which is"
        f" larger than Google allows; it takes {largest['ticks']} ticks; no project caps"
    )
    return (
        row("scale_drift_scan_cpu_s", largest["cpu_s"], f"CPU time: {how}", sizes=runs),
        row("scale_drift_scan_mib", largest["peak_mib"], f"peak memory (ru_maxrss): {how}"),
    )


def _in_own_process(file: Path, count: int) -> dict[str, Any]:
    command = (sys.executable, "-m", "bench.scale.scan", str(file), str(count))
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def copy_project() -> Copied:
    """A model that has been rolled out twice, as the store and Compute Engine have it."""
    from bench.setting import release_message
    from infra.settings import POLICY as PATH
    from local.policy import POLICY
    from tests.scenario import Scenario

    story = Scenario()
    for version in "12":
        story.when_published(release_message(version, COPIED))
        story.when_settled(COPIED)
    path = f"models/{COPIED}"
    document = story.store.get(path)
    if document is None or document.data["stable"]["version"] != "2":
        raise RuntimeError("release 2 does not serve:\n" + story.history())
    regional = ("instanceGroupManagers", "autoscalers")
    shared = ("addresses", "targetHttpProxies", "forwardingRules")
    of_all = ("instanceTemplates", "healthChecks", "backendServices", "urlMaps", *shared)
    paths = {name: f"regions/us-central1/{name}" for name in regional}
    paths |= {name: f"global/{name}" for name in of_all}
    return Copied(
        encode_document(document_name(path), document.data),
        {PATH: encode_document(document_name(PATH), POLICY)},
        {name: story.emulator.call("GET", where).get("items", []) for name, where in paths.items()},
    )


def scan_project(copied: Copied, count: int) -> dict[str, Any]:
    """A scan from its first tick to its last, within this process."""
    began, sent = time.process_time(), Sent()
    clock = PassingClock()
    with sent.apart():
        compute_engine = ComputeEngine(count, copied.bodies, sent, clock)

    with fast_imports():
        from handlers.reconcile import drift_scan
        from infra.compute.client import Compute
        from infra.store.firestore import FirestoreStore
        from infra.wiring import World

    store = FirestoreStore("demo", emulator="127.0.0.1:1")
    store._client = Firestore(count, copied, sent)
    compute = Compute("demo", clock, "http://compute.local", adapter=compute_engine, workers=1)
    woken: list[bytes] = []

    class Bus:
        def publish(self, topic: str, data: bytes, attributes: Any = None) -> str:
            woken.append(data)
            return "1"

    world = World(clock, lambda: store, Bus, lambda: compute, project="demo")
    before = _peak_mib()
    ticks = 0
    while ticks == 0 or store.get(drift_scan.CURSOR):
        clock.begin_tick(ticks)
        drift_scan.scan(world)
        ticks += 1
    return {
        "cpu_s": round(time.process_time() - began - sent.apart_seconds, 2),
        "ticks": ticks,
        "peak_mib": _peak_mib(),
        "before_mib": before,
        "woken": len(woken),
        "documents": sent.documents,
        "calls": dict(sent.calls),
    }


def _peak_mib() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


if __name__ == "__main__":
    given = pickle.loads(Path(sys.argv[1]).read_bytes())
    print(json.dumps(scan_project(given, int(sys.argv[2]))))
