from __future__ import annotations

from collections import Counter

from compute_emulator.rules.standby_pool import Spare, beyond, drawn, lacking

STOPPED = [Spare("s-old", "STOPPED", created_at=1), Spare("s-young", "STOPPED", created_at=2)]
SUSPENDED = [Spare("z-old", "SUSPENDED", created_at=3), Spare("z-young", "SUSPENDED", created_at=4)]


def test_suspended_vms_come_back_before_stopped_ones_and_the_oldest_first() -> None:
    assert drawn([*STOPPED, *SUSPENDED], 3) == ["z-old", "z-young", "s-old"]


def test_a_vm_that_is_still_on_its_way_does_not_come_back() -> None:
    assert drawn([Spare("going", "STOPPED", is_there=False)], 1) == []


def test_a_group_that_lacks_nothing_draws_on_nothing() -> None:
    assert drawn(STOPPED, 0) == drawn(STOPPED, -2) == []


def test_the_reserve_lacks_what_its_sizes_ask_for_beyond_what_is_there() -> None:
    assert lacking(STOPPED, {"STOPPED": 3, "SUSPENDED": 1}) == Counter(
        {"STOPPED": 1, "SUSPENDED": 1}
    )
    assert lacking(STOPPED, {"STOPPED": 1}) == Counter()


def test_what_is_too_much_goes_those_on_their_way_first_then_the_youngest() -> None:
    going = Spare("going", "STOPPED", is_there=False, created_at=0)
    assert beyond([*STOPPED, going], {"STOPPED": 1}) == ["going", "s-young"]
    assert beyond([*STOPPED, *SUSPENDED], {"STOPPED": 2}) == ["z-young", "z-old"]
