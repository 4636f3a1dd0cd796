"""How little of Compute Engine one loop reads, and that it misses no change."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

from handlers.reconcile.observe import (
    SnapshotCache,
    age,
    invalidate,
    next_reads,
    observe,
    observe_lightly,
)
from infra.fleet import naming
from infra.fleet.model import Key
from infra.fleet.reads import scope_of
from infra.store.port import Delete
from tests.scenario import Scenario

GATEWAY_PART = "compute.targetHttpProxies.get"
TEMPLATES = "compute.instanceTemplates.list"
CHECK = "compute.healthChecks.get"
SERVICE = "compute.backendServices.get"
GROUP = "compute.regionInstanceGroupManagers.get"
INSTANCES = "compute.regionInstanceGroupManagers.listManagedInstances"
HEALTH = "compute.backendServices.getHealth"


def reads(story: Scenario) -> Counter[str]:
    return Counter(
        {
            name: count
            for name, count in story.emulator.calls.counts.items()
            if ".get" in name or ".list" in name
        }
    )


def test_a_step_reads_everything_once_and_while_it_lasts_only_groups_and_health() -> None:
    story = Scenario()
    story.given_serving("1")
    before = reads(story)
    story.when_released("2")
    read = reads(story) - before
    assert (read[GATEWAY_PART], read[TEMPLATES], read[CHECK]) == (1, 1, 0), "a list has the checks"
    before = reads(story)
    story.when_seconds_pass(40)
    assert story.log()[-1]["to"] == "step_1"
    assert {*(reads(story) - before)} == {GROUP, INSTANCES, HEALTH}


def test_each_further_pass_reads_no_more_than_may_have_changed_since_the_last() -> None:
    story = Scenario()
    story.given_serving("1")
    state, compute = story.state(), story.new_worker().compute
    scope = scope_of(state.rollout, state.desired)

    def read(
        cache: SnapshotCache, complete_at: datetime | None = None
    ) -> tuple[set[str], SnapshotCache]:
        before = reads(story)
        cache = observe(compute, scope, cache, story.clock.now(), complete_at)
        return {*(reads(story) - before)}, cache

    def after_changing(cache: SnapshotCache, *keys: Key) -> tuple[set[str], SnapshotCache]:
        return read(invalidate(cache, keys))

    groups = {GROUP, INSTANCES, HEALTH}
    volatile = {*groups, SERVICE, "compute.regionAutoscalers.get", "compute.urlMaps.get"}
    first, cache = read(SnapshotCache())
    listed = {*volatile} - {"compute.urlMaps.get"} | {"compute.urlMaps.list"}
    assert first > {*listed, GATEWAY_PART, CHECK, TEMPLATES}
    assert read(cache)[0] == set(), "nothing has changed and no time has passed"
    groups_only, cache = read(age(replace(cache, is_noop=True)))
    assert (groups_only, cache.is_partial) == (groups, True)
    rest, cache = read(replace(cache, is_noop=False))
    assert (rest, cache.is_partial) == (volatile - groups, False), "a change is needed"
    changed, cache = after_changing(cache, naming.live_check("tiny", "blue"))
    assert changed == {*volatile, CHECK}
    changed, cache = after_changing(cache, naming.group("tiny", "blue", "us-central1"))
    assert changed == volatile
    assert read(age(cache))[0] == volatile, "time has passed, and a change may be needed"
    before = story.clock.now() - timedelta(minutes=2)
    lean, cache = read(SnapshotCache(), before)
    assert lean == volatile, "the rest was read before, and what is in use cannot have gone"
    assert cache.complete_at == before, "what was not read again is no newer"


def test_a_light_look_after_a_swap_does_not_forget_what_was_inserted() -> None:
    story = Scenario()
    story.given_serving("1")
    state, compute = story.state(), story.new_worker().compute
    scope, now = scope_of(state.rollout, state.desired), story.clock.now()
    template = naming.template(scope.releases[0].template)
    cache = invalidate(observe(compute, scope, SnapshotCache(), now), [template])
    cache = observe_lightly(compute, scope, age(cache), now)
    read_set, _ = next_reads(scope, replace(cache, is_light=False))
    assert read_set is not None
    assert template in read_set.keys


def test_a_first_release_reads_nothing_that_cannot_exist() -> None:
    story = Scenario()
    story.given_serving("1", model="other")
    before = len(story.emulator.calls.log)
    story.when_released("1")
    methods = [call.method for call in story.emulator.calls.log][before:]
    first = Counter(methods[: methods.index("compute.instanceTemplates.insert")])
    assert first == Counter(
        {
            TEMPLATES: 1,
            "compute.healthChecks.list": 1,
            "compute.urlMaps.list": 1,
            "compute.regions.get": 1,
            "compute.machineTypes.aggregatedList": 1,
            "compute.networks.get": 1,
        }
    )
    story.when_settled()
    assert story.outcome("1") == "succeeded"
    assert story.state().outputs["address"]


def test_what_the_lists_did_not_show_is_read_when_an_insert_fails() -> None:
    story = Scenario()
    story.given_resource("global/backendServices", {"name": "slipway-tiny-blue"})
    story.when_released("1")
    story.when_settled()
    assert "backendServices/slipway-tiny-blue exists and is not owned" in story.why("1")
    [(_, body)] = [
        each for each in story.emulator.resources("backendServices") if "tiny" in each[0].name
    ]
    assert not body.get("description"), "it is left as it is"
    assert not [*story.emulator.resources("instanceGroupManagers")]


def test_a_fleet_whose_document_was_lost_is_not_taken_for_a_first_release() -> None:
    story = Scenario()
    story.given_serving("1")
    story.store.commit(Delete("models/tiny"))
    before = story.calls("regionInstanceGroupManagers.patch")
    story.when_released("2")
    assert story.state().hold, "what happened since is for a person to say"
    assert story.calls("regionInstanceGroupManagers.patch") == before


def test_a_step_does_not_end_on_a_partial_read() -> None:
    """Someone changes the autoscaler while a loop waits for instances. The step ends after that is
    repaired.
    """
    story = Scenario()
    story.given_behaviour("1", boot_seconds=5, ready_after_seconds=2)
    story.given_operation_seconds(1)
    changed: list[float] = []

    def change_autoscaler() -> None:
        if not changed and story.calls("regionAutoscalers.insert") and len(story.instances()) == 3:
            story.autoscaler()["maxNumReplicas"] = 99
            changed.append(story.clock.now().timestamp())

    story.given_watcher(change_autoscaler)
    story.when_released("1", traffic={"exposure": "none"})
    story.when_settled()
    repaired_at = next(
        call.at
        for call in story.emulator.calls.log
        if call.method.endswith("regionAutoscalers.update")
    )
    (baking,) = (entry["at"].timestamp() for entry in story.log() if entry["to"] == "baking")
    assert changed[0] < repaired_at < baking


def test_a_loop_reads_again_what_it_inserted() -> None:
    """Otherwise it would insert it again in every pass and not know the address."""
    story = Scenario()
    story.when_released("1")
    story.when_woken()
    assert story.state().outputs["address"]
    assert story.calls("targetHttpProxies.insert") == 1


def test_a_part_of_the_gateway_deleted_during_a_loop_is_inserted_by_the_next_one() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2")
    story.when_woken()
    for key, _ in story.emulator.resources("forwardingRules"):
        story.emulator.remove("forwardingRules", key.name)
    story.when_settled()
    assert story.calls("globalForwardingRules.insert") == 2
    assert story.outcome("2") == "succeeded"
