from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compute_emulator.rules.group import (
    Create,
    Delete,
    Disruption,
    Healing,
    InPlace,
    Intent,
    Member,
    Recreate,
    Revision,
    Version,
)
from compute_emulator.rules.sizes import Size
from compute_emulator.rules.updater import is_version_target_reached, updates_for
from emulator.tests.rules.world import Group

X, Y, Z = Revision("x"), Revision("y"), Revision("z")
ZONES = ("a", "b", "c")
CHECKED = Healing(has_check=True, initial_delay_seconds=300)
SURGE_3 = Intent(
    6, (Version(X),), ZONES, surge=Size(fixed=3), unavailable=Size(fixed=0), healing=CHECKED
)


def only(revision: Revision) -> tuple[Version, ...]:
    return (Version(revision),)


def canary(rest: Revision, new: Revision, size: int) -> tuple[Version, ...]:
    return (Version(rest), Version(new, Size(fixed=size)))


def settled_group(intent: Intent) -> Group:
    group = Group(intent)
    group.settle()
    assert group.is_stable()
    return group


def patch(group: Group, **changes: object) -> Group:
    group.intent = replace(group.intent, **changes)  # type: ignore[arg-type]
    return group


def test_an_empty_group_creates_all_its_vms_at_once_spread_over_the_zones() -> None:
    group = Group(SURGE_3)
    assert len(group.update().steps) == 6
    assert group.zones() == {"a": 2, "b": 2, "c": 2}
    group.settle()
    assert group.is_stable()


def test_with_surge_only_no_old_vm_is_deleted_before_a_new_one_is_verified() -> None:
    group = patch(settled_group(SURGE_3), versions=only(Y))
    assert [type(step) for step in group.update().steps] == [Create] * 3
    new = [name for name, member in group.members.items() if member.revision == Y]
    group.progress(new[0])
    assert group.update().steps == ()
    group.progress(new[0])
    assert [type(step) for step in group.update().steps] == [Delete]
    group.settle()
    assert group.counts() == {Y: 6}
    assert group.zones() == {"a": 2, "b": 2, "c": 2}
    assert group.is_stable()


def test_a_vm_deleted_by_the_update_counts_towards_the_surge_until_it_is_gone() -> None:
    group = patch(settled_group(SURGE_3), versions=only(Y))
    group.update()
    for _ in range(2):
        for name in [name for name, member in group.members.items() if member.revision == Y]:
            group.progress(name)
        group.update()
    assert Counter(member.action for member in group.members.values()) == {"NONE": 6, "DELETING": 3}
    gone = next(name for name, member in group.members.items() if member.is_leaving)
    group.progress(gone)
    assert [type(step) for step in group.update().steps] == [Create]


def test_with_unavailable_only_the_old_vm_is_deleted_first() -> None:
    intent = replace(SURGE_3, surge=Size(fixed=0), unavailable=Size(fixed=3))
    group = patch(settled_group(intent), versions=only(Y))
    assert [type(step) for step in group.update().steps] == [Delete] * 3
    assert len(group.members) == 6
    group.settle()
    assert group.counts() == {Y: 6}


def test_unhealthy_new_vms_stall_the_update_and_the_old_ones_keep_serving() -> None:
    group = patch(settled_group(SURGE_3), versions=only(Y))
    group.settle(is_healthy=lambda member: member.revision == X)
    assert group.counts() == {X: 6, Y: 3}
    assert group.available() == 6
    assert not group.is_stable()


def test_unhealthy_new_vms_use_up_the_unavailable_budget() -> None:
    intent = replace(SURGE_3, surge=Size(fixed=0), unavailable=Size(fixed=3))
    group = patch(settled_group(intent), versions=only(Y))
    group.settle(is_healthy=lambda member: member.revision == X)
    assert group.counts() == {X: 3, Y: 3}
    assert group.available() == 3


