"""Faults that pass by themselves, calls that are refused, and two owners at once."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.deploy.commands import Call
from tests.deploy.faults import TEMPORARY, Fault, Scripts
from tests.deploy.world import World

ScriptsOn = Callable[[World], Scripts]


@pytest.mark.wide
def test_every_call_may_fail_once_for_a_passing_reason(scripts_on: ScriptsOn, live: World) -> None:
    """In the same run IAM does not have new service accounts at their first use."""
    previous: list[Call] = []

    def first_time(number: int, call: Call) -> Fault | None:
        is_new = previous[-1:] != [call]
        previous.append(call)
        return TEMPORARY[number % 4 // 2] if is_new else None

    scripts = scripts_on(World())
    scripts.fault_at = first_time
    scripts.world.delay = 2
    for script in ("bootstrap.sh", "functions.sh"):
        scripts.run(script).check()
    assert scripts.world.state() == live.state()


def test_a_second_run_changes_nothing(scripts_on: ScriptsOn, live: World) -> None:
    scripts, before = scripts_on(live), live.state()
    scripts.run("bootstrap.sh").check()
    assert live.state() == before
    made = [call.arguments for call in scripts.calls if "create" in call.arguments]
    assert [words for words in made if words[:3] != ["beta", "services", "identity"]] == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [(Fault.BUSY, "RESOURCE_EXHAUSTED"), (Fault.REFUSED, "PERMISSION_DENIED")],
    ids=("busy", "refused"),
)
def test_a_live_service_that_cannot_be_read_is_left_alone(
    scripts_on: ScriptsOn, live: World, fault: Fault, words: str
) -> None:
    scripts, before = scripts_on(live), copy.deepcopy(live.services())
    scripts.fault_at = lambda _, call: (
        fault if call.arguments[:3] == ["run", "services", "describe"] else None
    )
    done = scripts.run("bootstrap.sh")
    assert done.code == 1
    assert words in done.errors
    assert live.services() == before


@pytest.mark.wide
def test_two_owners_may_run_a_script_at_once(scripts_on: ScriptsOn, monitored: World) -> None:
    world = World()
    at_once(scripts_on, world, "bootstrap.sh")
    scripts_on(world).run("functions.sh").check()
    at_once(scripts_on, world, "monitoring.sh")
    assert world.state() == monitored.state()


def at_once(scripts_on: ScriptsOn, world: World, script: str) -> None:
    with ThreadPoolExecutor(2) as owners:
        both = [scripts_on(world), scripts_on(world)]
        for done in owners.map(Scripts.run, both, [script] * 2):
            done.check()
