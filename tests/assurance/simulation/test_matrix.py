"""Every call to Compute Engine that `swap` makes x every error x first, midway and persistent.

`matrix.json` holds the outcome of the releases in each cell; `python -m tests.assurance.simulation
--matrix` rewrites it, and a reviewer reads the difference.
"""

from __future__ import annotations

import pytest

from tests.assurance.simulation import generators
from tests.assurance.simulation.conftest import RunSchedules

EXPECTED = generators.expected()


def test_the_matrix_has_every_call_and_every_error() -> None:
    cells = {site: sorted(generators.matrix(site)) for site in generators.sites()}
    assert {site: sorted(cells) for site, cells in EXPECTED.items()} == cells
    assert sum(map(len, cells.values())) > 1_125


@pytest.mark.parametrize(
    "moments",
    [
        pytest.param(("first", "persistent"), marks=pytest.mark.wide),
        pytest.param(("midway",), marks=pytest.mark.nightly),
    ],
    ids="+".join,
)
@pytest.mark.parametrize("site", EXPECTED)
def test_an_error_at_any_call_has_the_expected_outcome(
    run_schedules: RunSchedules, site: str, moments: tuple[str, ...]
) -> None:
    matrix = generators.matrix(site)
    cells = {cell: each for cell, each in matrix.items() if cell.split()[1] in moments}
    ended = dict(zip(cells, map(generators.outcome, run_schedules(cells.values())), strict=True))
    assert ended == {cell: EXPECTED[site][cell] for cell in cells}


@pytest.mark.parametrize("part", range(3))
def test_a_sample_of_errors_has_the_expected_outcomes(
    run_schedules: RunSchedules, part: int
) -> None:
    cells = [
        (schedule, EXPECTED[site][cell])
        for site in EXPECTED
        for cell, schedule in generators.matrix(site).items()
    ]
    chosen = [*generators.sample(cells)][part::3]
    outcomes = map(generators.outcome, run_schedules(schedule for schedule, _ in chosen))
    assert [*outcomes] == [outcome for _, outcome in chosen]


def test_transient_errors_change_no_outcome() -> None:
    passing = {
        "rate",
        "throttled",
        "internal",
        "unavailable",
        "conflict",
        "precondition",
        "not_found",
        "garbled",
        "no_effect",
    }
    for site, cells in EXPECTED.items():
        for cell, outcome in cells.items():
            code, moment = cell.split()
            if code in passing and moment != "persistent":
                assert outcome == "1 succeeded, 2 succeeded", (site, cell)
