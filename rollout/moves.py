"""How a model moves from one gateway to another: the new route first, the old one last. Pure.

During a rollout to a release that names another gateway, both gateways have the model's route, each
with the host and path of its release. When it is over, the gateway that is no longer named keeps
its route until the present ones have reached every front end, and what arrived there has drained:

    old gateway   route ──────────────────────────────── drains ──> removed
    new gateway     route ───────────────────────────────────────────────
                  step 1 ───────── bake ───── settled    PROPAGATION + draining

A rollback is the same with the gateways exchanged. Called by `advance`. Invariant: a gateway with a
route of the model is named by a release of the rollout or is in `Rollout.moved`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from rollout.model import (
    Evidence,
    FleetTarget,
    Moved,
    Release,
    Retiring,
    Rollout,
    Settled,
    TrafficTarget,
)
from rollout.routing import time_to_drain


def gateway(release: Release) -> str | None:
    return release.spec.traffic.gateway


def _named(*releases: Release | None) -> dict[str | None, Release]:
    return {gateway(each): each for each in releases if each and each.spec.traffic.is_exposed}


def in_both(rollout: Rollout, fleet: FleetTarget) -> TrafficTarget | None:
    """The route with the other gateways that have it too."""
    traffic = fleet.traffic
    if traffic is None or isinstance(rollout.phase, Retiring):
        return traffic
    staying = (each.release for each in rollout.moved if not each.is_leaving)
    named = _named(*staying, rollout.candidate, rollout.stable)
    named.pop(gateway(traffic.settings), None)
    return replace(traffic, also=tuple(named.values())) if named else traffic


def follow(before: Rollout, after: Rollout) -> Rollout:
    """The rollout with the gateways that it does not name any more. One that it names again is no
    longer left.
    """
    named = _named(after.stable, after.candidate)
    left = {gateway(each.release): each for each in after.moved}
    for where, release in _named(before.stable, before.candidate).items():
        if named or where:  # the shared gateway is read whatever the releases name
            left.setdefault(where, Moved(release))
    moved = tuple(each for where, each in left.items() if where not in named)
    moved = moved if after.stable or after.candidate else ()
    return after if moved == after.moved else replace(after, moved=moved)


def observe(rollout: Rollout, evidence: Evidence, now: datetime) -> Rollout:
    """The settled rollout with how far its moves are. A route goes when it has drained, and is
    forgotten when nothing of it is left to change.
    """
    if not rollout.moved or not isinstance(rollout.phase, Settled):
        return rollout
    is_over = not evidence.pending_changes
    left = (each for each in rollout.moved if not (each.is_leaving and is_over))
    return replace(rollout, moved=tuple(_observed(each, evidence, now) for each in left))


def _observed(moved: Moved, evidence: Evidence, now: datetime) -> Moved:
    if moved.is_leaving:
        return moved
    since = (moved.since or now) if evidence.is_routed else None
    drained = since is not None and now >= since + time_to_drain(moved.release)
    return replace(moved, since=since, is_leaving=drained)


def waiting_for(rollout: Rollout) -> str:
    """What a settled model waits for; empty if it has not moved."""
    for each in rollout.moved:
        name = f"gateway {gateway(each.release) or 'shared by all models'}"
        if each.since is None or each.is_leaving:
            return f"its route in the {name} goes"
        until = each.since + time_to_drain(each.release)
        return f"its route in the {name} drains until {until:%Y-%m-%dT%H:%M:%SZ}"
    return ""
