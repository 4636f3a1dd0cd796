"""How much of Compute Engine one turn reads, and that it misses nothing by reading less."""

from __future__ import annotations

from collections import Counter

from tests.scenario import Scenario

GATEWAY_PART = "compute.targetHttpProxies.get"
CHECK = "compute.healthChecks.get"
GROUP = "compute.regionInstanceGroupManagers.get"


def reads(story: Scenario) -> Counter[str]:
    return Counter({name: count for name, count in story.cloud.calls.counts.items() if ".get" in name or ".list" in name})


def test_a_turn_reads_everything_once_then_what_moves_and_while_it_waits_only_groups_and_health() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2")
    before = reads(story)
    story.when_woken()
    read = reads(story) - before
    assert (read[GATEWAY_PART], read["compute.instanceTemplates.list"]) == (1, 1)
    assert read[GATEWAY_PART] * 2 < read[CHECK] < read[GROUP]


def test_what_a_turn_has_made_it_reads_again() -> None:
    """Else it would ask for it at every further look, and not know the address."""
    story = Scenario()
    story.when_released("1")
    story.when_woken()
    assert story.state().outputs["address"]
    assert story.calls("targetHttpProxies.insert") == 1


def test_a_part_of_the_gateway_that_goes_away_meanwhile_is_made_again_by_the_next_turn() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2")
    story.when_woken()
    story.cloud.tables["global", "forwardingRules"].clear()
    story.when_settled()
    assert story.calls("globalForwardingRules.insert") == 2
    assert story.outcome("2") == "succeeded"
