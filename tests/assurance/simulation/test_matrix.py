"""Every kind of call to Compute Engine that a swap makes x every class of error x once at first,
once midway, and persistently.

`matrix.json` says how the releases end in each cell; `python -m tests.assurance.simulation
--matrix` writes it anew, for people to read."""

from __future__ import annotations

import pytest

from tests.assurance.simulation import plans
from tests.assurance.simulation.conftest import Survive

EXPECTED = plans.expected()


def test_the_matrix_has_every_call_and_every_error() -> None:
    cells = {site: sorted(plans.matrix(site)) for site in plans.sites()}
    assert {site: sorted(cells) for site, cells in EXPECTED.items()} == cells
    assert sum(map(len, cells.values())) > 1_125


@pytest.mark.parametrize("site", EXPECTED)
def test_an_error_at_any_call_ends_as_it_should(survive: Survive, site: str) -> None:
    cells = plans.matrix(site)
    ended = dict(zip(cells, map(plans.outcome, survive(cells.values())), strict=True))
    assert ended == EXPECTED[site]


def test_what_passes_changes_no_outcome_and_only_a_refusal_sends_a_release_back() -> None:
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
