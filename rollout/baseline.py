"""Whether a release that is about to begin could be compared with anything. Pure.

Called by `phases/settled.py`. A gate that compares needs numbers of the stable release: without
them it would never have a verdict, and the rollout would stop at its first step.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from rollout.analysis import COMPARISONS, MOST_WINDOWS, source_of, whole_windows
from rollout.deferred import dataclass
from rollout.gates.base import duration
from rollout.gates.burn import History, add_history
from rollout.gates.record import GateRecord
from rollout.measurements import (
    Counts,
    Delayed,
    GateQuery,
    Subject,
    Unmeasured,
    WindowAnswer,
    Windows,
)
from rollout.model import Desired, Evidence, Release, Rollout, Settled
from rollout.spec.gates import kind_of, resolved
from rollout.strategies.base import FIRST_GROUP
from rollout.transitions import has_newer

LOOK_BACK = timedelta(minutes=10)
"""Long enough for metrics that arrive up to 270 s late; for long windows, as many as fit into one
query."""
FINAL = frozenset({"no-source", "no-series", "labels", "edge", "unreadable"})
"""What no waiting changes."""
CONFIRMED_AFTER = timedelta(seconds=90)
"""A release is not refused by what a source says only once."""


@dataclass(frozen=True)
class Lack:
    """Why a gate has nothing to compare with. `is_final`: the release is refused for it."""

    why: str
    is_final: bool


def queries_before(rollout: Rollout, desired: Desired, now: datetime) -> tuple[GateQuery, ...]:
    """What each comparison of the next release needs to know of the stable one."""
    release, stable = desired.release, rollout.stable
    if not isinstance(rollout.phase, Settled) or release is None or stable is None:
        return ()
    if not has_newer(rollout, desired) or not _is_compared(release):
        return ()
    seconds = release.spec.rollout.analysis.window_seconds
    since, until = whole_windows(now - _look_back(release), now, seconds)
    subject = Subject(rollout.serving_group or FIRST_GROUP, stable.version, stable.template)
    queries = []
    for name, gate in release.spec.rollout.gates.items():
        source = source_of(name, resolved(name, gate))
        if kind_of(name, gate) in COMPARISONS and source:
            queries.append(GateQuery(name, source, subject, None, since, until, seconds, now))
    return tuple(queries)


def _look_back(release: Release) -> timedelta:
    seconds = release.spec.rollout.analysis.window_seconds
    return max(LOOK_BACK, MOST_WINDOWS * timedelta(seconds=seconds))


def records_before(evidence: Evidence) -> tuple[GateRecord, ...]:
    """A record for each comparison of the release that begins, with what the stable one had."""
    records = []
    for name, answer in sorted(evidence.before.items()):
        history = History()
        for window in answer.windows if isinstance(answer, Windows) else ():
            if isinstance(window.candidate, Counts):
                history = add_history(history, window.candidate.bad, window.candidate.total)
        records.append(GateRecord(name, history=history))
    return tuple(records)


def _is_compared(release: Release) -> bool:
    """What a rollback restores is not judged."""
    return not release.is_restored


def lack_of_baseline(
    rollout: Rollout, candidate: Release, evidence: Evidence, now: datetime
) -> Lack | None:
    """The first gate that has no numbers of the stable release."""
    stable = rollout.stable
    if stable is None or not _is_compared(candidate):
        return None
    gates = candidate.spec.rollout.gates
    for name, answer in sorted(evidence.before.items()):
        if name in gates and gates[name].dry_run:
            continue
        if lack := _lack(name, answer, stable.version, _look_back(candidate)):
            is_confirmed = now - candidate.released_at >= CONFIRMED_AFTER
            return replace(lack, is_final=lack.is_final and is_confirmed)
    return None


def _lack(name: str, answer: WindowAnswer, version: str, look_back: timedelta) -> Lack | None:
    gate = f"gate {name} has nothing to compare with"
    match answer:
        case Delayed(why=why):
            return Lack(f"{gate} yet: {why}", is_final=False)
        case Unmeasured(kind=kind, why=why):
            return Lack(f"{gate}: {why}", is_final=kind in FINAL)
    measured = [each.candidate for each in answer.windows if isinstance(each.candidate, Counts)]
    if any(each.total > 0 for each in measured):
        return None
    if measured:
        why = f"no request reached release {version} in the last {duration(look_back)}"
        return Lack(f"{gate}: {why}; send it requests, or leave the gate out", is_final=True)
    lacks = [each.candidate for each in answer.windows if isinstance(each.candidate, Unmeasured)]
    if not lacks:
        return Lack(f"{gate} yet: no window is over", is_final=False)
    return Lack(f"{gate}: {lacks[-1].why}", is_final=all(each.kind in FINAL for each in lacks))
