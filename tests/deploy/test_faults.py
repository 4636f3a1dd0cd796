"""A script may fail or be killed at any call: a second run finishes the first, and what is live
stays so.
"""

from __future__ import annotations

import copy
import itertools
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from tests.deploy.commands import Call
from tests.deploy.faults import TEMPORARY, Fault, Scripts
from tests.deploy.world import World

ScriptsOn = Callable[[World], Scripts]
SEED = int(os.environ.get("SLIPWAY_SEED", "1"))


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
def test_two_owners_may_run_bootstrap_at_once(scripts_on: ScriptsOn, live: World) -> None:
    world = World()
    with ThreadPoolExecutor(2) as owners:
        for done in owners.map(
            Scripts.run, [scripts_on(world), scripts_on(world)], ["bootstrap.sh"] * 2
        ):
            done.check()
    scripts_on(world).run("functions.sh").check()
    assert world.state() == live.state()


class Schedule(NamedTuple):
    is_live: bool
    script: str
    number: int
    fault: Fault


def schedules(scripts_on: ScriptsOn, live: World) -> Iterator[Schedule]:
    """Each fault at each call of bootstrap on an empty project and a live one, and of a
    deployment.
    """
    for is_live, script in (
        (False, "bootstrap.sh"),
        (True, "bootstrap.sh"),
        (True, "functions.sh"),
    ):
        scripts = scripts_on(copy.deepcopy(live) if is_live else World())
        scripts.run(script).check()
        for number, fault in itertools.product(range(len(scripts.calls)), Fault):
            yield Schedule(is_live, script, number, fault)


def check(schedule: Schedule, scripts_on: ScriptsOn, live: World) -> None:
    is_live, script, number, fault = schedule
    scripts = scripts_on(copy.deepcopy(live) if is_live else World())
    scripts.fault_at = lambda each, _: fault if each == number else None
    first = scripts.run(script)
    assert len(scripts.calls) > number
    if fault in TEMPORARY:
        first.check()
    elif fault is Fault.REFUSED:
        assert first.code == 0 or "PERMISSION_DENIED" in first.errors
    scripts.fault_at = lambda each, _: None
    scripts.run(script).check()
    if not is_live:
        scripts.run("functions.sh").check()
    assert scripts.world.state() == live.state()


@pytest.mark.wide
def test_a_second_run_finishes_the_first(scripts_on: ScriptsOn, live: World) -> None:
    """A sample of the next test."""
    chosen = random.Random(SEED)
    for is_live, script, calls in ((False, "bootstrap.sh", 180), (True, "functions.sh", 40)):
        fault = chosen.choice(list(Fault))
        check(Schedule(is_live, script, chosen.randrange(calls), fault), scripts_on, live)


@pytest.mark.nightly
@pytest.mark.timeout(4 * 3600)
def test_a_second_run_finishes_the_first_after_every_fault_at_every_call(
    scripts_on: ScriptsOn, live: World
) -> None:
    failed = {}
    for schedule in schedules(scripts_on, live):
        try:
            check(schedule, scripts_on, live)
        except AssertionError as error:
            failed[schedule] = str(error)[:500]
    assert failed == {}
