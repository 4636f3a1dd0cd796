"""Golden histories: the stored documents and Compute Engine resources of one moment, as a file that
outlives the code.

`capture` makes a history of a scenario; `restore` makes a scenario of a history. The documents come
back unchanged except that all their times are shifted together. The resources are inserted through
Compute Engine's API, and the instances boot. So a file depends neither on Slipway's code nor on the
emulator's: a restored scenario contains exactly what an older Slipway wrote.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from infra.store.databases import SETTINGS
from infra.store.port import Put
from tests.scenario import Scenario

FOLDER = Path(__file__).parent
TIME = "$time"
# Each may refer to the ones before it.
COLLECTIONS = (
    "instanceTemplates",
    "healthChecks",
    "addresses",
    "instanceGroupManagers",
    "autoscalers",
    "backendServices",
    "urlMaps",
    "sslCertificates",
    "targetHttpProxies",
    "targetHttpsProxies",
    "forwardingRules",
)
SERVER_SET = (
    "id",
    "kind",
    "creationTimestamp",
    "selfLink",
    "selfLinkWithId",
    "fingerprint",
    "labelFingerprint",
    "status",
    "region",
    "instanceGroup",
    "currentActions",
    "IPAddress",
    "statusDetails",
    "recommendedSize",
    "scalingScheduleStatus",
)
BOOTING = timedelta(minutes=3)


@dataclass(frozen=True)
class FinalState:
    """The end of a scenario, by nothing that depends on how long it took."""

    serving: str | None
    healthy: dict[str, int]
    outcomes: dict[str, str | None]
    resources: list[str]


def final_state(scenario: Scenario) -> FinalState:
    releases = [
        document.data["version"] for document in scenario.store.list("models/tiny/releases", 100)
    ]
    names = sorted(
        name
        for name in scenario.resources()
        if not name.startswith(("instances/", "instanceGroups/"))
    )
    return FinalState(
        scenario.serving_version(),
        scenario.healthy_by_version(),
        {each: scenario.outcome(each) for each in releases},
        names,
    )


def run_to_end(scenario: Scenario) -> FinalState:
    """Runs until the model has settled; if it waits for a command, for an hour."""
    for _ in range(60):
        if scenario.state().requeue_at is None:
            break
        scenario.when_minutes_pass(1)
    scenario.when_minutes_pass(6)
    return final_state(scenario)


# ---- Capturing


def capture(scenario: Scenario) -> dict[str, Any]:
    """The moment as JSON values: the collections that a pass or the intake reads, without the
    log.
    """
    documents = [
        document
        for path in ("models", "models/tiny/releases", "outbox", "settings")
        for document in scenario.store.list(path, 1000)
    ]
    documents += scenario.settings.list("settings", 1000)
    return {
        "schema": scenario.store.list("models", 1)[0].data["schema"],
        "at": _to_json(scenario.clock.now()),
        "documents": {document.path: _to_json(document.data) for document in documents},
        "behaviours": _to_json(scenario.emulator.behaviours),
        "compute": [
            {"collection": f"{key.scope}/{key.collection}", "body": _to_json(body)}
            for collection in COLLECTIONS
            for key, body in scenario.emulator.resources(collection)
        ],
    }


def _to_json(value: Any) -> Any:
    match value:
        case datetime():
            return {TIME: value.isoformat()}
        case {"key": "user-data"}:
            return {"key": "user-data", "value": "#cloud-config"}  # long, and never read back
        case dict():
            return {
                name: _to_json(inner) for name, inner in value.items() if not name.startswith("_")
            }
        case list() | tuple():
            return [_to_json(inner) for inner in value]
        case _:
            return value


# ---- Restoring


def list_files() -> list[Path]:
    return sorted(FOLDER.glob("v*/*.json"))


def restore(history: dict[str, Any]) -> Scenario:
    """A scenario at that moment. No message is pending and no worker runs; the documents hold
    everything that is in progress.
    """
    scenario = Scenario()
    scenario.emulator.set_behaviours(history["behaviours"])
    updates = [update for resource in history["compute"] for update in _insert(scenario, resource)]
    scenario.clock.sleep(BOOTING.total_seconds())
    for url, body in updates:
        scenario.emulator.call("PATCH", url, body)
    scenario.clock.sleep(BOOTING.total_seconds() if updates else 0)
    scenario.emulator.advance()
    shift = scenario.clock.now() - datetime.fromisoformat(history["at"][TIME])
    policy: dict[str, Any] = {}
    for path, data in _documents(history, shift):
        if path == "settings/policy":
            policy = data
            continue
        store = scenario.settings if path in SETTINGS else scenario.store
        store.commit(Put(path, data))
    scenario.given_policy(**policy)
    return scenario


def _insert(scenario: Scenario, resource: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Inserts a resource. A group with two versions starts with its old version alone; the patch
    that adds the new one is yielded for later. Otherwise no instance of the old version would wait
    for a new one to become healthy.
    """
    body = {name: value for name, value in resource["body"].items() if name not in SERVER_SET}
    versions = body.get("versions", [])
    if len(versions) > 1:
        yield f"{resource['collection']}/{body['name']}", {"versions": versions}
        body["versions"] = [version for version in versions if "targetSize" not in version]
    scenario.emulator.call("POST", resource["collection"], body)
    scenario.clock.sleep(2)


def _documents(history: dict[str, Any], shift: timedelta) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, data in history["documents"].items():
        yield path, _restore_times(data, shift)


def _restore_times(value: Any, shift: timedelta) -> Any:
    match value:
        case {"$time": str(text)}:
            return datetime.fromisoformat(text).astimezone(UTC) + shift
        case dict():
            return {name: _restore_times(inner, shift) for name, inner in value.items()}
        case list():
            return [_restore_times(inner, shift) for inner in value]
        case _:
            return value


def restore_times(history: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The documents of a moment as they were stored, by path."""
    return dict(_documents(history, timedelta(0)))


def load(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return found
