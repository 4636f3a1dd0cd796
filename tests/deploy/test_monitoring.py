"""Metrics, alerts and the dashboard match what the code logs and what the scripts make. Each alert
has a runbook, whose commands exist.
"""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from infra.logs import JsonLines
from tests.deploy.commands import ROOT
from tests.deploy.faults import Scripts
from tests.deploy.world import PROJECT, World
from tests.scenario import Scenario

FOLDER = ROOT / "deploy/monitoring"
RUNBOOKS = ROOT / "docs/runbooks"
METRICS = {path.stem: json.loads(path.read_text()) for path in FOLDER.glob("metrics/*.json")}
ALERTS = {path.stem: json.loads(path.read_text()) for path in FOLDER.glob("alerts/*.json")}
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
OF_GOOGLE = {
    "pubsub.googleapis.com/subscription/num_undelivered_messages",
    "pubsub.googleapis.com/subscription/oldest_unacked_message_age",
    "run.googleapis.com/request_count",
}
ScriptsOn = Callable[[World], Scripts]
Json = dict[str, Any]
STOP = {"reason": "incident 42", "by": "ann", "since": "2026-01-01T01:00:00Z"}
Point = tuple[float, dict[str, str]]


def texts(value: Any, key: str) -> Iterator[Any]:
    """The values of this key, however deep."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from [each] if name == key else texts(each, key)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each, key)


# -- names


@pytest.mark.parametrize("content", [*ALERTS.values(), DASHBOARD], ids=[*ALERTS, "dashboard"])
def test_what_is_watched_exists(content: Json, live: World) -> None:
    queries = [*texts(content, "filter"), *texts(content, "query")]
    queries += texts(content, "prometheusQuery")
    assert queries
    for query in queries:
        own = {name.removesuffix("_sum") for name in re.findall(r"[/_]user[/_](\w+)", query)}
        own = {re.sub(r"^.*:user_", "", name) for name in own}
        own |= {each.removesuffix("_sum") for each in re.findall(r":user_(\w+)", query)}
        assert own <= set(METRICS), query
        others = set(re.findall(r'metric\.type = "([^"]+)"', query))
        assert {each for each in others if "/user/" not in each} <= OF_GOOGLE
        if "subscription_id" in query:
            named = set(re.findall(r'"([\w-]+-[\w-]+)"', query.partition("subscription_id")[2]))
            assert named
            assert named <= set(live.subscriptions())
        labels = set(re.findall(r"metric\.labels\.(\w+)", f"{query} {content}"))
        for name in own:
            known = {each["key"] for each in METRICS[name]["metricDescriptor"].get("labels", ())}
            assert set(re.findall(r"metric\.labels\.(\w+)", query)) <= known
        assert labels <= {"model", "to", "reason", "outcome", "response_code_class"}


def test_every_push_subscription_is_watched(live: World) -> None:
    (query,) = texts(ALERTS["unacknowledged-messages"], "filter")
    watched = set(re.findall(r'"([\w-]+)"', query.partition("one_of")[2]))
    checks = {name for name in live.subscriptions() if name.endswith("-check")}
    assert watched == set(live.subscriptions()) - checks - {"model-releases-dead-kept"}


def test_the_quota_is_that_of_the_doctor() -> None:
    from console.examine.project import READS

    (query,) = texts(ALERTS["quota-of-reads"], "query")
    for listed in re.findall(r"compute\.googleapis\.com/\(([\w|]+)\)", query):
        assert {f"compute.googleapis.com/{each}" for each in listed.split("|")} == READS


# -- runbooks


def test_every_alert_has_a_runbook_and_the_reverse() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == set(ALERTS)
    for name, alert in ALERTS.items():
        assert alert["userLabels"] == {"slipway": name}


@pytest.mark.parametrize("name", ALERTS)
def test_a_runbook_says_what_to_do_with_commands_that_exist(name: str) -> None:
    text = (RUNBOOKS / f"{name}.md").read_text()
    assert len(text) <= 8000, "Cloud Monitoring takes 8,192 characters"
    for part in ("What it means.", "What to look at", "What to do", "When it is over."):
        assert f"**{part}" in text
    assert text.endswith(f"This page is `docs/runbooks/{name}.md` of Slipway.\n")
    usages = dict(
        re.findall(r"^## slipway ([\w ]+)\n(.*?)^```$", _command_line(), re.MULTILINE | re.DOTALL)
    )
    commands = re.findall(r"(?:^|`)slipway ([a-z][^`\n]*)", text, re.MULTILINE)
    assert commands
    for command in commands:
        words = shlex.split(command)
        named = max((" ".join(words[:count]) for count in (1, 2)), key=lambda each: each in usages)
        usage = usages[" ".join(words[:2]) if " ".join(words[:2]) in usages else named]
        for flag in (word for word in words if word.startswith("-")):
            assert flag in usage, command
    for page in re.findall(r"`(docs/[\w/.-]+)`", text):
        assert (ROOT / page).exists()
    for page, title in re.findall(r"`(docs/[\w/.-]+)`, \"([^\"]+)\"", text):
        assert re.search(rf"^#+ {title}$", (ROOT / page).read_text(), re.MULTILINE)


def _command_line() -> str:
    return (ROOT / "docs/cli.md").read_text().replace("```text\n", "").replace("\n```\n", "\n```\n")


# -- what is logged


def entry_of(line: Mapping[str, Any]) -> Json:
    """What Cloud Run makes of a line that the reconciler prints: the severity is a field of the
    entry, and a message alone is text.
    """
    rest = {name: value for name, value in line.items() if name != "severity"}
    payload = {"textPayload": rest["message"]} if len(rest) == 1 else {"jsonPayload": rest}
    labels = {"service_name": "slipway-reconciler"}
    return payload | {"resource": {"type": "cloud_run_revision", "labels": labels}}


def matches(condition: str, line: Mapping[str, Any]) -> bool:
    """Whether Cloud Logging would find a line of the reconciler with a metric's filter."""
    entry = entry_of(line)
    return all(_holds(term, entry) for term in condition.split(" AND "))


