"""Facts about updates: what is updated when, in which order, within which budgets."""

from __future__ import annotations

from typing import Any

import pytest
from google.cloud import compute_v1

from compute_emulator.control.instances import apply_effect
from emulator.tests.clients import PROJECT
from emulator.tests.facts.helpers import on_instances, urls
from emulator.tests.facts.source import fact
from emulator.tests.fleet import FIXED, Fleet, policy, version

DO_NOTHING = compute_v1.InstanceGroupManagerInstanceLifecyclePolicy(
    default_action_on_failure="DO_NOTHING"
)


def record_states(fleet: Fleet, seconds: float = 600) -> list[dict[str, int]]:
    """The group's state after each change, sampled every second."""
    seen: list[dict[str, int]] = []
    for _ in range(int(seconds)):
        doing = fleet.current_actions()
        seen += [doing] if not seen or seen[-1] != doing else []
        fleet.run(1)
    return seen


def totals(seen: list[dict[str, int]]) -> list[int]:
    return [sum(doing.values()) for doing in seen]


@fact("Documentation, updating groups: updates are declarative, only the latest intent counts")
def test_a_new_patch_during_an_update_redirects_it(six: Fleet) -> None:
    six.versions(version("v2"))
    six.run(45)
    six.versions(version("v3"))
    six.settle()
    assert six.by_version() == {"v3": 6}


@fact("Documentation, updating groups: VMs that already have the target version are skipped")
def test_vms_that_are_up_to_date_are_not_touched(six: Fleet) -> None:
    six.versions(version("v1"), version("v2", fixed=2))
    six.settle()
    old = {each.id for each in six.instances() if each.version.instance_template.endswith("v2")}
    six.versions(version("v2"))
    six.settle()
    assert old <= {each.id for each in six.instances()}
    assert len(old) == 2


@fact(
    "API reference, patch and setInstanceTemplate: the operation ends when the intent is recorded"
)
def test_the_operation_of_a_patch_does_not_wait_for_vms(six: Fleet) -> None:
    began = six.clock.now()
    six.versions(version("v2"))
    assert six.clock.now() - began == 2  # the duration of every operation here
    assert six.by_version() == {"v1": 6}


@fact(
    "API reference, updatePolicy.type OPPORTUNISTIC: no VM is touched; new VMs get the new template"
)
def test_an_opportunistic_update_reaches_only_new_and_recreated_vms(six: Fleet) -> None:
    before = {each.id for each in six.instances()}
    six.versions(version("v2"), update_policy=policy(type_="OPPORTUNISTIC"))
    six.run(600)
    assert before == {each.id for each in six.instances()}
    six.resize(7)
    six.settle()
    assert six.by_version() == {"v1": 6, "v2": 1}
    on_instances(
        six, "recreate", [next(each.instance for each in six.instances() if each.id in before)]
    )
    six.settle()
    assert six.by_version() == {"v1": 5, "v2": 2}


@fact(
    "API reference, maxSurge and maxUnavailable: at most this many above the target, at most"
    " this many unavailable"
)
@pytest.mark.parametrize(("surge", "unavailable"), [(3, 0), (0, 3), (3, 3), (4, 5), (6, 0)])
def test_an_update_respects_both_budgets_at_every_moment(
    six: Fleet, surge: int, unavailable: int
) -> None:
    six.floor_holds = True  # `Fleet.check_budgets` checks every event
    six.versions(version("v2"), update_policy=policy(surge, unavailable))
    seen = record_states(six)
    assert max(totals(seen)) <= 6 + surge
    assert six.by_version() == {"v2": 6}


@fact(
    "Observed in poseidon/typhoon#1207: create, health check, delete; in"
    " terraform-google-multinic#34: the counters"
)
def test_with_surge_only_an_old_vm_is_deleted_after_its_replacement_is_verified(
    six: Fleet,
) -> None:
    seen = watched_update(six, policy(3, 0))
    assert seen[:5] == [
        {"none": 6, "creating": 3},
        {"none": 6, "verifying": 3},
        {"none": 6, "deleting": 3},
        {"none": 6, "creating": 3},
        {"none": 6, "verifying": 3},
    ]


@fact("API reference, maxUnavailable: the old VM is deleted first")
def test_with_unavailable_only_the_old_vm_is_deleted_before_the_new_one_is_created(
    six: Fleet,
) -> None:
    seen = watched_update(six, policy(0, 3))
    assert seen[:4] == [
        {"none": 3, "deleting": 3},
        {"none": 3, "creating": 3},
        {"none": 3, "verifying": 3},
        {"none": 3, "deleting": 3},
    ]


