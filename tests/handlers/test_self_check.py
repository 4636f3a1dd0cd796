"""A new revision answers whether it can take over, and old and new versions share documents."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from handlers import self_check
from infra.bus.envelope import PUBLISHED
from infra.identity.needs import Instance
from infra.store.port import Put
from infra.version import version
from tests.handlers.test_self_test import RECONCILER, Grants, identity_with
from tests.scenario import PROJECT, Scenario


class Event(dict[str, Any]):
    data: Any = None


def check(nonce: str = "n-1", topic: str = self_check.TOPIC) -> Event:
    event = Event(
        type=PUBLISHED, source=f"//pubsub.googleapis.com/projects/{PROJECT}/topics/{topic}"
    )
    message = {"messageId": "1", "publishTime": "2026-01-01T00:00:00Z"}
    event.data = {"message": message | {"data": "", "attributes": {"check": nonce}}}
    return event


def answered(
    scenario: Scenario,
    caplog: pytest.LogCaptureFixture,
    grants: Grants,
    instance: Instance | None = RECONCILER,
) -> dict[str, Any]:
    caplog.clear()
    with caplog.at_level("INFO", "slipway"), identity_with(grants) as identity:
        self_check.answer(check(), instance, lambda: scenario.world, lambda: identity)
    (line,) = [each for each in caplog.records if each.message == self_check.ANSWERED]
    fields: dict[str, Any] = line.__dict__["fields"]
    assert fields["check"] == "n-1"
    return fields


def test_a_revision_that_can_do_its_work_answers_right_with_its_version(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scenario = Scenario()
    scenario.when_released("1")
    found = answered(scenario, caplog, Grants())
    assert (found["answer"], found["revision"], found["version"]) == ("right", "r-1", version())
    document = scenario.store.get("checks/slipway-reconciler")
    assert document
    assert {**document.data, "at": ""} == found | {"at": ""}


def test_what_a_revision_cannot_do_is_its_answer(caplog: pytest.LogCaptureFixture) -> None:
    scenario = Scenario()
    scenario.when_released("1")
    revoked = Grants(revoked={"pubsub.topics.publish model-wakeups"})
    assert answered(scenario, caplog, revoked)["answer"] == (
        "lacks pubsub.topics.publish on topic model-wakeups"
    )
    document = scenario.store.get("models/tiny")
    assert document
    scenario.store.commit(Put("models/newer", document.data | {"schema": 99}))
    assert (
        "1 of 2 models are unreadable: models/newer"
        in answered(scenario, caplog, Grants())["answer"]
    )
    scenario.given_policy(max_instances="many")
    assert "max_instances" in answered(scenario, caplog, Grants())["answer"]
    assert answered(scenario, caplog, Grants(), None)["answer"] == "not on Cloud Run"


def test_a_function_that_writes_nothing_answers_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scenario = Scenario()
    silent = replace(RECONCILER, service="slipway-artifact-intake", entry_point="on_artifact")
    assert answered(scenario, caplog, Grants(), silent)["answer"] == "right"
    assert scenario.store.get("checks/slipway-artifact-intake") is None


def test_only_the_topic_of_checks_asks() -> None:
    assert self_check.is_check(check())
    for topic in ("model-releases", "model-slipway-checks"):
        assert not self_check.is_check(check(topic=topic))
    assert not self_check.is_check(Event())


def test_a_startup_probe_fails_for_a_lacking_right_but_not_for_an_outage() -> None:
    webhooks = replace(RECONCILER, service="slipway-webhooks", entry_point="on_webhook")
    scenario = Scenario()
    grants = Grants(revoked={"pubsub.topics.publish"})
    with identity_with(grants) as identity:
        probe = self_check.StartupProbe(webhooks, lambda: scenario.world, lambda: identity)
        assert probe.answer() == ("not right: see the log", 503)
        grants.revoked.clear()
        assert probe.answer() == ("right", 200)
        grants.revoked.add("pubsub.topics.publish")
        assert probe.answer() == ("right", 200), "it is tested once"

    with identity_with(Grants(broken={"model-artifacts": (503, {})})) as identity:
        probe = self_check.StartupProbe(webhooks, lambda: scenario.world, lambda: identity)
        assert probe.answer() == ("right", 200)
