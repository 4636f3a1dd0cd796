"""Releases under caps over the project: what the admission of one costs beside many models, and how
many at once get through the one document that all of them write.

The first is measured on the models of `bench/scale/project.py`, with Firestore's messages. Each
size has a process of its own. CPU time is that of the event's handler and of what the guard of the
release's pass adds, without making the store's answers; the first admission, which counts all
models, is apart in the details.

The second runs on `bench/scale/deployment.py`, where `settings/admission` takes one write a second,
and for comparison as many as come.
"""

from __future__ import annotations

import base64
import json
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from bench.results import Row, row
from bench.scale.deployment import Deployment
from bench.scale.measure import SLOW_BOOT, publish_first_releases
from bench.scale.project import (
    PROJECT,
    Copied,
    Firestore,
    PassingClock,
    Sent,
    document_name,
    encode_document,
    name_of,
)
from bench.scale.scan import copy_project
from bench.scale.threads import in_virtual_time
from bench.setting import release_message
from handlers import admission
from infra.bus.envelope import PUBLISHED
from infra.settings import POLICY as PATH
from infra.store.port import Put
from local.policy import POLICY

SIZES = (100, 300, 900, 3000)
REPORTED = 900
RUNS = 30
AT_ONCE = (50, 100, 200)
CAPS = {"max_project_instances": 1_000_000, "max_project_cost_per_hour": 1_000_000}
SECONDS_APART = 1.0
SOURCE = f"//pubsub.googleapis.com/projects/{PROJECT}/topics/model-releases"


def measure() -> tuple[Row, ...]:
    return (beside_others(), at_once())


# ---- One release beside many models


def beside_others() -> Row:
    with TemporaryDirectory(prefix="slipway-bench-") as folder:
        file = Path(folder) / "copied"
        file.write_bytes(pickle.dumps(with_caps(copy_project())))
        runs = {count: _in_own_process(file, count) for count in SIZES}
    how = (
        f"CPU time of a release's admission, from its event to its end, and of the guard of its"
        f" pass, beside {REPORTED} models; median of {RUNS}; Firestore's messages in process;"
        f" project caps are on (instances and cost)"
    )
    return row("scale_admission_cpu_ms", runs[REPORTED]["cpu_ms"], how, sizes=runs)


def with_caps(copied: Copied) -> Copied:
    policy = encode_document(document_name(PATH), POLICY | CAPS)
    return replace(copied, others={**copied.others, PATH: policy})


def _in_own_process(file: Path, count: int) -> dict[str, Any]:
    command = (sys.executable, "-m", "bench.scale.caps", str(file), str(count))
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def accept_beside(copied: Copied, count: int) -> dict[str, Any]:
    """Releases of models that serve, one after the other, within this process."""
    from handlers import release
    from infra.registry.emulated import EmulatedRegistry
    from infra.settings import load_project_policy
    from infra.store import repository
    from infra.store.firestore import FirestoreStore
    from infra.wiring import World

    sent, clock = Sent(), PassingClock()
    store = FirestoreStore(PROJECT, emulator="127.0.0.1:1")
    store._client = Firestore(count, copied, sent)

    class Bus:
        def publish(self, topic: str, data: bytes, attributes: Any = None) -> str:
            return "1"

    def no_compute() -> Any:
        raise RuntimeError("an admission calls Compute Engine")

    world = World(clock, lambda: store, Bus, no_compute, registry=EmulatedRegistry)

    def timed(do: Callable[[], object]) -> float:
        before, apart = time.process_time(), sent.apart_seconds
        do()
        return (time.process_time() - before - (sent.apart_seconds - apart)) * 1000

    def guard(model: str) -> Callable[[], object]:
        stored = repository.load_state(store, model)
        policy = load_project_policy(store, store.get_many([PATH]), "")
        candidate = stored.state.desired.release if stored else None
        if stored is None or candidate is None or candidate.version != "3":
            raise RuntimeError(f"release 3 of {model} was not accepted")
        state = stored.state
        begun = replace(state, rollout=replace(state.rollout, candidate=candidate))
        return lambda: _require_none(admission.candidate_violations(world, policy, begun))

    def accept(number: int) -> float:
        event = _Event(name_of(number), clock)
        return timed(lambda: release.handle(world, event))

    counting = accept(0)  # with all imports
    counted = sent.documents
    accept(1)
    timed(guard(name_of(1)))
    sent.calls.clear()
    sent.documents = sent.written = 0
    handled = [accept(number) for number in range(2, RUNS + 2)]
    of_events = sent.per(RUNS)
    guards = [guard(name_of(number)) for number in range(2, RUNS + 2)]
    sent.calls.clear()
    sent.documents = sent.written = 0
    guarded = [timed(each) for each in guards]
    of_guards = sent.per(RUNS)
    ledger = store.get(admission.ADMISSION)
    if ledger is None or len(json.loads(ledger.data["usage"])) != count:
        raise RuntimeError("not each model has an entry in the ledger")
    return {
        "cpu_ms": round(median(handled) + median(guarded), 2),
        "event_ms": round(median(handled), 2),
        "guard_ms": round(median(guarded), 2),
        "of_the_event": of_events,
        "of_the_guard": of_guards,
        "ledger_kib": round(len(ledger.data["usage"]) / 1024, 1),
        "counting_ms": round(counting, 1),
        "documents_counted": counted,
    }


