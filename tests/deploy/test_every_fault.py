"""A script may fail or be killed at any call: a second run finishes the first, and what is live
stays so.
"""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import NamedTuple

import pytest

from tests.deploy.faults import TEMPORARY, Fault, Scripts
from tests.deploy.world import PROJECT, Json, World

ScriptsOn = Callable[[World], Scripts]
SEED = int(os.environ.get("SLIPWAY_SEED", "1"))
BOTH = ("bootstrap.sh", "functions.sh")
ALL = (*BOTH, "monitoring.sh")


class Story(NamedTuple):
    """A script that meets faults, what ran before it, and what is run after it."""

    before: tuple[str, ...]
    script: str
    after: tuple[str, ...] = ()


STORIES = {
    "bootstrap, first": Story((), "bootstrap.sh", ("functions.sh",)),
    "bootstrap, later": Story(BOTH, "bootstrap.sh"),
    "functions, first": Story(BOTH[:1], "functions.sh"),
    "functions, later": Story(BOTH, "functions.sh"),
    "take over": Story((*BOTH, "functions.sh --stage"), "functions.sh --take-over"),
    "back": Story((*BOTH, "functions.sh"), "functions.sh --back"),
    "webhooks": Story(BOTH, "webhooks.sh --secret=hooks"),
    "dashboard": Story(BOTH, "dashboard.sh --viewer=group:on-call@example.com"),
    "prometheus, first": Story(BOTH, "prometheus.sh"),
    "prometheus, later": Story((*BOTH, "prometheus.sh"), "prometheus.sh"),
    "monitoring, first": Story(BOTH, "monitoring.sh"),
    "monitoring, later": Story(ALL, "monitoring.sh"),
    "uninstall": Story(ALL, "uninstall.sh --yes"),
}


class Stage:
    """One story on an imitation of gcloud, which is set back before each fault."""

    def __init__(self, story: Story, scripts: Scripts, live: World) -> None:
        self.story, self.scripts = story, scripts
        is_live = story.before[:2] == BOTH
        scripts.world = copy.deepcopy(live if is_live else World())
        for each in story.before[2:] if is_live else story.before:
            scripts.run(each).check()
        secret = f"secretmanager/projects/{PROJECT}/secrets/hooks"
        scripts.world.resources[secret] = {"name": secret}
        self._start = copy.deepcopy(scripts.world)
        self.worlds = list(self._run_without_a_fault())
        """Before each call and at the end. A killed script leaves one of them."""
        self.end = self.finish(self.worlds[-1])

    def _run_without_a_fault(self) -> Iterator[World]:
        worlds: list[World] = []
        self.scripts.before_call = lambda: worlds.append(copy.deepcopy(self.scripts.world))
        self.scripts.run(self.story.script).check()
        self.scripts.before_call = lambda: None
        return chain(worlds, [self.scripts.world])

    def run(self, number: int, fault: Fault) -> World:
        """The world after a run that meets a fault at the call with this number."""
        self.scripts.world = copy.deepcopy(self._start)
        self.scripts.fault_at = lambda each, _: fault if each == number else None
        first = self.scripts.run(self.story.script)
        self.scripts.fault_at = lambda each, _: None
        assert len(self.scripts.calls) > number
        if fault in TEMPORARY:
            first.check()
        elif fault is Fault.REFUSED:
            assert first.code == 0 or "PERMISSION_DENIED" in first.errors
        return self.scripts.world

    def finish(self, world: World) -> Json:
        """What a second run and the scripts after it make of a world."""
        self.scripts.world = copy.deepcopy(world)
        for script in (self.story.script, *self.story.after):
            self.scripts.run(script).check()
        return self.scripts.world.state()


@pytest.mark.wide
@pytest.mark.parametrize("name", STORIES)
def test_a_second_run_finishes_the_first(scripts_on: ScriptsOn, live: World, name: str) -> None:
    """A sample of the next test, in which a script to be killed is killed."""
    chosen = random.Random(f"{SEED} {name}")
    stage = Stage(STORIES[name], scripts_on(World()), live)
    number, fault = chosen.randrange(len(stage.worlds) - 1), chosen.choice(list(Fault))
    assert stage.finish(stage.run(number, fault)) == stage.end, (number, fault)


@pytest.mark.nightly
@pytest.mark.timeout(2 * 3600)
@pytest.mark.parametrize("name", STORIES)
def test_a_second_run_finishes_the_first_after_every_fault_at_every_call(
    scripts_on: ScriptsOn, live: World, name: str
) -> None:
    """Each situation that a first run leaves is finished once, however many faults lead to it."""
    workers = [scripts_on(World()) for _ in range(os.cpu_count() or 1)]
    stages = [Stage(STORIES[name], each, live) for each in workers]
    finished: set[str] = set()
    failed = []

    def check(stage: Stage, number: int, fault: Fault) -> None:
        match fault:
            case Fault.KILLED_BEFORE:
                world = stage.worlds[number]
            case Fault.KILLED_AFTER:
                world = stage.worlds[number + 1]
            case _:
                world = stage.run(number, fault)
        situation = world.situation()
        if situation not in finished:
            finished.add(situation)
            assert stage.finish(world) == stage.end

    def check_calls(stage: Stage, first: int) -> None:
        for number in range(first, len(stage.worlds) - 1, len(stages)):
            for fault in Fault:
                try:
                    check(stage, number, fault)
                except AssertionError as error:
                    failed.append((number, fault, str(error)[:500]))

    with ThreadPoolExecutor(len(stages)) as threads:
        list(threads.map(check_calls, stages, range(len(stages))))
    assert failed == []
