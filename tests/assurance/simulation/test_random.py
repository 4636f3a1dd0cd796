"""Random trouble, many kinds at once, over every workload: 2,000 schedules with every commit."""

from __future__ import annotations

import os

import pytest

from tests.assurance.simulation import plans
from tests.assurance.simulation.conftest import Survive
from tests.assurance.simulation.workloads import WORKLOADS

FIRST = int(os.environ.get("SLIPWAY_SEED", "0"))
SEEDS = int(os.environ.get("SLIPWAY_SEEDS", "2000"))


@pytest.mark.parametrize("workload", WORKLOADS)
def test_random_trouble_is_survived(survive: Survive, workload: str) -> None:
    seeds = (seed for seed in range(FIRST, FIRST + SEEDS) if plans.workload_of(seed) == workload)
    survive(map(plans.of_seed, seeds))
