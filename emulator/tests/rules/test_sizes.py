from __future__ import annotations

import pytest

from compute_emulator.rules.sizes import (
    Size,
    budget_problem,
    budgets_problem,
    rounded_up,
    split,
    version_size,
    versions_problem,
)


@pytest.mark.parametrize(
    ("size", "base", "expected"),
    [
        (Size(fixed=3), 6, 3),
        (Size(percent=25), 10, 3),
        (Size(percent=0), 10, 0),
        (Size(percent=100), 12, 12),
        (Size(), 5, 0),
    ],
)
def test_a_budget_rounds_up(size: Size, base: int, expected: int) -> None:
    assert rounded_up(size, base) == expected


@pytest.mark.parametrize(
    ("size", "target", "expected"),
    [
        (Size(fixed=5), 3, 3),
        (Size(percent=15), 10, 2),
        (Size(percent=10), 4, 0),
        (Size(percent=10), 5, 1),
        (Size(percent=100), 7, 7),
        (Size(fixed=0), 7, 0),
    ],
)
def test_a_version_size_is_limited_by_the_group_and_rounds_half_up(
    size: Size, target: int, expected: int
) -> None:
    assert version_size(size, target) == expected


def test_the_version_without_a_size_gets_the_rest_in_any_position() -> None:
    assert split([None, Size(fixed=2)], 6) == (4, 2)
    assert split([Size(percent=50), None], 6) == (3, 3)
    assert split([None], 6) == (6,)
    assert split([None, Size(fixed=9)], 6) == (0, 6)


def test_a_fixed_budget_below_the_zone_count_is_rejected_with_the_services_wording() -> None:
    assert (
        budget_problem("maxUnavailable", Size(fixed=2), 6, zones=3)
        == "Invalid value for field 'resource.updatePolicy.maxUnavailable.fixed': '2'. Fixed"
        " updatePolicy.maxUnavailable for regional managed instance group has to be either 0 or"
        " at least equal to the number of zones."
    )
    assert budget_problem("maxUnavailable", Size(fixed=0), 6, zones=3) is None
    assert budget_problem("maxUnavailable", Size(fixed=3), 6, zones=3) is None
    assert budget_problem("maxUnavailable", Size(fixed=1), 6, zones=1) is None


def test_a_percentage_needs_a_group_of_ten() -> None:
    assert "at least 10" in (budget_problem("maxSurge", Size(percent=20), 9, zones=3) or "")
    assert budget_problem("maxSurge", Size(percent=20), 10, zones=3) is None


def test_the_two_budgets_cannot_both_be_zero() -> None:
    assert budgets_problem(Size(fixed=0), Size(fixed=0), 6, 3, recreate=False) is not None
    assert budgets_problem(Size(fixed=3), Size(fixed=0), 6, 3, recreate=False) is None
    assert budgets_problem(Size(fixed=0), Size(fixed=3), 6, 3, recreate=True) is None


def test_recreate_allows_no_surge() -> None:
    assert (
        budgets_problem(Size(percent=20), Size(fixed=3), 10, 3, recreate=True)
        == "Invalid value for field 'resource.updatePolicy.maxSurge': '{ \"percent\": 20}'."
        " maxSurge must be equal to 0 when replacement method is set to RECREATE"
    )


def test_exactly_one_version_gets_the_rest() -> None:
    assert versions_problem(["a", "b"], [None, Size(fixed=1)]) is None
    assert versions_problem([None, None], [None, None]) is not None
    assert versions_problem(["a"], [Size(fixed=1)]) is not None
    assert versions_problem(["a", "a"], [None, Size(fixed=1)]) is not None
    assert versions_problem(["a", "b", "c"], [None, Size(fixed=1), Size(fixed=1)]) is not None
