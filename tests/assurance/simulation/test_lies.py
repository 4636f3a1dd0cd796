"""A source of metrics is down, slow, or lies, at each question that a gate asks it: a good release
is promoted all the same, and a bad one goes back.
"""

from __future__ import annotations

import pytest

from tests.assurance.simulation import generators
from tests.assurance.simulation.conftest import RunSchedules


@pytest.mark.wide
@pytest.mark.parametrize("workload", generators.GATED)
def test_a_lie_at_any_question_changes_no_verdict(
    run_schedules: RunSchedules, workload: str
) -> None:
    assert len(run_schedules(generators.lies(workload))) > 50
