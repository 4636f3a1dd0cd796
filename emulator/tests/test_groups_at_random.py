"""Random requests and events in random order: the budgets hold and the group becomes stable."""

from __future__ import annotations

import random

import pytest

from compute_emulator import Cloud, VirtualClock
from compute_emulator.control.instances import apply_effect
from emulator.tests.clients import Clients
from emulator.tests.fleet import Fleet, policy, version

BUDGETS = [(3, 0), (0, 3), (3, 3), (5, 4)]


@pytest.mark.parametrize("seed", range(12))
def test_a_group_settles_at_its_last_requested_state(seed: int) -> None:
    chance = random.Random(seed)
    clock = VirtualClock()
    fleet = Fleet(Clients(Cloud(clock=clock, seed=seed)), clock)
    fleet.cloud.set_behaviours([{"template": "v3", "never_alive": True}, {"jitter": 0.5}])
    fleet.create(size=6, delay=60)
    fleet.serve(drain=20)
    for _ in range(12):
        surge, unavailable = chance.choice(BUDGETS)
        match chance.randrange(7):
            case 0:
                fleet.versions(
                    version(chance.choice(["v1", "v2", "v3"])),
                    update_policy=policy(surge, unavailable),
                )
            case 1:
                fleet.versions(
                    version("v1"), version(chance.choice(["v2", "v3"]), fixed=chance.randrange(5))
                )
            case 2:
                fleet.resize(chance.randrange(1, 9))
            case 3:
                apply_effect(fleet.cloud, chance.choice(["stop", "kill"]), most=2)
            case 4:
                fleet.cloud.stock_outs[f"us-central1-{chance.choice('abc')}"] = {}
            case 5:
                fleet.cloud.stock_outs.clear()
            case _:
                fleet.versions(
                    version("v1"), update_policy=policy(0, 3, replacement_method="RECREATE")
                )
        fleet.run(chance.choice([0, 5, 40, 200]))
    fleet.cloud.stock_outs.clear()
    fleet.versions(version("v1"), version("v2", fixed=2), update_policy=policy(3, 0))
    fleet.resize(6)
    fleet.settle()
    assert fleet.by_version() == {"v1": 4, "v2": 2}
    assert fleet.zones() == {"a": 2, "b": 2, "c": 2}
    assert fleet.get().status.version_target.is_reached
    fleet.run(600)
    assert fleet.cloud.next_event_at() is None


@pytest.mark.parametrize("budget", BUDGETS)
def test_an_update_of_healthy_vms_never_goes_below_its_floor(budget: tuple[int, int]) -> None:
    clock = VirtualClock()
    fleet = Fleet(Clients(Cloud(clock=clock)), clock)
    fleet.cloud.set_behaviours([{"jitter": 0.8}])
    fleet.create(size=8, update_policy=policy(*budget))
    fleet.serve(drain=30)
    fleet.settle()
    fleet.floor_holds = True
    for step in (version("v2"), version("v1"), version("v3")):
        fleet.versions(step)
        fleet.run(37)
    fleet.settle()
    assert fleet.by_version() == {"v3": 8}
