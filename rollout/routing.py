"""Since when the URL map is as the rollout asks for, who edited it, and when a group has drained.
Pure.

Called by `advance` once per pass, before the phase is judged. A URL map takes a while to reach
every front end, so nothing counts before a pass has read it as it should be, plus `PROPAGATION`:

    written   read in the map                      reaches every front end
    |---------|------------- PROPAGATION ----------|--- hold, bake, or draining ---|

Invariants: a map that was never as it should be has not been edited; nothing that may have a
request in flight is deleted.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from rollout.gates.traffic import PROPAGATION
from rollout.model import (
    Baking,
    Evidence,
    Kept,
    Observed,
    Release,
    Retiring,
    RollingBack,
    Rollout,
    Settled,
    Stepping,
)
from rollout.strategies import has_own_group


def routed_since(rollout: Rollout) -> datetime | None:
    """Since when the URL map has been as the present phase asks for."""
    phase, kept = rollout.phase, rollout.kept
    if isinstance(phase, Settled):
        return kept.since if kept and not kept.is_leaving else None
    return phase.routed_since


def is_edited(rollout: Rollout, evidence: Evidence) -> bool:
    """Whether somebody changed the route after a pass had read it as it should be. What was not
    written yet is no edit.
    """
    return routed_since(rollout) is not None and not evidence.is_routed


def observe_route(rollout: Rollout, evidence: Evidence, now: datetime) -> Rollout:
    """The rollout with what the URL map shows. An edit lets the time count from when the route is
    restored.
    """
    since = (routed_since(rollout) or now) if evidence.is_routed else None
    phase, kept = rollout.phase, rollout.kept
    match phase:
        case Settled():
            if kept is None or kept.is_leaving:
                return rollout
            return replace(rollout, kept=replace(kept, since=since))
        case Stepping() | Baking():
            since = since if has_own_group(rollout) else None
            return replace(rollout, phase=replace(phase, routed_since=since))
        case RollingBack() | Retiring():
            if phase.is_drained:
                return rollout
            return replace(rollout, phase=replace(phase, routed_since=since))


# ---- Draining


def time_to_drain(*releases: Release | None) -> timedelta:
    """From when a map without requests for a group was read until none is in flight there."""
    limits = (each.spec.traffic.draining_seconds for each in releases if each)
    return PROPAGATION + timedelta(seconds=max(limits, default=0))


def kept_drained_at(kept: Kept) -> datetime | None:
    """When the kept group may go; None while it may get requests."""
    return kept.since + time_to_drain(kept.release) if kept.since else None


def drained_at(rollout: Rollout) -> datetime | None:
    """When the groups that leave have drained; None while the URL map may send them requests."""
    since = routed_since(rollout)
    if since is None:
        return None
    match rollout.phase:
        case Retiring():
            kept = rollout.kept.release if rollout.kept else None
            return since + time_to_drain(rollout.stable, rollout.candidate, kept)
        case _:
            return since + time_to_drain(rollout.candidate)


def has_nothing_in_flight(rollout: Rollout, observed: Observed) -> bool:
    """Whether nothing has to drain: the group that leaves does not exist, or everything leaves, and
    when the route still existed no instance could serve. Without a route there is no health data.
    What has served may be answering requests although it has become unhealthy since.
    """
    if rollout.stable and isinstance(rollout.phase, RollingBack):
        return all(group.colour == rollout.serving_group for group in observed.groups)
    if not observed.groups:
        return True
    instances = [each for group in observed.groups for each in group.instances]
    has_served = rollout.stable is not None
    can_serve = any(
        each.is_running and (has_served or each.health != "unhealthy") for each in instances
    )
    return not can_serve and routed_since(rollout) is None