def watched_update(fleet: Fleet, given: Any) -> list[dict[str, int]]:
    fleet.cloud.operations.seconds = 0.0
    fleet.versions(version("v2"), update_policy=given)
    seen = record_states(fleet, 300)
    return seen[1:] if seen[0] == {"none": 6} else seen


@fact("API reference, replacementMethod RECREATE: the same name; SUBSTITUTE: new names")
@pytest.mark.parametrize(("method", "keeps"), [("RECREATE", 6), ("SUBSTITUTE", 0)])
def test_recreated_vms_keep_their_names_and_substitutes_get_new_ones(
    six: Fleet, method: str, keeps: int
) -> None:
    before = {each.name for each in six.instances()}
    six.versions(version("v2"), update_policy=policy(0, 3, replacement_method=method))
    six.settle()
    assert len(before & {each.name for each in six.instances()}) == keeps
    assert six.by_version() == {"v2": 6}


@fact(
    "API reference, maxUnavailable.percent; documentation: percentages are of the group's size,"
    " over all zones",
    assumed="rounded up",
)
def test_percentages_are_of_the_whole_group(fleet: Fleet) -> None:
    fleet.create(size=12)
    fleet.settle()
    given = policy(max_surge=FIXED(percent=20), max_unavailable=FIXED(percent=0))
    fleet.versions(version("v2"), update_policy=given)
    seen = record_states(fleet)
    assert max(totals(seen)) == 12 + 3
    assert fleet.by_version() == {"v2": 12}
    assert fleet.zones() == {"a": 4, "b": 4, "c": 4}


@fact(
    "API reference, minimalAction: a new version name starts an update; RESTART restarts in place"
)
def test_a_rolling_restart_keeps_the_vms(six: Fleet) -> None:
    before = {each.id for each in six.instances()}
    six.versions(version("v1", label="again"), update_policy=policy(3, 3, minimal_action="RESTART"))
    six.run(1)
    assert six.current_actions() == {"none": 3, "restarting": 3}
    six.settle()
    assert {each.id for each in six.instances()} == before


@fact(
    "API reference, currentAction VERIFYING: after a restart and after a recreation, as after a"
    " creation"
)
@pytest.mark.parametrize("how", ["restarting", "recreating"])
def test_a_vm_is_verified_again_after_a_restart(six: Fleet, how: str) -> None:
    six.cloud.operations.seconds = 0.0
    if how == "restarting":
        six.versions(
            version("v1", label="again"), update_policy=policy(3, 3, minimal_action="RESTART")
        )
    else:
        on_instances(six, "recreate", urls(six, 3))
    seen = [doing for doing in record_states(six, 100) if doing != {"none": 6}]
    assert seen[:2] == [{"none": 3, how: 3}, {"none": 3, "verifying": 3}]


@fact(
    "Observed with gcloud 528, `rolling-action replace`: a new version name with minimalAction"
    " REPLACE replaces every VM"
)
def test_a_rolling_replace_recreates_every_vm_from_the_same_template(six: Fleet) -> None:
    before = {each.id for each in six.instances()}
    six.versions(version("v1", label="again"), update_policy=policy(minimal_action="REPLACE"))
    six.settle()
    assert not before & {each.id for each in six.instances()}
    assert six.by_version() == {"v1": 6}


@fact(
    "API reference, minimalAction REFRESH: an update that needs more does more",
    assumed="labels and metadata need a REFRESH",
)
def test_a_change_of_metadata_needs_no_restart(six: Fleet) -> None:
    item = compute_v1.Items(key="model", value="b")
    six.template("worded", metadata=compute_v1.Metadata(items=[item]))
    before = {each.id for each in six.instances()}
    six.versions(version("worded"), update_policy=policy(minimal_action="REFRESH"))
    six.settle()
    assert {each.id for each in six.instances()} == before
    vm = six.clients.of(compute_v1.InstancesClient).list(project=PROJECT, zone="us-central1-a")
    assert {("model", "b")} <= {(each.key, each.value) for each in next(iter(vm)).metadata.items}


@fact(
    "API reference, minimalAction",
    assumed="another machine type needs a RESTART, another disk image a REPLACE",
)
def test_the_needed_action_depends_on_what_differs(six: Fleet) -> None:
    six.template("larger", machine_type="n1-standard-4")
    before = {each.id for each in six.instances()}
    six.versions(version("larger"), update_policy=policy(3, 3, minimal_action="NONE"))
    six.settle()
    assert {each.id for each in six.instances()} == before
    vms = list(
        six.clients.of(compute_v1.InstancesClient).list(project=PROJECT, zone="us-central1-a")
    )
    assert {vm.machine_type.rpartition("/")[2] for vm in vms} == {"n1-standard-4"}


