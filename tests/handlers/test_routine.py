"""Routine passes: further apart and with fewer reads while many models share them, and last in a
tick.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from handlers import wakeup
from handlers.reconcile import routine
from infra.bus.embedded import EmbeddedBus
from infra.bus.envelope import parse_message
from infra.store import outbox
from infra.store.port import Put
from rollout.model import Baking
from tests.scenario import PROJECT, Scenario

MANY = {"models": 1200}  # 2.1 minutes apart, with the usual quota


def given_a_bake(story: Scenario) -> None:
    story.given_serving("1")
    story.when_released("2", rollout={"bake_seconds": 7200})
    story.when_phase_reached("baking")
    story.when_minutes_pass(2)


def count_reads(story: Scenario, minutes: int) -> tuple[int, int]:
    """The reads of the model's passes in this time, and how many passes there were."""
    before, passes = story.emulator.calls.counts.copy(), story.state().wakeups
    story.when_minutes_pass(minutes)
    made = story.emulator.calls.counts - before
    lists = sum(count for method, count in made.items() if "ist" in method.rpartition(".")[2])
    return made.total() - lists, story.state().wakeups - passes


def test_a_bake_beside_many_models_is_observed_rarely_and_by_its_health() -> None:
    story = Scenario()
    given_a_bake(story)
    story.store.commit(Put(routine.DUE, MANY))
    story.world.store.count_due = lambda until: MANY["models"]  # type: ignore[method-assign]
    reads, passes = count_reads(story, 60)
    assert 24 <= passes <= 32
    assert reads < 2.5 * passes
    assert isinstance(story.state().rollout.phase, Baking)
    story.when_minutes_pass(65)
    assert story.outcome("2") == "succeeded", "rare passes count as bake time"


def test_a_bake_that_sickens_beside_many_models_is_rolled_back() -> None:
    story = Scenario()
    given_a_bake(story)
    story.store.commit(Put(routine.DUE, MANY))
    story.world.store.count_due = lambda until: MANY["models"]  # type: ignore[method-assign]
    story.when_minutes_pass(10)
    story.emulator.affect_instances("unready")
    story.when_minutes_pass(8)
    assert story.outcome("2") == "rolled_back"


@pytest.mark.parametrize(("models", "recorded"), [(100, None), (200, 200)])
def test_only_many_due_models_are_recorded(models: int, recorded: int | None) -> None:
    story = Scenario()
    at = story.clock.now()
    for number in range(models):
        story.store.commit(Put(f"models/m{number}", {"model": f"m{number}", "requeue_at": at}))
    routine.count_due(story.world)
    found = story.store.get(routine.DUE)
    assert (found and found.data["models"]) == recorded


def test_a_tick_wakes_routine_passes_last_and_no_more_than_the_reads_allow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    story = Scenario()
    monkeypatch.setattr(routine, "passes_per_minute", lambda world: 2)
    for number, is_routine in enumerate((True, True, True, False)):
        at = story.clock.now() - timedelta(minutes=9 - number)
        document: dict[str, Any] = {"model": f"m{number}", "requeue_at": at}
        story.store.commit(Put(f"models/m{number}", document | {"is_routine": is_routine}))
    woken: list[str] = []
    bus = EmbeddedBus(story.clock, PROJECT)
    bus.subscribe(outbox.WAKEUPS, lambda event: woken.append(model_of(event)))
    wakeup.wake_due(story.new_worker(bus=bus))
    bus.pump()
    assert woken == ["m3", "m0", "m1"]


def model_of(event: Any) -> str:
    return str(json.loads(parse_message(event, PROJECT).data)["model"])


@pytest.mark.parametrize("garbled", [{}, {"models": None}, {"models": "many"}, {"models": -5}])
def test_a_garbled_count_stops_no_pass_and_is_counted_anew(garbled: dict[str, Any]) -> None:
    story = Scenario()
    story.store.commit(Put(routine.DUE, garbled))
    story.when_released("1")
    assert story.state().rollout.candidate
    story.world.store.count_due = lambda until: MANY["models"]  # type: ignore[method-assign]
    routine.count_due(story.world)
    document = story.store.get(routine.DUE)
    assert document
    assert document.data == MANY
