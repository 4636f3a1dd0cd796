"""A swap within one group waits, for a while, for instances of the stable release that start. Pure.

Asked before a rollout begins; each step ends only when its group is stable. Compute Engine counts
an instance that it creates or still verifies as unavailable, so a swap replaces it first, without
surge. What would have served in a moment is lost until a new instance is healthy, or until a bad
release is back. An instance that does not start in time is no reason to wait: the release may be
its repair.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from rollout.model import Observed, Release, Rollout
from rollout.spec.defaults import startup_seconds
from rollout.spec.way_back import REPLACEMENT_SECONDS
from rollout.strategies import has_own_group
from rollout.strategies.base import FIRST_GROUP

LEAVING = ("DELETING", "ABANDONING", "STOPPING", "SUSPENDING")


def await_starting(
    rollout: Rollout, since: datetime | None, observed: Observed, now: datetime
) -> tuple[datetime | None, str]:
    """Since when the swap of `rollout`, which is about to begin, has waited, and what for; empty if
    it may begin. `since`: of the pass before.
    """
    stable, candidate = rollout.stable, rollout.candidate
    if stable is None or candidate is None or stable.template == candidate.template:
        return None, ""
    count = 0 if has_own_group(rollout) else _starting(stable, rollout, observed)
    begun = since or now
    patience = timedelta(seconds=REPLACEMENT_SECONDS + startup_seconds(stable.spec))
    if not count:
        return None, ""
    if now - begun >= patience:
        return begun, ""
    return begun, (
        f"{count} instances of release {stable.version} start, and a swap would lose them; until"
        f" {begun + patience:%Y-%m-%dT%H:%M:%SZ} at the latest"
    )


def without_wait(rollout: Rollout) -> Rollout:
    return replace(rollout, starting_since=None) if rollout.starting_since else rollout


def _starting(stable: Release, rollout: Rollout, observed: Observed) -> int:
    group = observed.group(rollout.serving_group or FIRST_GROUP)
    return sum(
        each.template == stable.template
        and not each.is_settled
        and each.action not in LEAVING
        and each.problem is None
        for each in (group.instances if group else ())
    )
