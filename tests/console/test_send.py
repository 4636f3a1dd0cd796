"""What a publisher learns of its message, and the exit status."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.console.terminal import Result, Terminal
from tests.scenario import IMAGE, Scenario

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes an event for `tiny` to a file."""

    def to_file(version: str, **fields: Any) -> str:
        body = {"model": "tiny", "version": version, "artifact": {"image": f"{IMAGE}:{version}"}}
        file = tmp_path / f"{version}.json"
        file.write_text(json.dumps(body | fields))
        return str(file)

    return to_file


@pytest.fixture
def serving() -> Scenario:
    scenario = Scenario()
    rollout = {"bake_seconds": 0, "steps": [100]}
    scenario.given_serving("1", scaling={"min": 1, "max": 2}, rollout=rollout)
    return scenario


@pytest.fixture
def slow(serving: Scenario) -> Scenario:
    """The instances of release 2 take minutes to boot."""
    serving.given_behaviour("2", boot_seconds=150)
    return serving


@pytest.fixture(scope="module")
def untouched() -> Scenario:
    """Shared by tests that publish nothing."""
    return Scenario()


def test_a_release_is_followed_to_its_end_in_ci(serving: Scenario, write: Write) -> None:
    result = Terminal(serving).run("publish", write("2"), "--wait")
    assert result.status == 0
    lines = result.out.splitlines()
    assert lines[0] == "accepted: release 2 was published"
    assert lines[-1].startswith("succeeded: ")
    log = [entry for entry in serving.log() if entry["release"] == "2"]
    assert [line.split(" ", 1)[1] for line in lines[1:-1]] == [
        f"tiny 2: {entry['from']} -> {entry['to']}: {entry['why']}" for entry in log
    ]
    assert serving.serving_version() == "2"


def test_a_release_that_is_rolled_back_ends_with_status_2(serving: Scenario, write: Write) -> None:
    serving.given_behaviour("2", never_ready=True)
    rollout = {"progress_deadline_seconds": 180}
    result = Terminal(serving).run(
        "publish", write("2", rollout=rollout), "--wait", "--output", "json"
    )
    assert result.status == 2
    report = result.json
    assert (report["answer"], report["outcome"]) == ("accepted", "rolled_back")
    assert report["outcome_why"] == serving.why("2")
    assert "tiny 2: settled -> step_1" in result.notes, "progress is not mixed with the JSON"
    assert serving.serving_version() == "1"


def test_a_refused_event_has_all_its_problems(serving: Scenario, write: Write) -> None:
    scaling = {"min": "lots", "maxx": 1}
    result = Terminal(serving).run("publish", write("2", scaling=scaling), "--output", "json")
    assert (result.status, result.json["answer"]) == (2, "refused")
    (record,) = serving.quarantine()
    assert result.json["problems"] == record["problems"]
    assert [each.partition(":")[0] for each in record["problems"]] == [
        "scaling.min",
        "scaling.maxx",
    ]
    text = Terminal(serving).run("publish", write("2", scaling=scaling))
    assert (text.status, text.out.splitlines()[0]) == (2, "refused")
    assert "- scaling.min: must be an integer" in text.out


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b'{"model": "Tiny", "version": "2"}', "model: must be"),
        (b'{"model": "tiny"}', "version"),
        (b"{", "must be JSON"),
        (b"[]", "message: must be a JSON object"),
        (b"\xff", "must be UTF-8"),
        (b'{"model": "tiny", "version": "2", "x": "' + b"y" * 70_000 + b'"}', "at most 65536"),
        (b'{"model": "tiny", "command": "stop"}', "command"),
    ],
)
def test_an_event_whose_answer_could_not_be_found_is_not_sent(
    untouched: Scenario, tmp_path: Path, data: bytes, problem: str
) -> None:
    file = tmp_path / "event.json"
    file.write_bytes(data)
    result = Terminal(untouched).run("publish", str(file))
    assert result.status == 2
    assert problem in " ".join(result.out.split())
    assert untouched.quarantine() == []
    assert "published" not in result.notes


def test_a_release_published_again_is_unchanged_and_ends_as_it_ended(
    serving: Scenario, write: Write
) -> None:
    file = write("2")
    assert Terminal(serving).run("publish", file, "--wait").status == 0
    again = Terminal(serving).run("publish", file, "--output", "json")
    assert (again.status, again.json["answer"]) == (0, "unchanged")
    followed = Terminal(serving).run("publish", file, "--wait", "--output", "json")
    assert (followed.status, followed.json["outcome"]) == (0, "succeeded")
    other = Terminal(serving).run("publish", write("2", scaling={"max": 9}))
    assert other.status == 2
    assert "exists with other content" in " ".join(other.out.split())


def test_a_release_that_a_newer_one_replaces_is_superseded(slow: Scenario, write: Write) -> None:
    """The newer one is published while the older one is followed."""
    terminal = Terminal(slow, at_wait=(3, lambda: slow.when_released("3")))
    result = terminal.run("publish", write("2"), "--wait", "--output", "json")
    assert (result.status, result.json["outcome"]) == (2, "superseded")


def test_a_release_that_takes_too_long_goes_on(slow: Scenario, write: Write) -> None:
    result = Terminal(slow).run("publish", write("2"), "--wait", "--timeout", "30")
    assert result.status == 1
    assert "slipway: --timeout: tiny is in phase step_" in result.notes
    assert " after 30 s, and goes on: " in result.notes
    slow.when_settled()
    assert slow.serving_version() == "2"


