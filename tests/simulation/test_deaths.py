"""A worker dies, or its answer is lost, at every single write to the store, the bus and Compute Engine: the end is the same."""

from __future__ import annotations

import pytest

from tests.simulation import plans
from tests.simulation.conftest import Survive

WORKLOADS = (
    "create",
    "swap",
    "settings",
    "abort",
    "rollback",
    "retire",
    "nonsense",
    "recreate",
    "two-models",
    "busy",
    "in-place",
    "unexposed",
)


@pytest.mark.parametrize("kind", plans.DEATHS)
@pytest.mark.parametrize("workload", WORKLOADS)
def test_trouble_at_any_external_write_changes_nothing_in_the_end(survive: Survive, workload: str, kind: str) -> None:
    points = plans.writes(workload)
    assert len(points) >= 25
    assert len(survive(plans.deaths(workload, (kind,)))) == len(points)


@pytest.mark.parametrize("kind", ["pause_before", "pause_after"])
def test_a_worker_that_stands_still_at_any_write_and_wakes_too_late_changes_nothing(survive: Survive, kind: str) -> None:
    survive(plan for plan in plans.freezes(plans.MAIN) if plan.faults[0].kind == kind)