@fact(
    "API reference, mostDisruptiveAllowedAction: VMs that need more than is allowed are not updated"
)
def test_a_vm_that_needs_more_than_is_allowed_is_not_updated(six: Fleet) -> None:
    six.template("larger", machine_type="n1-standard-4")
    given = policy(minimal_action="NONE", most_disruptive_allowed_action="REFRESH")
    six.versions(version("larger"), update_policy=given)
    six.run(600)
    assert six.by_version() == {"v1": 6}
    assert not six.get().status.version_target.is_reached


@fact(
    "API reference, maxUnavailable and VERIFYING; the stall follows from the budget",
    assumed="a stalled rollout stays stalled",
)
def test_unhealthy_new_vms_stall_the_update_and_nothing_rolls_back(six: Fleet) -> None:
    six.cloud.set_behaviours([{"template": "v2", "never_alive": True}])
    six.floor_holds = True
    six.versions(version("v2"))
    for _ in range(6):
        six.run(600)
        assert six.by_version().get("v1") == 6
        assert sum(six.current_actions().values()) == 9
    assert six.get().versions[0].instance_template.endswith("v2")


@fact(
    "API reference, autoHealingPolicies: after the initial delay VMs that stay unhealthy are"
    " recreated, from their own version"
)
def test_new_vms_that_stay_unhealthy_are_recreated_repeatedly(fleet: Fleet) -> None:
    fleet.create(size=3, delay=120)
    fleet.settle()
    fleet.cloud.set_behaviours([{"template": "v2", "never_alive": True}])
    fleet.versions(version("v2"))
    seen = record_states(fleet, 800)
    assert sum(doing.get("recreating", 0) > 0 for doing in seen) >= 2
    recreated = [each for each in fleet.instances() if each.current_action != "NONE"]
    assert {each.version.instance_template.rpartition("/")[2] for each in recreated} == {"v2"}


@fact(
    "Documentation, updating groups: a rollback is another update to the old template; there is"
    " no method for it"
)
def test_a_rollback_is_another_patch_with_the_same_budgets(six: Fleet) -> None:
    six.versions(version("v2"))
    six.run(60)
    assert set(six.by_version()) == {"v1", "v2"}
    six.floor_holds = True
    six.versions(version("v1"))
    six.settle()
    assert six.by_version() == {"v1": 6}
    assert six.get().status.version_target.is_reached


@fact(
    "Observed with gcloud 528, `stop-proactive-update`: work in progress on single VMs is not"
    " reverted"
)
def test_a_stopped_update_leaves_the_split_unchanged(six: Fleet) -> None:
    six.versions(version("v2"))
    six.run(45)  # the first three are verified, the VMs they replace are being deleted
    six.patch(update_policy=policy(type_="OPPORTUNISTIC"))
    six.settle()
    split = six.by_version()
    assert set(split) == {"v1", "v2"}
    six.run(600)
    assert six.by_version() == split


@fact(
    "API reference, versions[].targetSize: a canary has a size, is widened by patching it, and"
    " promoted as the only version"
)
def test_a_canary_can_be_widened_and_promoted(six: Fleet) -> None:
    six.floor_holds = True
    for size in (1, 3, 5):
        six.versions(version("v1"), version("v2", fixed=size))
        six.settle()
        assert six.by_version() == {"v1": 6 - size, "v2": size}
    six.versions(version("v2"))
    six.settle()
    assert six.by_version() == {"v2": 6}


@fact(
    "API reference, versions[].targetSize.percent: of the group's current size",
    assumed="rounded half up at every size",
)
def test_a_canary_in_percent_grows_with_the_group(fleet: Fleet) -> None:
    fleet.create(size=10, versions=[version("v1"), version("v2", percent=25)])
    fleet.settle()
    assert fleet.by_version() == {"v1": 7, "v2": 3}
    fleet.resize(20)
    fleet.settle()
    assert fleet.by_version() == {"v1": 15, "v2": 5}


@fact(
    "API reference, maxUnavailable: unhealthy VMs count as unavailable",
    assumed="also if they were healthy once",
)
def test_a_vm_that_becomes_unhealthy_uses_up_the_budget(six: Fleet) -> None:
    six.patch(auto_healing_policies=[], instance_lifecycle_policy=DO_NOTHING)
    apply_effect(six.cloud, "kill", most=3)
    six.run(30)
    healthy = {
        e.name for e in six.instances() if e.instance_health[0].detailed_health_state == "HEALTHY"
    }
    assert len(healthy) == 3
    six.versions(version("v2"), update_policy=policy(0, 3))
    six.run(5)
    assert {
        each.name for each in six.instances() if each.current_action == "DELETING"
    } & healthy == set()
