"""Checks the final state of a run against the run without faults, and for consistency.

The final state and the number of resources created and deleted have to equal those of the run
without faults; after a single crash the number of updates too. Where a fault may change the outcome
of a correct Slipway (a refusal, a lost zone), the final state only has to be consistent: every
release has an outcome, and the model's resources match its stable release.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from compute_emulator import Emulator
from infra.store.documents import from_document
from tests.assurance.simulation.engine import Simulation
from tests.assurance.simulation.schedule import Schedule
from tests.assurance.simulation.workloads import SECRET, Workload

EPHEMERAL = ("operations", "instances", "disks", "images", "instanceGroups")
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
Report = Callable[[str], None]


def final_state(simulation: Simulation, models: tuple[str, ...]) -> dict[str, Any]:
    """The resources, the reasons of refusals, and each model, as the run left them."""
    resources = {
        f"{key.collection}/{key.name}": _normalize(body)
        for key, body in simulation.emulator.resources()
        if key.collection not in EPHEMERAL
    }
    refused = sorted(
        record.data["why"] for record in simulation.store.list("quarantine", 100, None)
    )
    return {
        "resources": resources,
        "refused": refused,
        **{model: _model_state(simulation, model) for model in models},
    }


def _model_state(simulation: Simulation, model: str) -> dict[str, Any]:
    document = simulation.store.get(f"models/{model}")
    if document is None:
        return {}
    state = from_document(document.data)
    releases = simulation.store.list(f"models/{model}/releases", 100, None)
    templates = {release.data["template"]: release.data["version"] for release in releases}
    groups = {f"slipway-{model}-blue", f"slipway-{model}-green"}
    live = [
        each
        for each in simulation.emulator.instances()
        if each["group"] in groups and each["action"] != "DELETING"
    ]
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


MARKS = "compute.autoscalers.patch autoscalers"


def effects_of(emulator: Emulator) -> Counter[str]:
    """The number of successful changes at Compute Engine, by operation type and collection. Patches
    of autoscalers are left out: they mark what a pass changed, and a crash divides passes.
    """
    found = Counter(
        f"{operation['operationType']} {operation['targetLink'].split('/')[-2]}"
        for operation in emulator.operations()
        if not operation.get("error")
    )
    del found[MARKS]
    return found


def compare(
    simulation: Simulation,
    workload: Workload,
    schedule: Schedule,
    expected: tuple[dict[str, Any], Counter[str]],
    *,
    has_diverged: bool,
) -> None:
    """Fails the run if its final state is wrong. `expected`: final state and effects of the run
    without faults; `has_diverged`: a step of the workload was taken in another state than it was
    meant for.
    """
    report = simulation.fail
    end = final_state(simulation, workload.models)
    for model in workload.models:
        _check_verdicts(workload, simulation.line, end[model], report)
        _check_consistency(model, end[model], end["resources"], report)
    for topic, event in simulation.notifications:
        if SECRET in json.dumps(event.data) or SECRET.encode() in _data(event):
            report(f"a secret was published on {topic}")
    if schedule.may_change_outcome or simulation.violations:
        return
    for model in workload.models:
        _check_order(model, workload, simulation.line, end[model], report)
    desired = workload.serves
    if desired and not has_diverged and end["tiny"]["serves"] != desired:
        report(
            f"release {end['tiny']['serves']} serves instead of {desired}:"
            f" {end['tiny']['outcomes']}"
        )
    if workload.is_racy or has_diverged:
        return
    expected_end, all_expected = expected
    if end != expected_end:
        report(f"the final state differs from the run without faults: {_diff(expected_end, end)}")
    # What crashes again and again is repaired more often if its rollout takes longer.
    is_exact = schedule.is_single_crash and "dies_after_seconds" not in str(workload.bad)
    is_exact = is_exact and not workload.may_merge
    select = Counter if is_exact else _creations_and_deletions
    effects, expected_effects = select(effects_of(simulation.emulator)), select(all_expected)
    if effects != expected_effects:
        report(
            "the effects differ from the run without faults:"
            f" {dict(effects - expected_effects)} more, {dict(expected_effects - effects)} fewer"
        )


def _check_verdicts(
    workload: Workload, line: list[dict[str, Any]], end: dict[str, Any], report: Report
) -> None:
    """No release that crashes or never answers ever succeeds, unless a person promotes it while its
    instances are healthy.
    """
    if any(body.get("command") == "promote" for body in line):
        return
    for version in workload.bad:
        if end.get("outcomes", {}).get(version) == "succeeded":
            report(f"release {version} is bad and succeeded")


def _check_order(
    model: str,
    workload: Workload,
    line: list[dict[str, Any]],
    end: dict[str, Any],
    report: Report,
) -> None:
    """No intent undoes one that was published later: nothing serves after a last retirement, and
    the newest release serves if nothing that stops it was published after it, unless it failed by
    itself or was refused. `line`: the messages in the order of their publication.
    """
    for number, body in reversed(list(enumerate(line))):
        verb, version = body.get("command"), body.get("version")
        if body["model"] != model or verb in ("resume", "promote"):
            continue
        if verb == "retire" and end["serves"] is not None:
            report(f"{model}: {end['serves']} serves, and a retirement was published last")
        if verb or version in workload.bad or version not in end["outcomes"]:
            return
        if any(version == each.get("version") for each in line[:number]) and not body.get("force"):
            return  # published before, and so unchanged
        if end["serves"] != version:
            report(f"{model}: {end['serves']} serves, and {version} was published last")
        return


def _check_consistency(
    model: str, end: dict[str, Any], resources: dict[str, Any], report: Report
) -> None:
    """Holds for every schedule: nothing is left half done, and every outcome is recorded."""
    if not end:
        return
    if end["phase"] != "Settled" or end["desired"] != end["serves"]:
        report(
            f"{model}: settled with {end['desired']} desired and {end['serves']} serving, phase"
            f" {end['phase']}"
        )
    pending = [version for version, outcome in end["outcomes"].items() if outcome is None]
    if pending:
        report(f"{model}: releases {pending} have no outcome")
    bodies = {
        name: body
        for name, body in resources.items()
        if name.rpartition("/")[2].startswith(f"slipway-{model}-")
    }
    if end["serves"] is None and bodies:
        report(f"{model}: nothing serves and {sorted(bodies)} exist")
    if end["serves"] is not None:
        if set(end["healthy"]) != {end["serves"]}:
            report(f"{model}: {end['serves']} should serve; healthy are {end['healthy']}")
        _check_autoscaler(model, bodies, report)
    if end["conditions"]:
        report(f"{model}: settled with conditions {end['conditions']}")


def _check_autoscaler(model: str, bodies: dict[str, Any], report: Report) -> None:
    scalers = [body for name, body in bodies.items() if name.startswith("autoscalers/")]
    if len(scalers) != 1:
        report(f"{model}: {len(scalers)} autoscalers are left at rest")
    for scaler in scalers:
        if (mode := scaler["autoscalingPolicy"]["mode"]) != "ON":
            report(f"{model}: the autoscaler's mode is {mode} at rest")


def _normalize(body: Any) -> Any:
    if isinstance(body, dict):
        plain = {
            name: _normalize(value)
            for name, value in sorted(body.items())
            if name not in SERVER_SET
        }
        if "pathRules" in plain:  # their order depends on which model came first
            plain["pathRules"].sort(key=str)
        return plain
    if isinstance(body, list):
        return [_normalize(value) for value in body]
    if isinstance(body, str):
        return re.sub(r" revision=\d+$", "", body)  # a repeat after a crash has another revision
    return body


def _creations_and_deletions(effects: Counter[str]) -> Counter[str]:
    return Counter(
        {
            kind: count
            for kind, count in effects.items()
            if kind.partition(" ")[0].endswith(("insert", "delete"))
        }
    )


def _data(event: Any) -> bytes:
    return base64.b64decode(event.data["message"].get("data") or "")


def _diff(before: Any, after: Any, path: str = "") -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        parts = [
            _diff(before.get(name), after.get(name), f"{path}.{name}")
            for name in sorted({*before, *after})
            if before.get(name) != after.get(name)
        ]
        return "; ".join(parts)
    return f"{path[1:]}: {str(before)[:200]} -> {str(after)[:200]}"
