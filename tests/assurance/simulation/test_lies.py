"""A source of metrics is down, slow, or lies, at each question that a gate asks it: a good release
is promoted all the same, and a bad one goes back.
"""

from __future__ import annotations

import pytest

from tests.assurance.simulation import generators
from tests.assurance.simulation.conftest import RunSchedules


@pytest.mark.wide
@pytest.mark.parametrize(
    ("workload", "schedules"),
    [("gated", generators.alternating_lies), ("gated-bad", generators.lies)],
)
def test_a_lie_at_any_question_changes_no_verdict(
    run_schedules: RunSchedules, workload: str, schedules: generators.Schedules
) -> None:
    """The soak runs each lie at each question of both."""
    assert len(run_schedules(schedules(workload))) > 30
