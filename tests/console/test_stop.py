"""`slipway stop` and `slipway start` change one field of the policy, and every view shows it."""

from __future__ import annotations

from typing import Any

from infra.settings import POLICY
from infra.store.port import Put, Write
from tests.console.terminal import Terminal
from tests.console.test_dashboard import app_of, get
from tests.scenario import Scenario

WHY = "stopped by ann since 2026-01-01T00:00:00Z, rollbacks too: incident 42"


def policy_of(scenario: Scenario) -> dict[str, Any]:
    document = scenario.settings.get(POLICY)
    return document.data if document else {}


def test_a_stop_keeps_the_rest_of_the_policy_and_is_shown_until_it_ends() -> None:
    scenario = Scenario()
    scenario.given_exact_policy(max_instances=9)
    terminal = Terminal(scenario)
    stop = ("stop", "--reason", "incident 42", "--by", "ann", "--also-rollbacks")
    assert WHY in " ".join(terminal.run(*stop).out.split())
    assert policy_of(scenario) == {
        "max_instances": 9,
        "stop": {
            "reason": "incident 42",
            "by": "ann",
            "since": "2026-01-01T00:00:00Z",
            "rollbacks": True,
        },
    }
    assert WHY in " ".join(terminal.run("status").out.split())
    doctor = terminal.run("doctor", "--output", "json")
    assert {each["check"]: each["result"] for each in doctor.json}["stop"] == "wrong"
    for path in ("/", "/policy"):
        assert WHY in get(app_of(scenario), path).words
    assert terminal.run("start").status == 0
    assert policy_of(scenario) == {"max_instances": 9}
    assert "stopped" not in terminal.run("status").out
    assert "is not stopped" in terminal.run("start").out


def test_a_second_stop_lets_nothing_go_on_that_the_first_one_stopped() -> None:
    scenario = Scenario()
    terminal = Terminal(scenario)
    terminal.run("stop", "--reason", "incident 42", "--by", "ann", "--also-rollbacks")
    second = terminal.run("stop", "--reason", "incident 43", "--by", "bob")
    assert "rollbacks too: incident 43" in " ".join(second.out.split())
    assert policy_of(scenario)["stop"]["rollbacks"] is True


def test_a_stop_loses_no_change_that_somebody_makes_meanwhile() -> None:
    scenario = Scenario()
    commit, store = scenario.settings.commit, scenario.settings

    def commit_after_another(*writes: Write) -> dict[str, str]:
        store.commit = commit  # type: ignore[method-assign]
        commit(Put(POLICY, {"max_instances": 3}))
        return commit(*writes)

    store.commit = commit_after_another  # type: ignore[method-assign]
    assert Terminal(scenario).run("stop", "--reason", "x", "--by", "ann").status == 0
    assert policy_of(scenario)["max_instances"] == 3
    assert policy_of(scenario)["stop"]["by"] == "ann"


def test_a_stop_says_what_is_wrong_with_its_reason() -> None:
    scenario = Scenario()
    before = policy_of(scenario)
    for reason in ("", "a\u2060b", "x" * 501):
        result = Terminal(scenario).run("stop", "--reason", reason)
        assert result.status == 1
        assert "--reason" in result.notes
    assert policy_of(scenario) == before