def test_an_old_vm_that_becomes_unhealthy_leaves_no_budget_for_others() -> None:
    healing = replace(CHECKED, repairs_unhealthy=False)
    intent = replace(SURGE_3, surge=Size(fixed=0), unavailable=Size(fixed=3), healing=healing)
    group = settled_group(intent)
    for name in list(group.members)[:3]:
        group.change(name, health="UNHEALTHY")
    patch(group, versions=only(Y))
    deleted = {step.name for step in group.update().steps if isinstance(step, Delete)}
    assert deleted == set(list(group.members)[:3])
    assert group.available() == 3


def test_a_rollback_deletes_the_unhealthy_new_vms_at_once() -> None:
    group = patch(settled_group(SURGE_3), versions=only(Y))
    group.settle(is_healthy=lambda member: member.revision == X)
    patch(group, versions=only(X))
    assert [type(step) for step in group.update().steps] == [Delete] * 3
    group.settle()
    assert group.counts() == {X: 6}
    assert group.is_stable()


def test_a_new_patch_during_an_update_redirects_it() -> None:
    group = patch(settled_group(SURGE_3), versions=only(Y))
    group.update()
    patch(group, versions=only(Z))
    group.settle()
    assert group.counts() == {Z: 6}


def test_a_canary_gets_its_size_and_widens_spread_over_the_zones() -> None:
    group = patch(settled_group(SURGE_3), versions=canary(X, Y, 1))
    group.settle()
    assert group.counts() == {X: 5, Y: 1}
    assert group.is_stable()
    assert is_version_target_reached(group.intent, group.members.values())
    patch(group, versions=canary(X, Y, 3))
    assert not is_version_target_reached(group.intent, group.members.values())
    group.settle()
    assert group.counts() == {X: 3, Y: 3}
    assert {member.zone for member in group.members.values() if member.revision == Y} == set(ZONES)
    patch(group, versions=only(Y))
    group.settle()
    assert group.counts() == {Y: 6}


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        (only(X), {X: 6}),
        (only(Y), {Y: 6}),
        (canary(X, Z, 2), {X: 4, Z: 2}),
        (canary(Z, Y, 2), {Z: 4, Y: 2}),
    ],
)
def test_every_change_from_a_canary_completes(
    to: tuple[Version, ...], expected: dict[Revision, int]
) -> None:
    group = patch(settled_group(SURGE_3), versions=canary(X, Y, 2))
    group.settle()
    patch(group, versions=to)
    group.settle()
    assert group.counts() == expected
    assert group.is_stable()


def test_recreate_keeps_the_names_and_the_unavailable_budget() -> None:
    intent = replace(SURGE_3, surge=Size(fixed=0), unavailable=Size(fixed=3), substitutes=False)
    group = settled_group(intent)
    names = set(group.members)
    patch(group, versions=only(Y))
    assert [type(step) for step in group.update().steps] == [Recreate] * 3
    group.settle()
    assert group.counts() == {Y: 6}
    assert set(group.members) == names


def test_an_opportunistic_group_keeps_its_vms_and_uses_the_new_version_for_new_ones() -> None:
    group = patch(settled_group(SURGE_3), versions=only(Y), is_proactive=False)
    assert group.update().steps == ()
    assert group.is_stable()
    assert not is_version_target_reached(group.intent, group.members.values())
    patch(group, target_size=8)
    group.settle()
    assert group.counts() == {X: 6, Y: 2}


def test_a_restart_by_version_name_stays_within_the_budget_and_replaces_nothing() -> None:
    again = Revision("x", "second")
    intent = replace(SURGE_3, unavailable=Size(fixed=3), minimal=Disruption.RESTART)
    group = settled_group(intent)
    group.disruption = lambda old, new: (
        Disruption.NONE if old.template == new.template else Disruption.REPLACE
    )
    names = set(group.members)
    patch(group, versions=only(again))
    steps = group.update().steps
    assert [step.how for step in steps if isinstance(step, InPlace)] == [Disruption.RESTART] * 3
    group.settle()
    assert group.counts() == {again: 6}
    assert set(group.members) == names


