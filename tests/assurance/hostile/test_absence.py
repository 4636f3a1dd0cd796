"""A day without Slipway: no function runs, no tick arrives, messages wait; the instances keep
serving.
"""

from __future__ import annotations

import pytest

from tests.assurance.hostile.intake import scaled
from tests.scenario import Scenario

MOMENTS = ("settled", "step_1", "step_2", "baking")[:: scaled(2, 1)]


def at(moment: str) -> Scenario:
    scenario = Scenario()
    scenario.given_serving("1")
    if moment != "settled":
        scenario.when_released("2", rollout={"bake_seconds": 300, "progress_deadline_seconds": 600})
        scenario.when_phase_reached(moment)
    return scenario


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_day_without_slipway_changes_nothing_and_loses_no_instance(moment: str) -> None:
    """Time without observations counts neither for nor against a release: it ends as it would have
    otherwise.
    """
    scenario, undisturbed = at(moment), at(moment)
    calls, written = dict(scenario.emulator.calls.counts), scenario.full_state()[0]
    for _ in range(24):
        scenario.clock.sleep(3600)
        scenario.emulator.advance()
        assert sum(scenario.healthy_by_version().values()) >= 3
    assert (dict(scenario.emulator.calls.counts), scenario.full_state()[0]) == (calls, written)
    for each in (scenario, undisturbed):
        each.when_minutes_pass(1)
        each.when_settled()
    assert scenario.healthy_by_version() == undisturbed.healthy_by_version()
    assert [scenario.outcome(version) for version in "12"] == [
        undisturbed.outcome(version) for version in "12"
    ]
    assert scenario.unsent_messages() == undisturbed.unsent_messages() == ()