def _holds(term: str, entry: Json) -> bool:
    path, operator, value = re.fullmatch(r"([\w.]+)(=|:)(.*)", term).groups()  # type: ignore[union-attr]
    found: Any = entry
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    if operator == ":":
        assert value == "*"
        return found is not None
    return found in re.findall(r'"([^"]*)"', value)


def extracted(metric: Json, line: Mapping[str, Any]) -> Point:
    """The value and the labels that a line gives a metric."""

    def field(extractor: str) -> Any:
        return line.get(re.fullmatch(r"EXTRACT\(jsonPayload\.(\w+)\)", extractor)[1], "")  # type: ignore[index]

    labels = {key: str(field(each)) for key, each in metric.get("labelExtractors", {}).items()}
    value = float(field(metric["valueExtractor"])) if "valueExtractor" in metric else 1.0
    return value, labels


def set_off(alert: Json, points: Mapping[str, list[Point]]) -> list[Point]:
    """The points for which a policy on a log-based metric opens an incident."""
    (condition,) = alert["conditions"]
    given = condition["conditionThreshold"]
    (metric,) = re.findall(r"/user/(\w+)", given["filter"])
    terms = re.findall(r'metric\.labels\.(\w+) (!?=) "([^"]*)"', given["filter"])
    return [
        (value, labels)
        for value, labels in points[metric]
        if value > given["thresholdValue"]
        and all((labels[key] == text) == (operator == "=") for key, operator, text in terms)
    ]


def test_metrics_and_alerts_count_what_the_reconciler_logs(log_records: list[Any]) -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_behaviour("2", never_ready=True)
    story.when_released("2")
    story.when_settled()
    story.when_released("3", rollout={"steps": [10, {"approve": {"by": "model-approvals"}}, 100]})
    story.when_phase_reached("step_2")
    story.when_minutes_pass(20)
    story.when_decided("reject")
    story.when_settled()
    for version in ("4", "5"):
        story.given_behaviour(version, ready_after_seconds=60)
        story.when_released(version)
        story.when_phase_reached("step_2")
    story.when_commanded("pause")
    before = calls_of(story)
    story.when_minutes_pass(20)
    assert calls_of(story) - before <= 40, "a paused rollout makes at most two calls a minute"
    story.when_commanded("abort")
    story.when_settled()
    story.given_behaviour("6", ready_after_seconds=60)
    story.when_released("6")
    story.when_phase_reached("step_2")
    story.given_fault("error", status=403, reason="rateLimitExceeded")
    story.when_minutes_pass(5)
    assert "ObservationFailed" in conditions(story)
    story.given_no_faults()
    for suspended in ({"stop": STOP}, {"freezes": [freeze(story.clock.now(), minutes=30)]}, {}):
        story.given_policy(**suspended)
        story.when_minutes_pass(25 if suspended else 0)
    story.when_settled()

    lines = [json.loads(JsonLines().format(each)) for each in log_records]
    points = {
        name: [extracted(each, line) for line in lines if matches(each["filter"], line)]
        for name, each in METRICS.items()
    }
    assert [name for name, each in points.items() if not each] == []
    ended = Counter(
        (labels["outcome"], labels["reason"]) for _, labels in points["slipway_outcomes"]
    )
    assert ended == {
        ("succeeded", ""): 2,
        ("rolled_back", "unhealthy"): 1,
        ("rolled_back", "rejected"): 1,
        ("superseded", "superseded"): 1,
        ("aborted", "aborted"): 1,
    }
    times = {labels["outcome"]: value for value, labels in points["slipway_rollout_seconds"]}
    assert times["rolled_back"] > 20 * 60
    assert sum(value for value, _ in points["slipway_calls"]) == calls_of(story)
    assert sum(value for value, _ in points["slipway_passes"]) >= len(points["slipway_passes"])
    assert len(points["slipway_ticks"]) > 60
    incidents = {
        name: {
            (labels["model"], labels.get("reason")) for _, labels in set_off(ALERTS[name], points)
        }
        for name in ("rollback", "observation-failed", "rollout-overdue")
    }
    assert incidents == {
        "rollback": {("tiny", "unhealthy")},
        "observation-failed": {("tiny", "")},
        "rollout-overdue": {("tiny", None)},
    }
    overdue = set_off(ALERTS["rollout-overdue"], points)
    assert max(value for value, _ in overdue) < 900, "of release 2, before its deadline"