def test_after_ctrl_c_a_release_goes_on(slow: Scenario, write: Write) -> None:
    result = Terminal(slow, stop_after=2).run("publish", write("2"), "--wait")
    assert result.status == 130
    assert "tiny goes on: slipway status tiny shows where it is" in result.notes
    slow.when_settled()
    assert slow.serving_version() == "2"


def test_a_message_that_nobody_handles_is_an_error_and_not_a_refusal(
    serving: Scenario, write: Write
) -> None:
    def stopped(handle: Callable[[], None]) -> None:
        raise RuntimeError("no function runs")

    serving.run_handler = stopped
    result = Terminal(serving).run("publish", write("2"))
    assert result.status == 1
    assert "nothing has answered it for 60 s. It is not lost" in result.notes


# ---- Commands


def command(scenario: Scenario, *arguments: str, status: int = 0) -> Result:
    result = Terminal(scenario).run(*arguments)
    assert result.status == status, result
    return result


def test_commands_do_what_they_say_and_say_what_they_did(slow: Scenario) -> None:
    slow.when_released("2")
    paused = command(slow, "pause", "tiny", "--wait", "--by", "ann", "--reason", "a look")
    assert paused.out.startswith("accepted: release 2 is paused: paused by ann: a look")
    assert command(slow, "pause", "tiny", status=2).out.startswith("unchanged: ")
    assert slow.state().rollout.paused
    promoted = command(slow, "promote", "tiny", "--full", "--wait", "--output", "json")
    assert promoted.json["outcome"] == "succeeded"
    assert slow.serving_version() == "2"
    assert command(slow, "resume", "tiny", status=2).out.endswith("nothing is paused\n")


def test_a_rollback_is_followed_until_the_earlier_release_serves(serving: Scenario) -> None:
    serving.given_serving("2")
    assert command(serving, "rollback", "tiny", "--version", "9", status=2).out.startswith(
        "refused"
    )
    back = command(serving, "rollback", "tiny", "--version", "1", "--wait")
    assert back.out.splitlines()[-1].startswith("succeeded: ")
    assert serving.serving_version() == "1"


def test_an_aborted_release_may_be_tried_again(slow: Scenario) -> None:
    slow.when_released("2")
    wrong = command(slow, "abort", "tiny", "--version", "3", status=2)
    assert wrong.out.startswith("unchanged: ")
    aborted = command(slow, "abort", "tiny", "--version", "2", "--wait")
    assert aborted.out.splitlines()[-1] == "settled: release 1 serves"
    again = command(slow, "retry", "tiny", "--wait", "--output", "json")
    assert again.json["outcome"] == "succeeded"
    assert slow.serving_version() == "2"


def test_an_approval_comes_on_its_own_topic(serving: Scenario) -> None:
    steps = [10, {"approve": {"by": "model-approvals"}}, 100]
    serving.when_released("2", rollout={"steps": steps})
    serving.when_phase_reached("step_2", within_seconds=300)
    assert command(serving, "approve", "tiny", "--version", "2", "--by", "ann").out.startswith(
        "accepted: release 2 is approved"
    )
    rejected = command(serving, "reject", "tiny", "--wait")
    assert rejected.out.splitlines()[-1] == "settled: release 1 serves"
    assert serving.outcome("2") == "rolled_back"


def test_to_retire_a_model_is_confirmed(serving: Scenario) -> None:
    refused = Terminal(serving).run("retire", "tiny")
    assert (refused.status, refused.out) == (1, "")
    assert "slipway: --yes: needed to retire tiny" in refused.notes
    assert serving.serving_version() == "1"
    retired = command(serving, "retire", "tiny", "--yes", "--wait")
    assert retired.out.splitlines()[-1] == "settled: nothing serves"
    assert serving.instances() == []


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        (("pause", "Tiny"), "MODEL: must be 1 to 40 lower-case letters"),
        (("abort", "tiny", "--version", "a b"), "--version: must be 1 to 63 letters"),
        (("pause", "tiny", "--reason", "two\nlines"), "--reason: must be one line"),
        (("resume", "tiny", "--by", "x" * 501), "--by: must be one line"),
        (("approve", "tiny", "--signature", "short"), "--signature: must be"),
        (("approve", "tiny", "--topic", "a/b"), "--topic: must be"),
        (("publish", "no-such-file.json"), "FILE: cannot read 'no-such-file.json': No such file"),
        (("publish",), "FILE: give a file with an event, or --plan, and not both"),
        (("publish", "x.json", "--timeout", "0"), "'--timeout'"),
    ],
)
def test_an_error_names_the_option_and_publishes_nothing(
    untouched: Scenario, arguments: tuple[str, ...], fix: str
) -> None:
    before = untouched.full_state()
    result = Terminal(untouched).run(*arguments)
    assert (result.status, result.out) == (1, "")
    assert fix in result.notes
    assert result.notes.count("\n") == 1
    assert untouched.full_state() == before


def test_a_person_sees_a_bar_with_text_that_is_escaped(serving: Scenario, write: Write) -> None:
    serving.given_behaviour("2", never_ready=True)
    terminal = Terminal(serving, is_real=True)
    result = terminal.run("publish", write("2", reason="[red]x[/red]"), "--wait", "--timeout", "90")
    assert result.status == 1
    assert "release 2 was published: [red]x[/red]" in result.out
    assert "\x1b[" in result.notes, "the bar moves the cursor"
    assert "step_1" in result.notes
