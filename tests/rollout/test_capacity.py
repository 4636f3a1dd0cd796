"""How a rollout gets its instances, chosen before any is touched."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rollout.advance import advance
from rollout.capacity import choose, needs_room
from rollout.model import Desired, Evidence, Observed, Release, Rollout, Room, Settled
from rollout.requeue import SCARCE
from rollout.strategies import swap_of
from rollout.strategies.base import Swap
from rollout.strategies.rolling import EVERYTHING, Rolling, swap_group
from tests.rollout.build import NOON, group, instances, release, stuck

ONE = release("1", scaling={"min": 3, "max": 6})
SETTLED = Rollout(stable=ONE, serving_group="blue")
THREE = group(*instances(ONE, 3))
OUT_OF_STOCK = group(*instances(ONE, 2), stuck(ONE, "stock-out", "no g2 in zone a"))
BUDGET = {"surge": 3, "unavailable": 3}
CANARY = {"strategy": "canary", "steps": [{"weight": 50}, {"weight": 100}]}


def two(**rollout: Any) -> Release:
    return release("2", scaling={"min": 1, "max": 6}, rollout=rollout)


def room(instances: int) -> Room:
    return Room(instances, f"quota has room for {instances}")


@pytest.mark.parametrize(
    ("rollout", "space", "observed", "mode", "why"),
    [
        ({}, None, THREE, "surge", ""),
        ({}, room(1), THREE, "surge", "surge: quota has room for 1"),
        (
            {},
            room(0),
            THREE,
            "surge",
            "surge, though quota has room for 0, and the rollout needs 1; rollout.capacity could"
            " be wait or replace_in_place",
        ),
        (
            BUDGET,
            room(0),
            THREE,
            "replace_in_place",
            "replace_in_place: quota has room for 0, and the rollout needs 1",
        ),
        (
            BUDGET,
            None,
            OUT_OF_STOCK,
            "replace_in_place",
            "replace_in_place: no g2 in zone a",
        ),
        (BUDGET, room(5), THREE, "surge", "surge: quota has room for 5"),
        ({"unavailable": 3}, room(0), THREE, "surge", "surge: quota has room for 0"),
        (
            CANARY,
            room(3),
            THREE,
            "surge",
            "surge, though quota has room for 3, and the rollout needs 4; rollout.capacity could"
            " be wait",
        ),
        (CANARY, room(4), THREE, "surge", "surge: quota has room for 4"),
        ({"capacity": "surge"}, room(0), THREE, "surge", ""),
        ({"capacity": "replace_in_place"}, room(9), THREE, "replace_in_place", ""),
        ({"capacity": "wait"}, room(1), THREE, "wait", ""),
        ({"capacity": "wait"}, None, THREE, "wait", ""),
    ],
)
def test_the_room_decides_unless_the_release_does(
    rollout: dict[str, Any], space: Room | None, observed: Observed, mode: str, why: str
) -> None:
    newer = two(**rollout)
    choice = choose(SETTLED, newer, observed, space)
    chosen = choice.mode or newer.spec.rollout.capacity or "surge"
    assert (chosen, choice.why, choice.lacks) == (mode, why, "")


@pytest.mark.parametrize(
    ("space", "observed", "lacks"),
    [
        (room(0), THREE, "quota has room for 0, and the rollout needs 1"),
        (None, OUT_OF_STOCK, "no g2 in zone a"),
    ],
)
def test_a_release_that_waits_begins_when_there_is_room(
    space: Room | None, observed: Observed, lacks: str
) -> None:
    newer = two(capacity="wait")
    evidence = Evidence(room=space)
    decision = advance(SETTLED, Desired("tiny", newer), observed, evidence, NOON)
    assert (decision.rollout, decision.transitions) == (SETTLED, ())
    assert decision.waiting_for == lacks
    assert [(each.type, each.why) for each in decision.conditions] == [("CapacityScarce", lacks)]
    assert decision.requeue_at == NOON + SCARCE
    begun = advance(SETTLED, Desired("tiny", newer), THREE, Evidence(room=room(1)), NOON)
    assert (begun.rollout.candidate, begun.rollout.capacity) == (newer, "wait")


def test_another_machine_type_is_not_out_of_stock_with_the_old_one() -> None:
    other = release("2", machine={"type": "n2-standard-4"}, rollout={"capacity": "wait"})
    assert choose(SETTLED, other, OUT_OF_STOCK, None).lacks == ""


def test_what_needs_no_instance_needs_no_room() -> None:
    waiting = two(capacity="wait")
    assert needs_room(SETTLED, waiting)
    assert needs_room(SETTLED, two())
    assert not needs_room(SETTLED, two(capacity="surge"))
    assert not needs_room(SETTLED, replace(waiting, template=ONE.template))
    assert not needs_room(Rollout(Settled()), waiting)
    assert not needs_room(SETTLED, replace(waiting, is_restored=True))
    assert choose(SETTLED, replace(waiting, is_restored=True), THREE, room(0)).mode == "surge"


def test_in_place_there_is_never_an_instance_more_on_either_way() -> None:
    newer = two(capacity="replace_in_place")
    chosen = swap_of(replace(SETTLED, capacity="replace_in_place"), two())
    for swap in (Swap(ONE, newer, "blue"), chosen):
        forward = swap_group(swap, EVERYTHING, THREE)
        (back,) = Rolling().rollback_target(swap, THREE, in_place=False).groups
        assert (forward.surge, forward.unavailable) == (0, 1)
        assert (back.surge, back.unavailable) == (0, 1)
    (settled,) = Rolling().steady_target(newer, "blue").groups
    assert settled.surge == 3
