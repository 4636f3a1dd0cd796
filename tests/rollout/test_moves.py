"""A model that moves to another gateway keeps its route in the old one until that has drained."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rollout import moves
from rollout.model import (
    Evidence,
    FleetTarget,
    Moved,
    Release,
    Retiring,
    Rollout,
    Stepping,
    TrafficTarget,
    TrafficWeight,
)
from rollout.requeue import interval
from rollout.routing import time_to_drain
from tests.rollout.build import NOON, release


def at(gateway: str | None, version: str = "1", *, is_exposed: bool = True) -> Release:
    exposure = "external" if is_exposed else "none"
    found = release(version)
    traffic = found.spec.traffic.model_copy(update={"gateway": gateway, "exposure": exposure})
    return replace(found, spec=found.spec.model_copy(update={"traffic": traffic}))


ONE, TWO, THREE = at(None), at("edge", "2"), at("far", "3")
SETTLED = Rollout(stable=TWO)
LEFT = replace(SETTLED, moved=(Moved(ONE),))
DRAINED = NOON + time_to_drain(ONE)


def also(rollout: Rollout, settings: Release) -> tuple[Release, ...]:
    traffic = TrafficTarget(settings, (TrafficWeight("blue", 1000),))
    found = moves.in_both(rollout, FleetTarget((), traffic))
    return found.also if found else ()


def test_both_gateways_have_the_route_during_a_rollout_and_until_the_old_one_has_drained() -> None:
    stepping = Rollout(Stepping(0, NOON), stable=ONE, candidate=TWO)
    assert also(stepping, TWO) == (ONE,)
    assert also(stepping, ONE) == (TWO,)
    assert also(LEFT, TWO) == (ONE,)
    assert also(replace(LEFT, moved=(Moved(ONE, NOON, is_leaving=True),)), TWO) == ()
    assert also(replace(LEFT, phase=Retiring(NOON, "unused")), TWO) == ()
    assert moves.in_both(stepping, FleetTarget()) is None


def test_what_is_no_longer_named_is_left_and_what_is_named_again_is_not() -> None:
    stepping = Rollout(Stepping(0, NOON), stable=ONE, candidate=TWO)
    assert moves.follow(stepping, stepping).moved == ()
    assert moves.follow(stepping, SETTLED).moved == (Moved(ONE),)
    assert moves.follow(stepping, Rollout(stable=ONE)).moved == (Moved(TWO),)
    assert moves.follow(LEFT, replace(LEFT, candidate=at(None, "3"))).moved == ()
    third = replace(LEFT, stable=THREE)
    assert moves.follow(LEFT, third).moved == (Moved(ONE), Moved(TWO))
    assert moves.follow(LEFT, Rollout()).moved == ()


def test_a_model_that_is_no_longer_exposed_leaves_a_named_gateway() -> None:
    hidden = at(None, "3", is_exposed=False)
    assert moves.follow(SETTLED, Rollout(stable=hidden)).moved == (Moved(TWO),)
    assert moves.follow(Rollout(stable=ONE), Rollout(stable=hidden)).moved == ()


def test_a_route_is_removed_when_it_has_drained_and_forgotten_when_it_is_gone() -> None:
    pending = Evidence(pending_changes=("the model has a route and should not",))
    unread = moves.observe(LEFT, Evidence(is_routed=False), NOON)
    assert unread == LEFT
    drains = moves.observe(LEFT, Evidence(), NOON)
    assert drains.moved == (Moved(ONE, NOON),)
    assert interval(drains, NOON) is not None
    edited = moves.observe(drains, Evidence(is_routed=False), NOON + timedelta(seconds=9))
    assert edited == LEFT, "the time counts anew"
    early = moves.observe(drains, Evidence(), DRAINED - timedelta(seconds=1))
    assert early == drains
    assert f"drains until {DRAINED:%Y-%m-%dT%H:%M:%SZ}" in moves.waiting_for(drains)
    leaving = moves.observe(drains, Evidence(), DRAINED)
    assert leaving.moved == (Moved(ONE, NOON, is_leaving=True),)
    assert "goes" in moves.waiting_for(leaving)
    assert moves.observe(leaving, pending, DRAINED) == leaving
    gone = moves.observe(leaving, Evidence(), DRAINED)
    assert (gone, moves.waiting_for(gone)) == (SETTLED, "")


def test_while_a_rollout_is_in_progress_nothing_of_a_move_ends() -> None:
    stepping = replace(LEFT, phase=Stepping(0, NOON), candidate=THREE)
    assert moves.observe(stepping, Evidence(), DRAINED) == stepping
