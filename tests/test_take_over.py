"""A deployment of Slipway is a rollout, the way back is one command, and so is the removal."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_deploy import (
    LIVE,
    PROJECT,
    SERVICES,
    against_existing,
    dry_run,
    email,
    flag,
    granted,
    run_against_existing,
    script,
    starting_with,
)


def test_a_new_revision_takes_over_after_it_has_answered(tmp_path: Path) -> None:
    commands = run_against_existing(tmp_path, "functions.sh", "intake")
    (deployed,) = starting_with("run deploy", commands)
    assert {"--no-traffic", "--tag=next"} <= set(deployed)
    (message,) = starting_with("pubsub topics publish", commands)
    assert message[4] == "slipway-checks"
    assert flag(message, "attribute").startswith("service=slipway-intake,check=")
    (moved,) = starting_with("run services update-traffic", commands)
    assert flag(moved, "to-revisions") == "r-2=100"
    order = [commands.index(each) for each in (deployed, message, moved)]
    assert order == sorted(order)
    unchecked = run_against_existing(tmp_path, "functions.sh", "intake", "--unchecked")
    assert not starting_with("pubsub topics publish", unchecked)
    assert starting_with("run services update-traffic", unchecked) == [moved]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("lacks pubsub.topics.publish on topic model-wakeups", "lacks pubsub.topics.publish"),
        ("", "no answer to its self-check"),
    ],
)
def test_a_revision_that_fails_its_check_gets_nothing_and_the_old_one_serves_on(
    tmp_path: Path, answer: str, why: str
) -> None:
    result, commands = against_existing(
        tmp_path, "functions.sh", "intake", revisions=LIVE, answer=answer
    )
    assert result.returncode == 1
    assert "slipway-intake: revision r-2 does not take over, and r-1 serves on" in result.stderr
    assert why in result.stderr
    assert not starting_with("run services update-traffic", commands)


def test_the_first_deployment_serves_at_once() -> None:
    for command in starting_with("run deploy", dry_run("functions.sh")):
        assert "--no-traffic" not in command


def test_the_way_back_is_one_command_that_deploys_nothing(tmp_path: Path) -> None:
    lines = "100,,r-2\n,previous,r-1"
    commands = run_against_existing(tmp_path, "functions.sh", "--back", revisions=lines)
    assert not starting_with("run deploy", commands)
    moved = starting_with("run services update-traffic", commands)
    assert [command[4] for command in moved] == [f"slipway-{each}" for each in SERVICES]
    for command in moved:
        assert flag(command, "to-revisions") == "r-1=100"
        assert "tag" not in str(
            command
        )  # a second --back changes nothing, and --take-over undoes it
    result, commands = against_existing(
        tmp_path, "functions.sh", "--back", "intake", revisions="100,,r-2", answer=""
    )
    assert result.returncode == 1
    assert "no earlier revision is remembered of slipway-intake" in result.stderr
    assert not starting_with("run services update-traffic", commands)


# ---- Uninstall


def test_without_yes_nothing_is_run_and_what_is_left_is_named() -> None:
    result = script("uninstall.sh", f"--project={PROJECT}", PATH="/usr/bin:/bin")
    assert result.returncode == 0
    assert "Nothing was done: add --yes" in result.stdout
    kept = ("slipway-gateway", "no-delete-protection", "gcr cloud-builds", "secrets, logs")
    for left in (*kept, "slipway-prometheus"):
        assert left in result.stdout


def test_everything_that_the_scripts_made_is_deleted() -> None:
    made, gone = dry_run("bootstrap.sh"), dry_run("uninstall.sh")

    def names(kind: str, verb: str, commands: list[list[str]], at: int) -> set[str]:
        return {command[at] for command in starting_with(f"{kind} {verb}", commands)}

    for kind in ("pubsub subscriptions", "iam roles", "tasks queues", "compute firewall-rules"):
        assert names(kind, "delete", gone, 4) == names(kind, "create", made, 4)
    topics = names("pubsub topics", "create", made, 4) - {"gcr", "cloud-builds"}
    assert names("pubsub topics", "delete", gone, 4) == topics
    services = names("run", "deploy", made, 3) | {"slipway-webhooks", "slipway-dashboard"}
    assert names("run services", "delete", gone, 4) == services
    accounts = {email(each) for each in names("iam service-accounts", "create", made, 4)}
    optional = {email("slipway-webhooks"), email("slipway-dashboard")}
    assert names("iam service-accounts", "delete", gone, 4) == accounts | optional
    assert starting_with("scheduler jobs delete", gone)
    removed = {
        (flag(command, "role"), flag(command, "member"))
        for command in starting_with("projects remove-iam-policy-binding", gone)
    }
    for account in accounts:
        on_project = {
            role for role, place in granted(account.partition("@")[0]) if place == PROJECT
        }
        assert {(role, f"serviceAccount:{account}") for role in on_project} <= removed


def test_what_instances_need_stays_while_there_are_some(tmp_path: Path) -> None:
    commands = run_against_existing(tmp_path, "uninstall.sh", "--yes")
    assert starting_with("compute instance-groups managed list", commands)
    assert starting_with("run services delete", commands)
    deleted = str([command for command in commands if "delete" in command])
    assert email("slipway-model") not in deleted
    assert "slipway-health-checks" not in deleted
    assert not any("firestore" in command for command in commands)
