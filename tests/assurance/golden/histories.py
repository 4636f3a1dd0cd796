"""A golden history: what one moment of a story left in the store and on Compute Engine, as a file
that outlives the code.

`kept` makes one of a story, `resumed` makes a story of one again. The store's documents come back
as they were, only moved in time as a whole. Compute Engine comes back through its own API: the
bodies of the resources are inserted as anybody would, and the instances boot. So a file depends on
neither Slipway's code nor the stand-in's: what is resumed is what an older one wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from compute_emulator import InProcessAdapter
from infra.store.port import Put
from tests.scenario import PROJECT, Scenario

FOLDER = Path(__file__).parent
TIME = "$time"
# In the order in which each may refer to the ones before it.
COLLECTIONS = (
    *(
        "instanceTemplates",
        "healthChecks",
        "addresses",
        "instanceGroupManagers",
        "autoscalers",
        "backendServices",
    ),
    *("urlMaps", "sslCertificates", "targetHttpProxies", "targetHttpsProxies", "forwardingRules"),
)
SERVER_SET = (
    *(
        "id",
        "kind",
        "creationTimestamp",
        "selfLink",
        "selfLinkWithId",
        "fingerprint",
        "labelFingerprint",
        "status",
        "region",
    ),
    *(
        "instanceGroup",
        "currentActions",
        "IPAddress",
        "statusDetails",
        "recommendedSize",
        "scalingScheduleStatus",
    ),
)
BOOTING = timedelta(minutes=3)


@dataclass(frozen=True)
class Ending:
    """What a story comes to, told by nothing that depends on how long it took."""

    serving: str | None
    healthy: dict[str, int]
    outcomes: dict[str, str | None]
    resources: list[str]


def ending(story: Scenario) -> Ending:
    releases = [
        document.data["version"] for document in story.store.list("models/tiny/releases", 100)
    ]
    names = sorted(
        name for name in story.resources() if not name.startswith(("instances/", "instanceGroups/"))
    )
    return Ending(
        story.serving_version(),
        story.healthy_by_version(),
        {each: story.outcome(each) for each in releases},
        names,
    )


def carried_on(story: Scenario) -> Ending:
    """Let the story come to its end: settled, or where a person's word is awaited, an hour on."""
    for _ in range(60):
        if story.state().requeue_at is None:
            break
        story.when_minutes_pass(1)
    story.when_minutes_pass(6)
    return ending(story)


# ---- To a file


def kept(story: Scenario) -> dict[str, Any]:
    """The moment as JSON values. Only collections that a turn or the intake reads are in it; the
    log is not."""
    documents = [
        document
        for path in ("models", "models/tiny/releases", "outbox", "settings")
        for document in story.store.list(path, 1000)
    ]
    tables = story.cloud.tables.items()
    return {
        "schema": story.store.list("models", 1)[0].data["schema"],
        "at": _plain(story.clock.now()),
        "documents": {document.path: _plain(document.data) for document in documents},
        "behaviours": _plain(list(story.cloud.behaviours)),
        "compute": [
            {"collection": f"{scope}/{kind}", "body": _plain(body)}
            for wanted in COLLECTIONS
            for (scope, kind), table in tables
            if kind == wanted
            for body in table.values()
        ],
    }


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return {TIME: value.isoformat()}
        case {"key": "user-data"}:
            return {"key": "user-data", "value": "#cloud-config"}  # long, and nobody reads it back
        case dict():
            return {
                name: _plain(inner) for name, inner in value.items() if not name.startswith("_")
            }
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case _:
            return value


# ---- And back


def files() -> list[Path]:
    return sorted(FOLDER.glob("v*/*.json"))


def resumed(history: dict[str, Any]) -> Scenario:
    """A story at that moment, with nothing under way but what the documents say: no message waits,
    no worker is alive."""
    story = Scenario()
    story.cloud.set_behaviours(history["behaviours"])
    swaps = [swap for resource in history["compute"] for swap in _made(story, resource)]
    story.clock.sleep(BOOTING.total_seconds())
    for url, body in swaps:
        _asked(story, "PATCH", url, body)
    story.clock.sleep(BOOTING.total_seconds() if swaps else 0)
    story.cloud.advance()
    later = story.clock.now() - datetime.fromisoformat(history["at"][TIME])
    story.store.commit(*(Put(path, data) for path, data in _documents(history, later)))
    return story


def _made(story: Scenario, resource: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Insert a resource. A group with two versions begins with its old one, and what makes it swap
    again comes later: an instance of the old version that waits for a new one to get well would
    else not be there."""
    body = {name: value for name, value in resource["body"].items() if name not in SERVER_SET}
    versions = body.get("versions", [])
    if len(versions) > 1:
        yield f"{resource['collection']}/{body['name']}", {"versions": versions}
        body["versions"] = [version for version in versions if "targetSize" not in version]
    _asked(story, "POST", resource["collection"], body)
    story.clock.sleep(2)


def _asked(story: Scenario, method: str, path: str, body: dict[str, Any]) -> None:
    session = requests.Session()
    session.mount("http://", InProcessAdapter(story.cloud))
    answer = session.request(
        method,
        f"http://compute.local/compute/v1/projects/{PROJECT}/{path}",
        json=body,
    )
    assert answer.ok, (method, path, answer.text)


def _documents(history: dict[str, Any], later: timedelta) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, data in history["documents"].items():
        yield path, _alive(data, later)


def _alive(value: Any, later: timedelta) -> Any:
    match value:
        case {"$time": str(text)}:
            return datetime.fromisoformat(text).astimezone(UTC) + later
        case dict():
            return {name: _alive(inner, later) for name, inner in value.items()}
        case list():
            return [_alive(inner, later) for inner in value]
        case _:
            return value


def read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return found