def freeze(now: datetime, minutes: int) -> Json:
    ends = now + timedelta(minutes=minutes)
    return {"reason": "fair", "from": f"{now:%Y-%m-%dT%H:%M}", "to": f"{ends:%Y-%m-%dT%H:%M}"}


def calls_of(story: Scenario) -> int:
    return sum(story.emulator.calls.counts.values())


def conditions(story: Scenario) -> set[str]:
    return {each.type for each in story.state().conditions}


# -- the script


CHANNELS = [f"projects/{PROJECT}/notificationChannels/{number}" for number in (1, 2)]


def channels_in(world: World) -> World:
    world.resources |= {f"monitoring/{name}": {"name": name} for name in CHANNELS}
    return world


def test_what_people_set_stays_and_what_is_too_new_comes_later(
    scripts_on: ScriptsOn, monitored: World
) -> None:
    world = channels_in(monitored)
    scripts = scripts_on(world)
    (new,) = (
        key for key in world.resources if key.endswith(policies(world)["tick-missing"]["name"])
    )
    del world.resources[new]
    policies(world)["rollback"] |= {"enabled": False, "notificationChannels": CHANNELS}
    dashboard(world)["mosaicLayout"] = {}
    copied = f"projects/{PROJECT}/alertPolicies/0"
    world.resources[f"monitoring/{copied}"] = policies(world)["rollback"] | {
        "name": copied,
        "displayName": "Copy",
        "creationRecord": {"mutateTime": "2026-02-01T00:00:00Z"},
    }
    metric = world.resources[f"logging/projects/{PROJECT}/metrics/slipway_calls"]
    metric["filter"] = "of an earlier version"
    world.unusable_metrics = {"slipway_ticks"}
    first = scripts.run("monitoring.sh --notify=1")
    first.check()
    assert "no alerts yet for tick-missing" in first.errors
    assert set(policies(world)) == set(ALERTS) - {"tick-missing"}
    world.unusable_metrics = set()
    for _ in range(2):
        scripts.run("monitoring.sh --notify=1").check()
    assert set(policies(world)) == set(ALERTS)
    assert policies(world)["rollback"]["enabled"] is False
    assert policies(world)["rollback"]["notificationChannels"] == CHANNELS
    assert policies(world)["dead-letters"]["notificationChannels"] == CHANNELS[:1]
    assert dashboard(world)["mosaicLayout"] == {}
    metric = world.resources[f"logging/projects/{PROJECT}/metrics/slipway_calls"]
    assert metric["filter"] == METRICS["slipway_calls"]["filter"]
    assert world.resources[f"monitoring/{copied}"]["displayName"] == "Copy"


def test_an_incident_shows_the_runbook_with_links_where_docs_are_published(
    scripts_on: ScriptsOn, monitored: World
) -> None:
    runbook = (RUNBOOKS / "observation-failed.md").read_text()
    documented = policies(monitored)["observation-failed"]["documentation"]
    assert documented == {"content": runbook, "mimeType": "text/markdown"}
    site = "https://github.com/a-very-long-name-of-an-owner/a-very-long-name/blob/main/docs"
    scripts_on(monitored).run(f"monitoring.sh --docs={site}/").check()
    for name, each in policies(monitored).items():
        documented = each["documentation"]["content"]
        assert f"[docs/runbooks/{name}.md]({site}/runbooks/{name}.md)" in documented
        assert len(documented) <= 8192
        assert len(documented.encode()) <= 10240


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            "--notify=ann@example.com",
            "--notify=ann@example.com: not names of notification channels",
        ),
        ("--notify=", "--notify must not be empty"),
        ("--docs=docs", "--docs=docs: not the address of a folder"),
        ("--docs='https://example.com/|e'", "not the address of a folder"),
    ],
)
def test_an_argument_that_does_not_suit_changes_nothing(
    scripts_on: ScriptsOn, arguments: str, words: str
) -> None:
    scripts = scripts_on(World())
    done = scripts.run(f"monitoring.sh {arguments}")
    assert done.code == 1
    assert words in done.errors
    assert scripts.calls == []


def test_a_gcloud_without_alpha_is_named_before_anything_is_done(scripts_on: ScriptsOn) -> None:
    world = World()
    world.components = {"beta"}
    before = world.state()
    done = scripts_on(world).run("monitoring.sh")
    assert done.code == 1
    assert "gcloud has no component alpha: run gcloud components install alpha" in done.errors
    assert world.state() == before


def dashboard(world: World) -> Json:
    (found,) = world.named(f"monitoring/projects/{PROJECT}/dashboards/").values()
    return found


def policies(world: World) -> dict[str, Json]:
    """The oldest of each alert."""
    found = world.named(f"monitoring/projects/{PROJECT}/alertPolicies/").values()
    newest_first = sorted(found, key=lambda each: str(each["creationRecord"]), reverse=True)
    return {each["userLabels"]["slipway"]: each for each in newest_first}
