"""The names that `slipway doctor` looks for are those that `deploy/` creates."""

from __future__ import annotations

import re
from pathlib import Path

from console.examine import names
from infra.identity import needs
from tests.test_deploy import PROJECT, Command, dry_run, flag, starting_with

COMMON = Path(__file__).parents[2] / "deploy/common.sh"


def values() -> dict[str, str]:
    return dict(re.findall(r"^([A-Z_]+)=([\w./-]+)$", COMMON.read_text(), re.MULTILINE))


def created(words: str, commands: list[Command]) -> set[str]:
    return {command[1 + len(words.split())] for command in starting_with(words, commands)}


def test_doctor_looks_for_what_bootstrap_creates() -> None:
    commands = dry_run("bootstrap.sh")
    assert created("pubsub topics create", commands) == {*names.TOPICS}
    subscriptions = {
        command[4]: flag(command, "topic")
        for command in starting_with("pubsub subscriptions create", commands)
    }
    kept = {names.DEAD_LETTERS_KEPT: names.DEAD_LETTERS}
    checks = dict.fromkeys(names.CHECKED, names.CHECKS)
    flows = {flow.subscription: flow.topic for flow in names.FLOWS}
    assert subscriptions == flows | kept | checks
    with_dead_letters = {
        command[4]
        for command in starting_with("pubsub subscriptions create", commands)
        if flag(command, "dead-letter-topic").endswith(f"/topics/{names.DEAD_LETTERS}")
    }
    assert with_dead_letters == {flow.subscription for flow in names.FLOWS if flow.dead}
    assert created("tasks queues create", commands) == {names.QUEUE}
    assert created("scheduler jobs create pubsub", commands) == {names.TICK}
    not_indexed = {
        (flag(command, "collection-group"), command[5])
        for command in starting_with("firestore indexes fields update", commands)
    }
    assert not_indexed == names.NOT_INDEXED
    expiring = {
        (flag(command, "collection-group"), command[5])
        for command in starting_with("firestore fields ttls update", commands)
    }
    assert expiring == names.EXPIRING


def test_doctor_expects_what_the_functions_are_deployed_with() -> None:
    commands = [
        command
        for each in names.FUNCTIONS
        for script, *arguments in [each.script.split()]
        for command in dry_run(script, *arguments)
    ]
    deployed = {
        command[3] for command in starting_with("run deploy", commands) if flag(command, "function")
    }
    assert deployed == {each.service for each in names.FUNCTIONS}
    constants = values()
    assert constants["SHELL_IMAGE"] == names.SHELL_IMAGE
    assert constants["SETTINGS_DATABASE"] == names.SETTINGS_DATABASE
    assert constants["REGION"] == names.REGION
    assert int(constants["TIMEOUT_SECONDS"]) == names.LONGEST_SECONDS
    assert int(constants["ACK_DEADLINE_SECONDS"]) > names.LONGEST_SECONDS
    pushes = dry_run("bootstrap.sh") + commands
    accounts = {
        flag(command, "push-auth-service-account")
        for command in starting_with("pubsub subscriptions modify-push-config", pushes)
    }
    assert accounts == {names.account(names.INVOKER, PROJECT)}


def test_functions_publish_on_the_topics_that_exist() -> None:
    topics = {flow.topic for flow in names.FLOWS} | {names.DEAD_LETTERS}
    assert {topic for each in needs.TOPICS.values() for topic in each} <= topics