def test_an_update_that_needs_more_than_allowed_touches_nothing() -> None:
    group = patch(
        settled_group(SURGE_3),
        versions=only(Y),
        most_disruptive=Disruption.RESTART,
        minimal=Disruption.NONE,
    )
    assert group.update().steps == ()
    assert group.is_stable()


def test_a_refresh_needs_no_budget() -> None:
    group = settled_group(replace(SURGE_3, minimal=Disruption.NONE))
    group.disruption = lambda old, new: Disruption.REFRESH
    patch(group, versions=only(Y))
    assert len(group.update().steps) == 6
    assert group.available() == 6


def test_a_smaller_target_size_deletes_from_the_fullest_zones() -> None:
    group = patch(settled_group(SURGE_3), target_size=4)
    assert len(group.update().steps) == 2
    group.settle()
    assert sorted(group.zones().values()) == [1, 1, 2]
    assert group.is_stable()


def test_a_group_shrinks_even_if_some_vms_are_unhealthy() -> None:
    group = settled_group(replace(SURGE_3, healing=replace(CHECKED, repairs_unhealthy=False)))
    group.change(next(iter(group.members)), health="UNHEALTHY")
    patch(group, target_size=3)
    group.settle()
    assert len(group.members) == 3


def test_a_growing_group_does_not_wait_for_vms_deleted_by_an_earlier_resize() -> None:
    group = patch(settled_group(SURGE_3), target_size=3)
    group.update()
    patch(group, target_size=6)
    assert [type(step) for step in group.update().steps] == [Create] * 3


def test_an_unhealthy_vm_is_repaired_only_after_the_initial_delay() -> None:
    group = Group(SURGE_3)
    group.settle(is_healthy=lambda member: False)
    outcome = group.update()
    assert outcome.steps == ()
    assert outcome.recheck_at == 300.0
    group.now = 300.0
    steps = group.update().steps
    assert [type(step) for step in steps] == [Recreate] * 6


def test_a_vm_that_was_healthy_is_repaired_at_once_with_its_own_version() -> None:
    group = patch(settled_group(SURGE_3), versions=canary(X, Y, 1))
    group.settle()
    sick = next(name for name, member in group.members.items() if member.revision == Y)
    group.change(sick, health="UNHEALTHY")
    assert group.update().steps == (Recreate(sick, Y, "its health check fails", is_repair=True),)


def test_a_vm_that_stopped_by_itself_is_repaired_unless_the_policy_says_otherwise() -> None:
    for repairs in (True, False):
        group = settled_group(replace(SURGE_3, healing=Healing(repairs_failed=repairs)))
        dead = next(iter(group.members))
        group.change(dead, is_running=False, is_failed=True)
        assert len(group.update().steps) == repairs


def test_a_repair_uses_the_newest_version_only_on_request() -> None:
    for takes_newest, expected in ((False, X), (True, Y)):
        group = settled_group(replace(SURGE_3, healing=replace(CHECKED, takes_newest=takes_newest)))
        patch(group, versions=only(Y), is_proactive=False)
        sick = next(iter(group.members))
        group.change(sick, health="UNHEALTHY")
        group.update()
        assert group.members[sick].revision == expected


def test_updates_requested_by_name_ignore_the_budget() -> None:
    group = patch(settled_group(SURGE_3), versions=only(Y), is_proactive=False)
    steps = updates_for(group.intent, list(group.members.values()), set(group.members))
    assert [type(step) for step in steps] == [Delete] * 6


def test_a_flexible_group_leaves_a_zone_without_capacity_and_an_even_one_stays() -> None:
    for shape, zones in (("BALANCED", {"a": 3, "b": 3}), ("EVEN", {"a": 2, "b": 2, "c": 2})):
        group = Group(replace(SURGE_3, shape=shape, redistributes=shape == "EVEN"))
        group.update()
        group.full_zones = {"c"}
        for name, member in list(group.members.items()):
            if member.zone == "c":
                group.change(name, is_stranded=True)
        group.update()
        assert group.zones() == zones