def _require_none(violations: tuple[object, ...]) -> None:
    if violations:
        raise RuntimeError(f"a release beside others is refused: {violations}")


class _Event:
    """What Eventarc delivers."""

    def __init__(self, model: str, clock: PassingClock) -> None:
        clock.sleep(1)
        self.model = model
        message = {
            "messageId": f"event-{model}",
            "publishTime": clock.now().isoformat(),
            "data": base64.b64encode(json.dumps(release_message("3", model)).encode()).decode(),
        }
        self.data = {
            "message": message,
            "subscription": f"projects/{PROJECT}/subscriptions/releases",
        }

    def get(self, key: str, default: Any = None) -> Any:
        return {"type": PUBLISHED, "source": SOURCE, "id": "1"}.get(key, default)


# ---- Many releases at once


def at_once() -> Row:
    runs: dict[str, Any] = {
        f"{max(AT_ONCE)}, as many writes as come": _at_once(max(AT_ONCE), 0),
        **{f"{count}, a write a second": _at_once(count, SECONDS_APART) for count in AT_ONCE},
    }
    lost = sum(run["lost"] for run in runs.values())
    how = (
        f"that did not succeed, as refused ones or dead letters: up to {max(AT_ONCE)} first"
        " releases at once under project caps with room for all; the document that all write takes"
        " one write a second, in the details also as many as come; 80 ms a Compute call, 20 ms a"
        " store call, 40 slots a function, project caps are on (instances and cost)"
    )
    return row("scale_admissions_at_once_lost", lost, how, sizes=runs)


def _at_once(count: int, apart_seconds: float) -> dict[str, Any]:
    deployment = Deployment(behaviour=SLOW_BOOT)
    deployment.store.commit(Put(PATH, POLICY | CAPS))
    deployment.hot.apart_seconds[admission.ADMISSION] = apart_seconds
    began = deployment.clock.now()
    with in_virtual_time(deployment.clock):
        publish_first_releases(deployment, count)
        taken = deployment.run(120, lambda: len(deployment.outcomes) == count)
    refused = deployment.store.list("quarantine", count)
    admitted = deployment.hot.written[admission.ADMISSION]
    conflicts = deployment.hot.conflicts[admission.ADMISSION]
    return {
        "refused": len(refused),
        "lost": count - deployment.ended("succeeded"),
        "dead": len(deployment.dead),
        "minutes_until_all_are_admitted": round((admitted[-1] - began).total_seconds() / 60, 2),
        "minutes_until_all_serve": round(taken.total_seconds() / 60, 2),
        "writes": len(admitted),
        "conflicts": conflicts,
        "deliveries": deployment.meter.deliveries["model-releases"],
    }


if __name__ == "__main__":
    given = pickle.loads(Path(sys.argv[1]).read_bytes())
    print(json.dumps(accept_beside(given, int(sys.argv[2]))))
