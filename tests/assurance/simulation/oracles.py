"""What the end of a run is, and what it has to be: that of the run without faults, and whole in
itself whatever happened.

The world of a run has to be the one of the run without faults, and so has the number of resources
made and deleted on the way, after a single death that of updates too. Where a fault may honestly
change the outcome (a refusal, a lost zone), the end has to be whole in itself: every release with
an outcome, and the model's world what its stable release asks for."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from compute_emulator import Cloud
from infra.store.documents import from_document
from tests.assurance.simulation.engine import Simulation
from tests.assurance.simulation.schedule import Schedule
from tests.assurance.simulation.workloads import SECRET, Workload

PASSING = ("operations", "instances", "disks", "images", "instanceGroups")
SERVER_SET = {
    "labelFingerprint",
    "id",
    "creationTimestamp",
    "fingerprint",
    "calculated",
    "status",
    "targetSize",
    "_carried",
    "selfLink",
    "selfLinkWithId",
    "instanceFlexibilityPolicy",
}
Complain = Callable[[str], None]


def end_of(simulation: Simulation, models: tuple[str, ...]) -> dict[str, Any]:
    """The world as it is left: resources, what was refused, and each model."""
    resources = {
        f"{collection}/{name}": _plain(body)
        for (_, collection), table in simulation.cloud.tables.items()
        if collection not in PASSING
        for name, body in table.items()
    }
    refused = sorted(
        record.data["why"] for record in simulation.store.list("quarantine", 100, None)
    )
    return {
        "resources": resources,
        "refused": refused,
        **{model: _end_of(simulation, model) for model in models},
    }


def _end_of(simulation: Simulation, model: str) -> dict[str, Any]:
    document = simulation.store.get(f"models/{model}")
    if document is None:
        return {}
    state = from_document(document.data)
    releases = simulation.store.list(f"models/{model}/releases", 100, None)
    templates = {release.data["template"]: release.data["version"] for release in releases}
    members = [each for each in simulation.cloud.snapshot() if each["group"] == f"{model}-blue"]
    live = [each for each in members if each["action"] != "DELETING"]
    healthy = Counter(
        templates.get(each["template"], each["template"])
        for each in live
        if each["alive"] == "HEALTHY"
    )
    return {
        "serves": state.rollout.stable.version if state.rollout.stable else None,
        "desired": state.desired.release.version if state.desired.release else None,
        "phase": type(state.rollout.phase).__name__,
        "outcomes": {release.data["version"]: release.data.get("outcome") for release in releases},
        "healthy": dict(healthy),
        "conditions": [condition.type for condition in state.conditions],
        "outputs": sorted(state.outputs),
    }


def effects_on(cloud: Cloud) -> Counter[str]:
    """The changes that Compute Engine took, by kind and collection."""
    return Counter(
        f"{operation['operationType']} {operation['targetLink'].split('/')[-2]}"
        for operation in cloud.operations.table.values()
        if not operation.get("error")
    )


def compare(
    simulation: Simulation,
    workload: Workload,
    schedule: Schedule,
    undisturbed: tuple[dict[str, Any], Counter[str]],
    *,
    gave_up: bool,
) -> None:
    """Ends the run as broken where its end is not what it has to be. `undisturbed`: end and effects
    of the run without faults; `gave_up`: a step of the workload was asked of another world than it
    was meant for."""
    complain = simulation.break_off
    end = end_of(simulation, workload.models)
    for model in workload.models:
        _whole(model, end[model], end["resources"], complain)
    for topic, event in simulation.told:
        if SECRET in json.dumps(event.data) or SECRET.encode() in _data(event):
            complain(f"a secret was told on {topic}")
    if schedule.may_show or simulation.broken:
        return
    wanted = workload.serves
    if wanted and not gave_up and end["tiny"]["serves"] != wanted:
        complain(
            f"release {end['tiny']['serves']} serves and not {wanted}: {end['tiny']['outcomes']}"
        )
    if workload.is_racy or gave_up:
        return
    usual_end, usual_effects = undisturbed
    if end != usual_end:
        complain(f"another end than without faults: {_difference(usual_end, end)}")
    counted = Counter if schedule.is_one_death else _made
    made, usual = counted(effects_on(simulation.cloud)), counted(usual_effects)
    if made != usual:
        complain(
            f"other effects than without faults: {dict(made - usual)} more, {dict(usual - made)}"
            " less"
        )


def _whole(model: str, end: dict[str, Any], resources: dict[str, Any], complain: Complain) -> None:
    """Whatever happened: nothing half done, and everything on record."""
    if not end:
        return
    if end["phase"] != "Settled" or end["desired"] != end["serves"]:
        complain(
            f"{model}: settled with {end['desired']} desired and {end['serves']} serving, phase"
            f" {end['phase']}"
        )
    open_ends = [version for version, outcome in end["outcomes"].items() if outcome is None]
    if open_ends:
        complain(f"{model}: releases {open_ends} have no outcome")
    bodies = {
        name: body
        for name, body in resources.items()
        if name.rpartition("/")[2].startswith(f"{model}-")
    }
    if end["serves"] is None and bodies:
        complain(f"{model}: nothing serves and {sorted(bodies)} exist")
    if end["serves"] is not None:
        if set(end["healthy"]) != {end["serves"]}:
            complain(f"{model}: {end['serves']} should serve; healthy are {end['healthy']}")
        policy = bodies[f"autoscalers/{model}-blue"]["autoscalingPolicy"]
        if policy["mode"] != "ON":
            complain(f"{model}: the autoscaler's mode is {policy['mode']} at rest")
    if end["conditions"]:
        complain(f"{model}: settled with conditions {end['conditions']}")


def _plain(body: Any) -> Any:
    if isinstance(body, dict):
        plain = {
            name: _plain(value) for name, value in sorted(body.items()) if name not in SERVER_SET
        }
        if "pathRules" in plain:  # in the order in which models came
            plain["pathRules"].sort(key=str)
        return plain
    if isinstance(body, list):
        return [_plain(value) for value in body]
    return body


def _made(effects: Counter[str]) -> Counter[str]:
    return Counter(
        {
            kind: count
            for kind, count in effects.items()
            if kind.partition(" ")[0].endswith(("insert", "delete"))
        }
    )


def _data(event: Any) -> bytes:
    return base64.b64decode(event.data["message"].get("data") or "")


def _difference(before: Any, after: Any, path: str = "") -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        parts = [
            _difference(before.get(name), after.get(name), f"{path}.{name}")
            for name in sorted({*before, *after})
            if before.get(name) != after.get(name)
        ]
        return "; ".join(parts)
    return f"{path[1:]}: {str(before)[:200]} -> {str(after)[:200]}"
