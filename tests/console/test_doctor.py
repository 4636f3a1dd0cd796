"""What `slipway doctor` finds: each line is right, or says what to do."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from console.doctor import LATE, of_passes, of_topic
from console.topics import Subscription
from infra.store.port import Due, Put
from tests.console.terminal import Terminal
from tests.rollout.build import NOON
from tests.scenario import Scenario


@pytest.fixture
def scenario() -> Scenario:
    scenario = Scenario()
    scenario.when_released("1")
    return scenario


def examine(scenario: Scenario) -> tuple[int, dict[str, dict[str, Any]]]:
    result = Terminal(scenario).run("doctor", "--output", "json")
    return result.status, {each["check"]: each for each in result.json}


def test_all_is_right_where_slipway_works(scenario: Scenario) -> None:
    status, found = examine(scenario)
    assert status == 0
    assert {name: each["result"] for name, each in found.items()} == {
        "database": "right",
        "documents": "right",
        "holds": "right",
        "policy": "right",
        "stop": "right",
        "notifications": "right",
        "sources": "right",
        "passes": "right",
        "outbox": "right",
        "topics": "left out",
    }
    text = Terminal(scenario).run("doctor").out
    assert all(len(line) <= 80 for line in text.splitlines())


def wrong_policy(scenario: Scenario) -> None:
    scenario.given_policy(max_instances="many")


def wrong_destination(scenario: Scenario) -> None:
    team = {"type": "slack", "secret": "team", "evnts": ["paused"]}
    scenario.settings.commit(Put("settings/notifications", {"destinations": {"team": team}}))


def wrong_route(scenario: Scenario) -> None:
    scenario.settings.commit(Put("settings/sources", {"routes": {"tiny": {"mach": "*"}}}))


def another_schema(scenario: Scenario) -> None:
    scenario.store.commit(Put("models/older", {"schema": 1, "model": "older"}))


def no_ticks(scenario: Scenario) -> None:
    scenario.clock.sleep(600)


def messages_left(scenario: Scenario) -> None:
    at = scenario.clock.now() - timedelta(minutes=10)
    scenario.store.commit(Put("outbox/x", {"topic": "t", "data": "", "attributes": {}, "at": at}))


@pytest.mark.parametrize(
    ("break_it", "check", "what"),
    [
        (wrong_policy, "policy", "settings/policy: max_instances must be a non-negative"),
        (wrong_destination, "notifications", "destinations.team: has unknown fields evnts"),
        (wrong_route, "sources", "routes.tiny: has unknown fields mach"),
        (another_schema, "documents", "models/older: the document has schema 1"),
        (no_ticks, "passes", "and less: tiny"),
        (messages_left, "outbox", "messages not published: 1, the oldest since 10 min"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_wrong_is_named_with_status_2(
    scenario: Scenario, break_it: Any, check: str, what: str
) -> None:
    break_it(scenario)
    status, found = examine(scenario)
    assert status == 2
    assert [name for name, each in found.items() if each["result"] == "wrong"] == [check]
    assert what in found[check]["what"]


def test_a_pass_is_overdue_only_after_minutes() -> None:
    due = Due(NOON - LATE, "tiny")
    assert of_passes((), NOON).result == "right"
    finding = of_passes((due, *(Due(NOON, f"m{number}") for number in range(5))), NOON)
    assert finding.what == "overdue for 3 min and less: tiny, m0, m1 and 3 more"
    assert "Cloud Scheduler" in finding.todo


@pytest.mark.parametrize(
    ("subscriptions", "result"),
    [
        (None, "wrong"),
        ((), "wrong"),
        ((Subscription("kept", "", is_active=True),), "wrong"),
        ((Subscription("intake", "https://f", is_active=True),), "right"),
        ((Subscription("intake", "https://f", is_active=False),), "wrong"),
    ],
)
def test_a_topic_of_functions_needs_a_push_subscription_that_works(
    subscriptions: tuple[Subscription, ...] | None, result: str
) -> None:
    finding = of_topic("model-releases", subscriptions)
    assert finding.result == result
    assert bool(finding.todo) == (result == "wrong")
