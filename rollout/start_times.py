"""How long instances of a model take to be healthy, from what its log says of past rollouts. Pure.

Called by `infra/fleet/forecast.py`. The first step of a rollout ends when its instances are healthy
and its hold is over; with a second group the log says when they were healthy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from statistics import median

from rollout.deferred import dataclass
from rollout.model import Release, step_name
from rollout.spec.steps import ApproveStep, PercentStep, Step

FIRST = step_name(0)


@dataclass(frozen=True)
class LogEntry:
    """A transition of the log."""

    release: str
    from_: str
    to: str
    at: datetime


def past_start(
    log: Iterable[LogEntry], first_steps: Mapping[str, Step], least_seconds: int = 1
) -> int | None:
    """The median number of seconds until the first instances of a release were healthy. `log`: in
    order; `first_steps`: those of the releases, by version. None without a past rollout.
    """
    began: dict[str, datetime] = {}
    found: list[float] = []
    for entry in log:
        step = first_steps.get(entry.release)
        if entry.to == FIRST and entry.from_ != FIRST:
            began[entry.release] = entry.at
        elif entry.from_ == FIRST and step and (since := began.pop(entry.release, None)):
            seconds = (entry.at - since).total_seconds()
            if entry.to == FIRST:
                found.append(seconds)  # it was granted its requests
            elif _ends_by_hold(step) and entry.to not in ("rolling_back", "paused"):
                found.append(seconds - step.hold_seconds)
    return max(least_seconds, round(median(found))) if found else None


def _ends_by_hold(step: Step) -> bool:
    return isinstance(step, PercentStep) and step.min_requests is None


def first_steps_of(releases: Iterable[Release | None]) -> dict[str, Step]:
    """Gates may keep a step for longer than its hold, and people an approval: these say nothing."""
    return {
        each.version: each.spec.rollout.steps[0]
        for each in releases
        if each and each.spec.rollout.steps and not each.spec.rollout.gates
        if not isinstance(each.spec.rollout.steps[0], ApproveStep)
    }
