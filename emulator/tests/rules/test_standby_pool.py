from __future__ import annotations

from collections import Counter

from compute_emulator.rules.standby_pool import (
    StandbyInstance,
    missing_by_kind,
    to_remove,
    to_resume,
)

STOPPED = [
    StandbyInstance("s-old", "STOPPED", created_at=1),
    StandbyInstance("s-young", "STOPPED", created_at=2),
]
SUSPENDED = [
    StandbyInstance("z-old", "SUSPENDED", created_at=3),
    StandbyInstance("z-young", "SUSPENDED", created_at=4),
]


def test_suspended_vms_are_used_before_stopped_ones_and_the_oldest_first() -> None:
    assert to_resume([*STOPPED, *SUSPENDED], 3) == ["z-old", "z-young", "s-old"]


def test_a_vm_that_is_still_being_stopped_cannot_be_used() -> None:
    assert to_resume([StandbyInstance("going", "STOPPED", is_settled=False)], 1) == []


def test_a_group_of_full_size_uses_no_standby_vm() -> None:
    assert to_resume(STOPPED, 0) == to_resume(STOPPED, -2) == []


def test_the_pool_needs_the_difference_between_its_sizes_and_its_vms() -> None:
    assert missing_by_kind(STOPPED, {"STOPPED": 3, "SUSPENDED": 1}) == Counter(
        {"STOPPED": 1, "SUSPENDED": 1}
    )
    assert missing_by_kind(STOPPED, {"STOPPED": 1}) == Counter()


def test_surplus_vms_on_their_way_are_deleted_first_then_the_youngest() -> None:
    going = StandbyInstance("going", "STOPPED", is_settled=False, created_at=0)
    assert to_remove([*STOPPED, going], {"STOPPED": 1}) == ["going", "s-young"]
    assert to_remove([*STOPPED, *SUSPENDED], {"STOPPED": 2}) == ["z-young", "z-old"]