def test_an_unbalanced_group_moves_vms_once_it_is_stable() -> None:
    group = Group(SURGE_3)
    for number in range(6):
        name = f"old-{number}"
        group.members[name] = Member(
            name, "a" if number < 5 else "b", X, health="HEALTHY", was_healthy=True
        )
    group.settle()
    assert group.zones() == {"a": 2, "b": 2, "c": 2}
    assert group.is_stable()


def test_an_unbalanced_group_without_redistribution_stays_unbalanced() -> None:
    group = Group(replace(SURGE_3, redistributes=False))
    for number in range(6):
        group.members[f"old-{number}"] = Member(
            f"old-{number}", "a", X, health="HEALTHY", was_healthy=True
        )
    assert group.update().steps == ()


def test_a_move_deletes_no_vm_that_the_floor_needs() -> None:
    """Without surge a move deletes first: with three unhealthy VMs that are not repaired, the
    budget of three is used up.
    """
    ill_stay = replace(CHECKED, repairs_unhealthy=False)
    group = Group(
        replace(
            SURGE_3,
            surge=Size(fixed=0),
            unavailable=Size(fixed=3),
            substitutes=False,
            healing=ill_stay,
        )
    )
    for number in range(6):
        health = "HEALTHY" if number < 3 else "UNHEALTHY"
        group.members[f"vm-{number}"] = Member(
            f"vm-{number}", "a", X, health=health, was_healthy=True
        )
    assert group.update().steps == ()
    group.change("vm-3", health="HEALTHY")
    assert [type(step) for step in group.update().steps] == [Delete]


def test_a_surplus_vm_keeps_the_version_target_from_being_reached() -> None:
    group = settled_group(SURGE_3)
    assert is_version_target_reached(group.intent, group.members.values())
    group.members["left-over"] = Member("left-over", "a", Y, is_running=False)
    assert not is_version_target_reached(group.intent, group.members.values())


def test_a_group_with_a_pending_repair_is_not_stable() -> None:
    """For example, a check is attached to VMs that never answer it: until the initial delay is
    over, nothing happens to them.
    """
    group = Group(replace(SURGE_3, target_size=1))
    group.members["old"] = Member("old", "a", X, health="UNHEALTHY", running_since=-100.0)
    assert (group.update().steps, group.is_stable()) == ((), False)
    group.now = 200.0
    assert [type(step) for step in group.update().steps] == [Recreate]


budgets = st.sampled_from([(3, 0), (0, 3), (3, 3), (4, 0), (5, 4)])


@settings(max_examples=150, deadline=None)
@given(data=st.data(), budget=budgets, has_check=st.booleans(), substitutes=st.booleans())
def test_in_any_order_of_events_the_budgets_hold_and_the_update_completes(
    data: st.DataObject, budget: tuple[int, int], has_check: bool, substitutes: bool
) -> None:
    surge, unavailable = budget if substitutes else (0, 3)
    intent = Intent(
        data.draw(st.integers(1, 9)),
        only(X),
        ZONES,
        surge=Size(fixed=surge),
        unavailable=Size(fixed=unavailable),
        substitutes=substitutes,
        healing=Healing(has_check=has_check, initial_delay_seconds=60),
    )
    group = settled_group(intent)
    for _ in range(data.draw(st.integers(1, 4))):
        versions = data.draw(
            st.sampled_from([only(X), only(Y), canary(X, Y, 2), canary(X, Z, 1), canary(Y, Z, 4)])
        )
        patch(group, versions=versions, target_size=data.draw(st.integers(0, 9)))
        group.update()
        for _ in range(data.draw(st.integers(0, 12))):
            if not group.members:
                break
            group.now += 7
            group.progress(
                data.draw(st.sampled_from(sorted(group.members))), data.draw(st.booleans())
            )
            group.update()
    group.now += 100
    group.settle()
    assert group.counts() == +group.intent.desired()
    assert group.is_stable()
    assert is_version_target_reached(group.intent, group.members.values())
