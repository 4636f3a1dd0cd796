from __future__ import annotations

from compute_emulator.rules.placement import imbalance, zone_for_new

ZONES = ("a", "b", "c")


def test_even_uses_the_emptiest_zone_even_without_capacity() -> None:
    assert zone_for_new("EVEN", ZONES, {"a": 1, "b": 1}, {}, full={"c"}) == "c"


def test_flexible_shapes_avoid_a_full_zone() -> None:
    assert zone_for_new("BALANCED", ZONES, {"a": 2, "b": 1}, {}, full={"c"}) == "b"
    assert zone_for_new("ANY", ZONES, {}, {}, full={"a", "b", "c"}) == "a"


def test_among_equal_zones_the_one_with_the_fewest_vms_of_the_version_wins() -> None:
    assert zone_for_new("EVEN", ZONES, {"a": 2, "b": 2, "c": 2}, {"a": 1}, full=()) == "b"


def test_a_single_zone_group_stays_in_its_zone() -> None:
    assert zone_for_new("ANY_SINGLE_ZONE", ZONES, {"b": 2}, {}, full=()) == "b"
    assert zone_for_new("ANY_SINGLE_ZONE", ZONES, {}, {}, full={"a"}) == "b"


def test_a_difference_of_two_is_unbalanced_and_of_one_is_not() -> None:
    assert imbalance(ZONES, {"a": 2, "b": 1, "c": 1}) is None
    assert imbalance(ZONES, {"a": 3, "b": 2, "c": 1}) == ("a", "c")
