"""Random schedules with many kinds of faults at once, over every workload of the pool.

`SLIPWAY_SEEDS` sets how many (200), `SLIPWAY_SEED` the first seed (0).
"""

from __future__ import annotations

import os

import pytest

from tests.assurance.simulation import generators
from tests.assurance.simulation.conftest import RunSchedules

FIRST_SEED = int(os.environ.get("SLIPWAY_SEED", "0"))
SEED_COUNT = int(os.environ.get("SLIPWAY_SEEDS", "200"))


@pytest.mark.wide
@pytest.mark.parametrize("workload", dict.fromkeys(generators.RANDOM_POOL))
def test_random_schedules_violate_nothing(run_schedules: RunSchedules, workload: str) -> None:
    seeds = (
        seed
        for seed in range(FIRST_SEED, FIRST_SEED + SEED_COUNT)
        if generators.workload_of(seed) == workload
    )
    run_schedules(map(generators.from_seed, seeds))


@pytest.mark.parametrize("part", range(4))
def test_a_sample_of_random_schedules_violates_nothing(
    run_schedules: RunSchedules, part: int
) -> None:
    seeds = [*generators.sample(range(FIRST_SEED, FIRST_SEED + SEED_COUNT))]
    run_schedules(map(generators.from_seed, seeds[part::4]))
