"""The verdict of a health check on one VM: probes, thresholds, and the times at which it
changes.

Used by `instance.py` (the group's own check) and `backends.py` (the backend service's check).
Nothing is polled: the verdict at any time, and when it changes next, follow from the times at
which the VM started or stopped answering well.

    app      ----bad----|------------good-------------|--bad--
    probes   x   x   x   o   o   o   o   o   o   o   o   x   x
    verdict  UNKNOWN | UNHEALTHY | HEALTHY (2nd o)             | UNHEALTHY (2nd x)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

UNKNOWN, HEALTHY, UNHEALTHY = "UNKNOWN", "HEALTHY", "UNHEALTHY"


@dataclass(frozen=True)
class Check:
    """The parameters of a health check, with the API's defaults."""

    interval_seconds: float = 5.0
    healthy_threshold: int = 2
    unhealthy_threshold: int = 2
    # Of a group's check that probes the same path as the load balancer's check.
    probes_readiness: bool = False


@dataclass(frozen=True)
class ProbeHistory:
    """How a VM answers probes: badly from `since`, then changing at each time of `changes` (good,
    bad, good ...).
    """

    since: float
    changes: tuple[float, ...] = ()

    def at(self, when: float) -> bool:
        return sum(change <= when for change in self.changes) % 2 == 1


def verdict_changes(history: ProbeHistory, check: Check) -> Iterator[tuple[float, str]]:
    """Each change of the verdict as (time, verdict), in order. Starts with UNKNOWN at `since`.

    The n-th probe is sent at `since` + n x interval. A stretch of answers too short for its
    threshold changes nothing. The probe at the very moment of a change to bad answers still
    passes, so such a change does not undo a verdict of that moment.
    """
    verdict = UNKNOWN
    yield history.since, verdict
    bounds = [history.since, *history.changes, math.inf]
    for index, (start, end) in enumerate(pairwise(bounds)):
        is_good = index % 2 == 1
        threshold = check.healthy_threshold if is_good else check.unhealthy_threshold
        probes_before = max(1, math.ceil((start - history.since) / check.interval_seconds))
        time = history.since + (probes_before + threshold - 1) * check.interval_seconds
        new = HEALTHY if is_good else UNHEALTHY
        if new != verdict and (time < end or (is_good and time == end)):
            verdict = new
            yield time, verdict


def verdict_at(history: ProbeHistory, check: Check, now: float) -> str:
    """The current verdict."""
    return verdict_and_was_healthy(history, check, now)[0]


def verdict_and_was_healthy(history: ProbeHistory, check: Check, now: float) -> tuple[str, bool]:
    """The current verdict, and whether the check has ever passed."""
    current, was_healthy = UNKNOWN, False
    for time, verdict in verdict_changes(history, check):
        if time > now:
            break
        current, was_healthy = verdict, was_healthy or verdict == HEALTHY
    return current, was_healthy


def next_change(history: ProbeHistory, check: Check, now: float) -> float | None:
    """When the verdict changes next, if nothing else happens to the VM."""
    return next((time for time, _ in verdict_changes(history, check) if time > now), None)


def changes_from_now(changes: Sequence[float], is_good: bool, now: float) -> tuple[float, ...]:
    """The same answers up to now, and only good (or only bad) ones from now on."""
    past = tuple(change for change in changes if change <= now)
    return past if (len(past) % 2 == 1) == is_good else (*past, now)
