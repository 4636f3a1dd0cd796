"""The anytime band around latency histograms."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from itertools import accumulate

import pytest

from rollout.gates.band import band_width, difference

EDGES = (0.1, 0.25, 0.5, 1.0, 2.5)


def histogram(seconds: list[float]) -> dict[float, float]:
    counts = [0] * (len(EDGES) + 1)
    for each in seconds:
        counts[bisect_left(EDGES, each)] += 1
    return dict(zip((*EDGES, math.inf), map(float, accumulate(counts)), strict=True))


def test_the_band_has_its_golden_width() -> None:
    """The published 0.08204769 comes from a coarser minimum; the tests of its authors allow 1e-5.
    The exact minimum is 0.0820477877, found on a fine grid.
    """
    assert band_width(1000, 0.05) == pytest.approx(0.08204769, abs=1.5e-7)
    assert f"{band_width(1000, 0.05):.10f}" == "0.0820477877"


def test_the_band_narrows_with_requests_and_widens_with_certainty() -> None:
    widths = [band_width(size, 0.01) for size in (100, 1000, 10_000, 10**12)]
    assert widths == sorted(widths, reverse=True)
    assert band_width(1000, 0.001) > band_width(1000, 0.01)
    assert band_width(99, 0.01) == math.inf


def test_it_names_the_edge_at_which_two_histograms_differ() -> None:
    baseline = {0.5: 9_000.0, 1.0: 9_500.0, 2.5: 10_000.0, math.inf: 10_000.0}
    candidate = {0.5: 8_900.0, 1.0: 9_000.0, 2.5: 9_990.0, math.inf: 10_000.0}
    found = difference(baseline, candidate, 0.01)
    assert found is not None
    assert found.edge == 1.0
    assert found.baseline_slower == pytest.approx(0.05)
    assert found.candidate_slower == pytest.approx(0.1)
    assert found.excess == pytest.approx(0.05 - 2 * band_width(10_000, 0.005))
    assert found.excess < 0


def test_without_requests_or_common_edges_there_is_no_opinion() -> None:
    enough = {0.5: 90.0, math.inf: 100.0}
    assert difference(enough, enough, 0.01) is not None
    assert difference(enough, {0.5: 90.0, math.inf: 99.0}, 0.01) is None
    assert difference({}, enough, 0.01) is None
    assert difference(enough, {1.0: 90.0, math.inf: 100.0}, 0.01) is None


@pytest.mark.parametrize(("slowdown", "differs"), [(1.0, False), (1.3, True)])
def test_only_releases_with_other_latencies_differ(slowdown: float, differs: bool) -> None:
    """Judged after each of 20 windows; 15 releases."""
    rng = random.Random(7)
    found = 0
    for _ in range(15):
        baseline, candidate = [0.0] * 6, [0.0] * 6
        excesses = []
        for _ in range(20):
            for sums, scale in ((baseline, 0.3), (candidate, 0.3 * slowdown)):
                more = histogram([rng.lognormvariate(math.log(scale), 0.6) for _ in range(200)])
                sums[:] = [one + other for one, other in zip(sums, more.values(), strict=True)]
            result = difference(
                dict(zip((*EDGES, math.inf), baseline, strict=True)),
                dict(zip((*EDGES, math.inf), candidate, strict=True)),
                0.01,
            )
            assert result is not None
            excesses.append(result.excess)
        found += max(excesses) > 0
    assert found == (15 if differs else 0)
