"""Buckets of latency histograms: which edges they have, and which requests were slower. Pure.

Used by `counters.py` and `time_series.py` beside this module.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

from infra.metrics.port import Series
from rollout.measurements import Counts, Unmeasured
from rollout.spec.gates import edge_at, no_edge

MILLISECONDS = 1000.0
MOST_BUCKETS = 1000
"""Cloud Monitoring has at most 200."""


def common_edges(series: Sequence[Series]) -> tuple[float, ...] | Unmeasured:
    """The edges that every histogram has, rising. One with fewer would count in some sums only."""
    histograms: dict[frozenset[tuple[str, str]], set[float]] = {}
    try:
        for each in series:
            others = frozenset(item for item in each.labels.items() if item[0] != "le")
            histograms.setdefault(others, set()).add(float(each.labels["le"]))
    except ValueError:
        return Unmeasured("unreadable", "a label le is no number")
    return tuple(sorted(set.intersection(*histograms.values())))


def slower_than(
    edges: Sequence[float], below: Sequence[float | Unmeasured], edge: float, what: str
) -> Counts | Unmeasured:
    """The counts of one window from the cumulative counts at all edges."""
    numbers: list[float] = []
    for each in below:
        if isinstance(each, Unmeasured):
            return each
        numbers.append(each)
    if any(after < before for before, after in pairwise(numbers)):
        return Unmeasured("unreadable", f"{what}: a bucket has more than a wider one")
    total = numbers[-1]
    bad = total - numbers[edges.index(edge)]
    return Counts(bad, total, tuple(zip(edges, numbers, strict=True)))


# ---- Distributions of Cloud Monitoring


def slower_of_distributions(
    bound: float, values: Sequence[Mapping[str, Any]], metric: str
) -> Counts | Unmeasured:
    """The counts of all values together. Raises what a value that is no distribution leads to."""
    distributions = [each["distributionValue"] for each in values]
    filled = [each for each in distributions if int(each.get("count", 0))]
    if not filled:
        return Counts(0, 0)
    edges = _edges(filled[0])
    if not edges:
        return Unmeasured("unreadable", f"{metric} has no buckets")
    edge = edge_at(edges, bound)
    if edge is None:
        return Unmeasured("edge", f"{metric} {no_edge(bound, edges)}")
    sums = [0.0] * (len(edges) + 1)
    for each in filled:
        counts = [float(int(number)) for number in each["bucketCounts"]]
        counts += [0.0] * (len(sums) - len(counts))  # trailing zeros are left out
        if _edges(each) != edges or len(counts) > len(sums):
            return Unmeasured("unreadable", f"the edges of {metric} change")
        if sum(counts) != int(each["count"]) or min(counts) < 0:
            return Unmeasured("unreadable", f"the buckets of {metric} are not its count")
        sums = [before + count for before, count in zip(sums, counts, strict=True)]
    below = list(accumulate(sums))
    bad = below[-1] - below[edges.index(edge)]
    return Counts(bad, below[-1], tuple(zip((*edges, math.inf), below, strict=True)))


def _edges(distribution: Mapping[str, Any]) -> tuple[float, ...]:
    """The upper edges of all buckets but the last, in seconds; those of the API are milliseconds.
    Bucket 0 is what lies below the first one.
    """
    options = distribution.get("bucketOptions", {})
    if "explicitBuckets" in options:
        edges = [float(each) for each in options["explicitBuckets"]["bounds"]]
    elif "linearBuckets" in options:
        linear = options["linearBuckets"]
        offset, width = float(linear.get("offset", 0)), float(linear["width"])
        edges = [offset + width * n for n in range(_count(linear) + 1)]
    elif "exponentialBuckets" in options:
        exponential = options["exponentialBuckets"]
        scale, growth = float(exponential["scale"]), float(exponential["growthFactor"])
        edges = [scale * growth**n for n in range(_count(exponential) + 1)]
    else:
        edges = []
    return tuple(each / MILLISECONDS for each in edges)


def _count(buckets: Mapping[str, Any]) -> int:
    count = int(buckets["numFiniteBuckets"])
    if count > MOST_BUCKETS:
        raise ValueError("too many buckets")
    return count
