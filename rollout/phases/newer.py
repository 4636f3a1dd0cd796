"""A newer release ends the present rollout, or waits for it. Pure."""

from __future__ import annotations

from datetime import datetime

from rollout import transitions
from rollout.judging import frozen_for
from rollout.model import Baking, Desired, Evidence, Observed, Rollout, Stepping
from rollout.spec.compatibility import cannot_share_group
from rollout.strategies import has_own_group, strategy_of, swap_of
from rollout.strategies.base import FIRST_GROUP
from rollout.transitions import PhaseChange, candidate_of
from rollout.way_back_time import healthy_and_needed


def yield_to_newer(
    rollout: Rollout, desired: Desired, observed: Observed, evidence: Evidence, now: datetime
) -> PhaseChange | None:
    """A newer desired release ends the present rollout, unless `rollout.on_newer` is `wait`, the
    policy freezes both, or the candidate is all that serves. A rollback does not wait for the first
    of these.
    """
    candidate, newer = candidate_of(rollout), desired.release
    if newer is None or newer.generation == candidate.generation:
        return None
    if frozen_for(evidence, newer):
        return None
    if candidate.spec.rollout.on_newer == "wait" and not newer.is_restored:
        return None
    if _serves_alone(rollout, observed):
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


def _serves_alone(rollout: Rollout, observed: Observed) -> bool:
    """Whether the candidate's own group gets requests and is healthy, and the stable release has no
    healthy instance to take them back.
    """
    stable, candidate, phase = rollout.stable, candidate_of(rollout), rollout.phase
    if stable is None or not has_own_group(rollout):
        return False
    if not isinstance(phase, Baking) and not (isinstance(phase, Stepping) and phase.weight):
        return False
    own = strategy_of(candidate).candidate_group(swap_of(rollout, candidate))
    of_stable, _ = healthy_and_needed(stable, rollout.serving_group or FIRST_GROUP, observed)
    of_candidate, _ = healthy_and_needed(candidate, own, observed)
    return of_candidate > 0 and of_stable == 0
