"""`slipway policy`: shown, checked, and changed by one person at a time."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from infra.store.port import Delete, Put
from tests.console.terminal import Terminal
from tests.scenario import IMAGE, Scenario


def policy_of(story: Scenario) -> dict[str, Any]:
    document = story.settings.get("settings/policy")
    assert document
    return document.data


def test_the_policy_is_shown_edited_and_set(tmp_path: Path) -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_exact_policy(max_instances=9, exposure=["external"], hosts=["*"])
    terminal, file = Terminal(story), tmp_path / "policy.json"
    edited = terminal.run("policy", "show").json | {"hosts": ["example.com"]}
    file.write_text(json.dumps(edited))
    assert terminal.run("policy", "check", str(file)).status == 0
    unconfirmed = terminal.run("policy", "set", str(file))
    assert (unconfirmed.status, "--yes" in unconfirmed.notes) == (1, True)
    assert policy_of(story)["hosts"] == ["*"]
    done = terminal.run("policy", "set", str(file), "--yes")
    assert done.status == 0
    assert '-    "*"' in done.out
    assert '+    "example.com"' in done.out
    assert "tiny 1: traffic.host: policy allows example.com; got *" in done.notes
    assert policy_of(story) == edited
    assert "says this already" in terminal.run("policy", "set", str(file)).notes


@pytest.mark.parametrize(
    ("text", "status", "why"),
    [
        ('{"max_instance": 5}', 2, "unknown fields max_instance"),
        ('{"hosts": ["*"], "hosts": []}', 1, "must not repeat a name"),
        ("[]", 1, "must be a JSON object"),
        ("{", 1, "must be JSON"),
    ],
)
def test_what_is_no_policy_is_refused_and_changes_nothing(
    tmp_path: Path, text: str, status: int, why: str
) -> None:
    story, file = Scenario(), tmp_path / "policy.json"
    before = policy_of(story)
    file.write_text(text)
    result = Terminal(story).run("policy", "check", str(file))
    assert (result.status, why in result.notes) == (status, True)
    assert why in Terminal(story).run("policy", "set", str(file), "--yes").notes
    assert policy_of(story) == before


def test_the_command_in_a_refusal_allows_the_release() -> None:
    story = Scenario()
    story.given_exact_policy(machine_types=["e2-small"], max_instances=5)
    event = {"model": "tiny", "version": "1", "artifact": {"image": f"{IMAGE}:1"}}
    story.when_published(event)
    command = story.quarantine()[0]["why"].rpartition("allows this with: ")[2]
    assert Terminal(story).run(*shlex.split(command)[1:], "--yes").status == 0
    story.when_published(event)
    assert len(story.quarantine()) == 1
    story.when_settled()
    assert story.serving_version() == "1"


def test_of_two_people_who_change_the_policy_the_second_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    story = Scenario()

    def interrupt(*_: object, **__: object) -> bool:
        story.settings.commit(Put("settings/policy", {"max_instances": 3}))
        return True

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("typer.confirm", interrupt)
    result = Terminal(story).run("policy", "allow", "networks=global/networks/a")
    assert (result.status, "somebody else changed the policy" in result.notes) == (1, True)
    assert policy_of(story) == {"max_instances": 3}


def test_the_first_policy_is_created_from_the_safe_defaults() -> None:
    story = Scenario()
    story.settings.commit(Delete("settings/policy"))
    terminal = Terminal(story)
    assert terminal.run("policy", "show").json == {}
    assert terminal.run("policy", "allow", "service_accounts=llama", "--yes").status == 0
    assert policy_of(story) == {"service_accounts": ["slipway-model", "llama"]}
