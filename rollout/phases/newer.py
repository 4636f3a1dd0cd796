"""A newer release ends the present rollout, or waits for it. Pure."""

from __future__ import annotations

from datetime import datetime

from rollout import transitions
from rollout.judging import frozen_for
from rollout.model import (
    Desired,
    Evidence,
    Observed,
    Rollout,
)
from rollout.spec.compatibility import cannot_share_group
from rollout.transitions import PhaseChange, candidate_of


def yield_to_newer(
    rollout: Rollout, desired: Desired, observed: Observed, evidence: Evidence, now: datetime
) -> PhaseChange | None:
    """A newer desired release ends the present rollout, unless `rollout.on_newer` is `wait`, or the
    policy freezes both. A rollback does not wait.
    """
    candidate, newer = candidate_of(rollout), desired.release
    if newer is None or newer.generation == candidate.generation:
        return None
    if frozen_for(evidence, newer):
        return None
    if candidate.spec.rollout.on_newer == "wait" and not newer.is_restored:
        return None
    why = f"release {newer.version} is newer"
    if rollout.stable_kept is not None and transitions.can_begin(rollout, newer):
        return transitions.replace_candidate(rollout, desired, why, now)
    # Without a stable release to return to, the newer release takes over at once, unless both
    # cannot share a group. While a third version still has instances, it has to wait for them to
    # go.
    if rollout.stable or cannot_share_group(candidate.spec, newer.spec):
        return transitions.roll_back(rollout, desired, "superseded", "superseded", why, now)
    if any(
        instance.template != candidate.template
        for group in observed.groups
        for instance in group.instances
    ):
        return None
    return transitions.replace_candidate(rollout, desired, why, now)
