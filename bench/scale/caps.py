"""A release beside many models under caps on the project: CPU time of the intake, and of the check
that each pass of its rollout makes.

The models of `bench/scale/project.py` are read by the deployed store from Firestore's messages. CPU
time is that of the process without making the project's answers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from types import MappingProxyType
from typing import Any

from bench.results import Row, row
from bench.scale.project import (
    PROJECT,
    Copied,
    Firestore,
    PassingClock,
    Sent,
    document_name,
    encode_document,
)
from bench.scale.scan import copy_project
from bench.setting import event_of, no_compute, release_message
from handlers import admission, release
from infra.registry.emulated import EmulatedRegistry
from infra.settings import POLICY as PATH
from infra.settings import load_project_policy
from infra.store import repository
from infra.store.firestore import FirestoreStore
from infra.wiring import World
from local.policy import POLICY

SIZES = (100, 300, 900)
RELEASES = 15
CAPS = {"max_project_instances": 1_000_000, "max_project_cost_per_hour": 1_000_000}


def measure() -> tuple[Row, ...]:
    copied = copy_project()
    policy = encode_document(document_name(PATH), POLICY | CAPS)
    capped = replace(copied, others={**copied.others, PATH: policy})
    runs = {count: _accept(capped, count) for count in SIZES}
    how = (
        f"CPU time of the intake for a first release beside {max(SIZES)} models, median of"
        f" {RELEASES}; the policy has project caps on instances and on cost, and all releases write"
        " one document, about one in a second"
    )
    return (row("scale_capped_release_cpu_ms", runs[max(SIZES)]["cpu_ms"], how, sizes=runs),)


class Bus:
    """Takes messages and delivers none."""

    def publish(self, topic: str, data: bytes, attributes: Any = MappingProxyType({})) -> str:
        return "1"


def _accept(copied: Copied, count: int) -> dict[str, Any]:
    sent = Sent()
    store = FirestoreStore(PROJECT, emulator="127.0.0.1:1")
    store._client = Firestore(count, copied, sent)
    world = World(
        PassingClock(), lambda: store, Bus, no_compute, registry=EmulatedRegistry, project=PROJECT
    )

    def publish(model: str) -> Callable[[], object]:
        return lambda: release.handle(
            world, event_of("model-releases", release_message("1", model))
        )

    publish("warm-up")()
    _without_ledger(store)
    first = _cpu_ms(sent, publish("first"))
    read = sent.documents
    spent = [_cpu_ms(sent, publish(f"next-{number}")) for number in range(RELEASES)]
    stored = repository.load_state(store, f"next-{RELEASES - 1}")
    if stored is None or stored.state.desired.release is None:
        raise RuntimeError("the releases were not accepted")
    rollout = replace(stored.state.rollout, candidate=stored.state.desired.release)
    begun = replace(stored.state, rollout=rollout)
    policy = load_project_policy(store, store.get_many([PATH]), PROJECT)
    checks = [
        _cpu_ms(sent, lambda: admission.candidate_violations(world, policy, begun))
        for _ in range(RELEASES)
    ]
    return {
        "cpu_ms": round(median(spent), 2),
        "documents": (sent.documents - read) / (2 * RELEASES),
        "pass_check_ms": round(median(checks), 2),
        "counted_anew_ms": round(first, 1),
        "ledger_bytes": len(
            json.dumps(store.get_many([admission.ADMISSION])[admission.ADMISSION].data, default=str)
        ),
    }


def _without_ledger(store: FirestoreStore) -> None:
    from infra.store.port import Delete

    store.commit(Delete(admission.ADMISSION))


def _cpu_ms(sent: Sent, do: Callable[[], object]) -> float:
    began, apart = time.process_time(), sent.apart_seconds
    do()
    return (time.process_time() - began - (sent.apart_seconds - apart)) * 1000
