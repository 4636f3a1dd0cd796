"""Fresh releases beside a thousand that bake and five thousand that are paused.

The product brings one model into each state; the others are copies of its documents and resources,
with instances of their own. Their wake-ups are scheduled as the product schedules them.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from bench.results import Row, row
from bench.scale.deployment import Deployment
from bench.scale.setting import CONCURRENCY, INSTANCES, READS_PER_MINUTE
from bench.scale.threads import in_virtual_time
from bench.setting import release_message
from handlers.reconcile.decide import digest_of
from infra.store import outbox
from infra.store.documents import from_document
from infra.store.port import Put
from rollout.model import Observed
from rollout.targets import target_of
from tests.assurance.simulation.fairness import Fairness

SIZES = ((100, 500), (300, 1500), (1000, 5000))
"""How many bake, and how many are paused."""
FRESH = 50
HOSTS = 4
"""A gateway has room for 450 models on one host."""
BAKE_SECONDS = 86_400
HOURS_PAUSED = 8
MINUTES = 8
SETTLING_MINUTES = 3
SETTING = (
    f"80 ms a Compute call, 20 ms a store call, {INSTANCES * CONCURRENCY} slots a function,"
    f" {READS_PER_MINUTE} reads a minute, no project caps"
)
OUTPUT_ONLY = ("kind", "id", "creationTimestamp", "selfLink", "fingerprint", "status", "region")
ORDER = (
    *("healthChecks", "instanceTemplates", "instanceGroupManagers"),
    *("autoscalers", "backendServices"),
)
QUICK = {"boot_seconds": 1, "ready_after_seconds": 0, "drain_seconds": 0}
SLOW = {"boot_seconds": 30, "ready_after_seconds": 10, "drain_seconds": 0}


def measure() -> tuple[Row, ...]:
    runs = {
        f"{baking} baking and {paused} paused": _run(baking, paused) for baking, paused in SIZES
    }
    largest = runs[[*runs][-1]]
    how = (
        f"{FRESH} first releases published at once, beside {SIZES[-1][0]} that bake for a day and"
        f" {SIZES[-1][1]} that were paused eight hours ago and are not exposed; {SETTING}"
    )
    return (
        row(
            "scale_fresh_first_pass_s",
            largest["fresh_seconds"],
            f"from the event until the last one's first pass has decided: {how}",
            sizes=runs,
        ),
        row(
            "scale_baking_late_s",
            largest["baking_late_seconds"],
            f"the longest time by which a pass over one of those that bake was late: {how}",
        ),
        row(
            "scale_good_rolled_back",
            largest["rolled_back"],
            f"good releases that were rolled back, of those that bake and the fresh ones: {how}",
        ),
    )


@dataclass
class Watch:
    """When each model was looked at, from the documents committed."""

    looks: dict[str, list[datetime]] = field(default_factory=dict)
    fairness: Fairness = field(default_factory=Fairness)
    begun: dict[str, datetime] = field(default_factory=dict)
    ended: dict[str, datetime] = field(default_factory=dict)

    def see(self, now: datetime, writes: tuple[Any, ...]) -> None:
        self.fairness.on_commit(now, writes)
        for write in writes:
            collection, _, model = write.path.rpartition("/")
            if collection != "models":
                continue
            rollout = write.data["rollout"]
            at, found = rollout["last_observed_at"], self.looks.setdefault(model, [])
            if at and at not in found[-1:]:
                found.append(at)
            if write.data["candidate"]:
                self.begun.setdefault(model, now)
            elif model in self.begun:
                self.ended.setdefault(model, now)

    def longest_gap(self, model: str, since: datetime, until: datetime) -> float:
        times = [since, *(at for at in self.looks.get(model, ()) if at > since)]
        times.append(until)
        return max((b - a).total_seconds() for a, b in itertools.pairwise(times))


def _run(
    baking: int, paused: int, fresh_count: int = FRESH, reads_per_minute: int = READS_PER_MINUTE
) -> dict[str, Any]:
    deployment, watch = Deployment(reads_per_minute, QUICK), Watch()
    clock, meter = deployment.clock, deployment.meter
    deployment.on_commit = watch.see
    with in_virtual_time(clock):
        bring(deployment, "p00000", "pause")
        deployment.run(HOURS_PAUSED * 60)
        for number in range(HOSTS):
            bring(deployment, f"b{number}0000", "")
        bakes = [
            model
            for number in range(HOSTS)
            for model in copy_model(deployment, f"b{number}0000", baking // HOSTS)
        ]
        copy_model(deployment, "p00000", paused)
        deployment.emulator.set_behaviours([SLOW])
        deployment.run(SETTLING_MINUTES)
        meter.calls.clear()
        meter.deliveries.clear()
        meter.refused, began = 0, clock.now()
        watch.fairness.begin(began)
        fresh = [f"f{number:03d}" for number in range(fresh_count)]
        watch.begun = {model: began for model in bakes}
        deployment.outcomes.clear()
        published = clock.now()
        for model in fresh:
            message = release_message("1", model)
            host = {"host": "fresh.example.com"}
            deployment.publish(message | {"scaling": {"min": 1, "max": 2}, "traffic": host})
        taken = deployment.run(MINUTES, lambda: False)
    late = watch.fairness.latest(clock.now())
    gaps = sorted(watch.longest_gap(model, began, clock.now()) for model in bakes)
    first = [
        (watch.begun[model] - published).total_seconds() for model in fresh if model in watch.begun
    ]
    minutes = taken.total_seconds() / 60
    return {
        "fresh_seconds": max(first),
        "fresh_begun": len(first),
        "fresh_minutes": max(
            (watch.ended[m] - published).total_seconds() for m in fresh if m in watch.ended
        )
        / 60,
        "baking_late_seconds": round(max(late[model] for model in bakes).total_seconds(), 1),
        "baking_gap_seconds": round(gaps[-1], 1),
        "baking_gap_median_seconds": round(gaps[len(gaps) // 2], 1),
        "baked": len(gaps),
        "rolled_back": deployment.ended("rolled_back"),
        "outcomes": dict(Counter(deployment.outcomes.values())),
        "minutes": round(minutes, 1),
        "reads_per_minute": round(meter.calls["read"] / minutes),
        "refused": meter.refused,
        "deliveries_per_minute": round(meter.deliveries[outbox.WAKEUPS] / minutes),
        "cpu_seconds": round(meter.cpu_seconds, 1),
    }


def bring(deployment: Deployment, model: str, command: str) -> None:
    """The second release of a model, until it bakes or is paused."""
    first = release_message("1", model) | {"scaling": {"min": 1, "max": 2}}
    first["traffic"] = {"exposure": "none"} if command else {"host": f"host{model[1]}.example.com"}
    steps = [{"percent": 100, "hold_seconds": 86_400 if command else 0}]
    later = {"steps": steps, "bake_seconds": BAKE_SECONDS, "watch_seconds": 0}
    deployment.publish(first)
    deployment.run(60, lambda: deployment.outcomes.get((model, "1")) == "succeeded")
    deployment.publish({**first, "version": "2", "rollout": later})
    deployment.run(3)
    if command:
        deployment.publish({"model": model, "command": command})
        deployment.run(3)


def copy_model(deployment: Deployment, model: str, count: int) -> list[str]:
    """As many models in the same state, with the same beginning of their names, the first one
    included.
    """
    emulator, clock = deployment.emulator, deployment.clock
    bodies = [
        (key, dict(body))
        for collection in ORDER
        for key, body in emulator.resources(collection)
        if f"-{model}-" in key.name
    ]
    names = [f"{model[:2]}{number:04d}" for number in range(1, count)]
    emulator.operation_seconds = 0
    for name in names:
        for key, body in bodies:
            made = {
                field: value
                for field, value in body.items()
                if field not in OUTPUT_ONLY and field[0] != "_"
            }
            if key.collection == "instanceGroupManagers":
                found = emulator.find("instanceGroups", key.name) or {}
                made |= {"namedPorts": found["namedPorts"]}
            emulator.call("POST", f"{key.scope}/{key.collection}", renamed(made, {model: name}))
    emulator.operation_seconds = 1
    deployment.clock.advance(60)
    _copy_routes(emulator.find("urlMaps", "slipway-gateway") or {}, model, names)
    instances = {each["group"]: each["name"] for each in emulator.instances()}
    own = instances[f"slipway-{model}-blue"]
    documents = [
        *deployment.store.get_many([f"models/{model}"]).values(),
        *deployment.store.list(f"models/{model}/releases", 9),
    ]
    if documents[0].data["verified"]["target"] != _target(documents[0].data):
        raise RuntimeError(f"the target of {model} follows from more than its document")
    interval = documents[0].data["requeue_at"] - documents[0].data["rollout"]["last_observed_at"]
    for number, name in enumerate(names):
        new = {own: instances[f"slipway-{name}-blue"], model: name}
        for document in documents:
            data = renamed(document.data, new)
            if document is documents[0]:
                at = clock.now() + interval * (number / count)
                data |= {"requeue_at": at, "wakeups": data["wakeups"] + number % 5}
                data["verified"] = {
                    "at": clock.now() - timedelta(minutes=5) * (number / count),
                    "target": _target(data),
                }
                data["rollout"] |= {
                    "last_observed_at": max(at - interval, data["rollout"]["last_observed_at"])
                }
                deployment.bus.publish_at(outbox.WAKEUPS, outbox.wakeup(name, data["wakeups"]), at)
            deployment.store.commit(Put(renamed(document.path, new), data))
    return [model, *names]


def _target(document: dict[str, Any]) -> str:
    """The digest of the target that a pass over this document verifies."""
    state = from_document(document)
    return digest_of(target_of(state.rollout, state.desired, Observed()))


def _copy_routes(url_map: dict[str, Any], model: str, names: list[str]) -> None:
    for matcher in url_map.get("pathMatchers", ()):
        for rules in ("pathRules", "routeRules"):
            own = [rule for rule in matcher.get(rules, ()) if f"-{model}-" in str(rule)]
            for name in names:
                matcher.setdefault(rules, []).extend(renamed(own, {model: name}))


def renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for old, new in names.items():
            value = value.replace(old, new)
        return value
    if isinstance(value, dict):
        return {renamed(key, names): renamed(each, names) for key, each in value.items()}
    return [renamed(each, names) for each in value] if isinstance(value, list) else value
