"""What the commands show that read, and their exit status."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.store.port import Put
from rollout.model import phase_name
from tests.console.terminal import Result, Terminal
from tests.scenario import Scenario

ESCAPE = "\x1b"
HOSTILE = "[red]x[/red] \x1b]0;owned\x07 \u202e"


@pytest.fixture(scope="module")
def story() -> Scenario:
    """Release 1 served, 2 serves, 3 was rolled back, 4 takes over. One message was refused."""
    scenario = Scenario()
    quick = [{"weight": 5, "hold_seconds": 0}, {"weight": 100, "hold_seconds": 0}]
    rollout = {"strategy": "canary", "steps": quick, "bake_seconds": 0, "keep_old_seconds": 0}
    scenario.given_serving("1", rollout=rollout)
    scenario.given_serving("2", requested_by="ann@example.com")
    scenario.given_behaviour("3", never_ready=True)
    scenario.when_released("3", rollout={"progress_deadline_seconds": 180})
    scenario.when_settled()
    steps = [{"weight": 5, "hold_seconds": 600}, {"weight": 50}, {"weight": 100}]
    scenario.when_released("4", rollout={"steps": steps})
    scenario.when_phase_reached("step_1")
    scenario.when_seconds_pass(240)
    scenario.when_published({"model": "tiny", "version": "5", "scaling": {"min": "lots", "m": 1}})
    return scenario


def show(scenario: Scenario, *arguments: str, status: int = 0) -> str:
    result = Terminal(scenario).run(*arguments)
    assert result.status == status, result
    assert ESCAPE not in result.out + result.notes
    return result.out


def in_80_columns(text: str) -> bool:
    return all(len(line) <= 80 for line in text.splitlines())


def words(text: str) -> str:
    """The text without the line breaks and columns of a table."""
    return " ".join(text.split())


def test_status_says_what_runs_and_what_it_waits_for(story: Scenario) -> None:
    text = show(story, "status", "tiny")
    assert in_80_columns(text)
    fields = {
        line[:15].strip(): line[16:].strip() for line in text.splitlines() if line[:15].strip()
    }
    assert fields["serves"] == "release 2"
    assert fields["candidate"] == "release 4"
    assert fields["phase"] == "step_1"
    assert fields["step"] == "1 of 3"
    assert fields["requests"] == "5 % to release 4"
    assert fields["release 4"] == "3 healthy of 3 needed, 5 % of the requests"
    assert fields["last failed"] == "release 3"
    assert fields["previous"] == "release 1"
    assert fields["way back"].endswith("to roll back")
    assert fields["until"].endswith(": the step ends at the")
    assert fields["address"] == story.state().outputs["address"]
    assert story.state().waiting_for in words(text)
    assert "> 1 5 % of the requests 2 50 % of the requests" in words(text)


def test_status_as_json_has_the_same_as_values(story: Scenario) -> None:
    view = json.loads(show(story, "status", "tiny", "--output", "json"))
    state = story.state()
    assert state.rollout.progress
    assert (view["stable"], view["candidate"], view["phase"]) == ("2", "4", "step_1")
    assert (view["healthy"], view["needed"]) == (
        story.healthy_by_version()["4"],
        state.rollout.progress.needed,
    )
    assert view["weight_percent"] == 5
    assert [each["state"] for each in view["steps"]] == ["present", "next", "next"]
    assert view["seconds_to_roll_back"] == state.seconds_to_roll_back
    assert view["until"].endswith("Z")


def test_status_of_all_has_what_needs_a_person_first() -> None:
    scenario = Scenario()
    for model in ("calm", "busy"):
        scenario.when_released("1", model, rollout={"bake_seconds": 0}, scaling={"min": 1})
    scenario.when_settled("busy")
    scenario.given_behaviour("2", boot_seconds=150)
    scenario.when_released("2", "busy")
    scenario.when_released("1", "stuck")
    scenario.when_commanded("pause", "stuck")
    scenario.when_seconds_pass(60)
    rows = show(scenario, "status").splitlines()
    assert [row.split()[0] for row in rows if row[0] != " "] == ["MODEL", "stuck", "busy", "calm"]
    view = json.loads(show(scenario, "status", "--output", "json"))
    assert view[1] == {
        "model": "busy",
        "stable": "1",
        "coming": "2",
        "phase": phase_name(scenario.state("busy").rollout.phase),
        "waiting_for": scenario.state("busy").waiting_for,
        "urgency": "under way",
    }


def test_status_that_is_watched_is_written_again_when_it_changes() -> None:
    scenario = Scenario()
    scenario.given_serving("1", rollout={"bake_seconds": 0})
    scenario.when_released("2")
    watched = Terminal(scenario, stop_after=12).run("status", "tiny", "--watch")
    assert watched.status == 0
    assert {"step_1", "step_2"} <= set(watched.out.split())


def test_models_are_listed_with_what_serves(story: Scenario) -> None:
    text = show(story, "models")
    assert in_80_columns(text)
    assert "2 n1-standard-1 us-central1 3 to 6 canary" in words(text)


def test_history_marks_what_may_be_rolled_back_to(story: Scenario) -> None:
    rows = json.loads(show(story, "history", "tiny", "--output", "json"))
    assert [(each["version"], each["outcome"], each["rollback"]) for each in rows] == [
        ("4", "step_1", False),
        ("3", "rolled_back", False),
        ("2", "succeeded", False),
        ("1", "succeeded", True),
    ]
    text = show(story, "history", "tiny")
    assert in_80_columns(text)
    assert "ann@example.com" in text
    story_of_1 = next(line for line in text.splitlines() if line.startswith("1 "))
    assert story_of_1.split()[1:4] == ["succeeded", "-", "yes"]


def test_why_gives_the_decisive_reason_first(story: Scenario) -> None:
    text = show(story, "why", "tiny", "3")
    assert in_80_columns(text)
    lines = text.splitlines()
    assert lines[0].split() == ["release", "3", "of", "tiny"]
    assert lines[1].split() == ["state", "rolled_back"]
    assert lines[2].split() == ["reason", story.reason("3")]
    assert story.why("3") in words(text)
    decisions = [(entry["from"], entry["to"]) for entry in story.log() if entry["release"] == "3"]
    assert [f"{from_} -> {to}" in words(text) for from_, to in decisions] == [True] * len(decisions)


def test_why_without_a_version_is_about_the_release_in_progress(story: Scenario) -> None:
    assert show(story, "why", "tiny").split()[:4] == ["release", "4", "of", "tiny"]


def test_events_are_the_last_transitions_and_refusals(story: Scenario) -> None:
    lines = show(story, "events", "--last", "3", "--no-follow").splitlines()
    assert len(lines) == 3
    assert "tiny 4: step_1 -> step_1" in lines[1]
    assert "tiny 5: published -> quarantined: scaling." in lines[2]


def test_events_go_on_until_they_are_stopped() -> None:
    scenario = Scenario()
    scenario.given_serving("1", rollout={"bake_seconds": 0})
    scenario.when_released("2")
    live = Terminal(scenario, stop_after=10).run(
        "events", "tiny", "--last", "0", "--output", "json"
    )
    assert live.status == 0
    entries: list[dict[str, Any]] = [json.loads(line) for line in live.out.splitlines()]
    written = [entry for entry in scenario.log() if entry["release"] == "2"][2:]
    assert len(written) >= 2
    assert [(each["from"], each["to"]) for each in entries] == [
        (each["from"], each["to"]) for each in written
    ]


def test_a_refused_message_is_listed_and_shown_with_all_problems(story: Scenario) -> None:
    (record,) = story.quarantine()
    listed = show(story, "quarantine", "list")
    assert in_80_columns(listed)
    assert "(and 1 more)" in words(listed)
    key = json.loads(show(story, "quarantine", "list", "--output", "json"))[0]["id"]
    text = words(show(story, "quarantine", "show", key))
    assert len(record["problems"]) == 2
    assert all(problem in text for problem in record["problems"])
    assert '"version": "5"' in text


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        (("status", "none"), "MODEL: there is no model none; slipway models lists all"),
        (("status", "Tiny"), "MODEL: must be 1 to 40 lower-case letters"),
        (("history", "../../settings"), "MODEL: must be"),
        (("why", "tiny", "9"), "VERSION: nothing is known of a release 9 of tiny"),
        (("why", "tiny", "a b"), "VERSION: must be 1 to 63 letters"),
        (("quarantine", "show", "77"), "slipway quarantine list lists all"),
        (("quarantine", "show", "../models/tiny"), "ID: must be letters and digits"),
        (("events", "none"), "MODEL: there is no model none"),
        (("status", "--output", "yaml"), "'yaml' is not one of 'table', 'json'"),
        (("stats",), "No such command 'stats'"),
        (("status", "--project", "other"), "there is no project other here"),
    ],
)
def test_an_error_is_one_line_that_names_what_is_wrong(
    story: Scenario, arguments: tuple[str, ...], fix: str
) -> None:
    result = Terminal(story).run(*arguments)
    assert (result.status, result.out) == (1, "")
    assert fix in result.notes
    assert result.notes.startswith("slipway: ")
    assert result.notes.count("\n") == 1


def test_nothing_is_listed_in_an_empty_project() -> None:
    scenario = Scenario()
    for arguments in (("status",), ("models",), ("quarantine", "list")):
        result = Terminal(scenario).run(*arguments)
        assert (result.status, result.out) == (0, "")
        assert result.notes.startswith("project demo has")
        assert Terminal(scenario).run(*arguments, "--output", "json").json == []


def test_a_model_of_another_slipway_is_listed_beside_the_others() -> None:
    scenario = Scenario()
    scenario.when_released("1", "fine")
    scenario.store.commit(Put("models/older", {"schema": 1, "model": "older"}))
    for command in ("status", "models"):
        text = show(scenario, command)
        assert "schema 1" in words(text)
        assert "fine" in text
    result = Terminal(scenario).run("status", "older")
    assert result.status == 1
    assert "deploy the version that wrote it" in result.notes


def test_a_damaged_document_is_an_error_and_no_traceback() -> None:
    scenario = Scenario()
    scenario.when_released("1", "fine")
    document = scenario.store.get("models/fine")
    assert document
    scenario.store.commit(Put("models/damaged", document.data | {"rollout": {}, "desired": 1}))
    scenario.store.commit(Put("models/fine/log/99999999-0", {"model": "fine"}))
    for command in ("status", "models"):
        text = words(show(scenario, command))
        assert "damaged" in text
        assert "fine" in text
    for arguments in (("status", "damaged"), ("why", "fine"), ("events", "fine", "--no-follow")):
        result = Terminal(scenario).run(*arguments)
        assert (result.status, result.out) == (1, "")
        assert "damaged" in result.notes
        assert result.notes.count("\n") == 1
    assert Terminal(scenario).run("doctor").status == 2


# ---- What others wrote


@pytest.fixture(scope="module")
def attacked() -> Scenario:
    """What others can write is hostile: a release's reason, and what Compute Engine reports."""
    scenario = Scenario()
    scenario.when_released("1")
    state = scenario.state()
    document = scenario.store.get("models/tiny")
    assert document
    hostile = [{"type": "Degraded", "why": HOSTILE, "since": scenario.clock.now()}]
    outputs = {"address": HOSTILE}
    changed = {"conditions": hostile, "outputs": outputs, "waiting_for": HOSTILE}
    scenario.store.commit(Put("models/tiny", document.data | changed))
    entry = scenario.log()[-1] | {"why": HOSTILE, "evidence": [HOSTILE], "reason": "config"}
    scenario.store.commit(Put(f"models/tiny/log/{state.revision:08d}-9", entry))
    record = {"why": HOSTILE, "problems": [HOSTILE], "at": scenario.clock.now(), "raw": "GzFtWw=="}
    scenario.store.commit(Put("quarantine/1", record))
    return scenario


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("status", "tiny"),
        ("models",),
        ("why", "tiny", "1"),
        ("events", "--no-follow"),
        ("quarantine", "list"),
        ("quarantine", "show", "1"),
    ],
    ids=" ".join,
)
def test_text_of_others_does_not_act_on_a_terminal(
    attacked: Scenario, arguments: tuple[str, ...]
) -> None:
    result: Result = Terminal(attacked, is_real=True).run(*arguments)
    assert result.status == 0
    assert "[red]x[/red]" in result.out
    assert "\x1b]" not in result.out
    assert "\x07" not in result.out
    assert "\u202e" not in result.out
    assert "\\x1b]0;owned\\x07" in result.out.replace("\n", "")
    parsed = Terminal(attacked).run(*arguments, "--output", "json").out
    assert parsed.isascii()
    assert all(
        json.loads(line) for line in (parsed.splitlines() if "events" in arguments else [parsed])
    )
