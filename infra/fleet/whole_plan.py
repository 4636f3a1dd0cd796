"""Plans a whole rollout at once: from what exists to what is left when the release has baked. Pure.

Called by `infra/fleet/forecast.py` before a release is published, and by
`handlers/reconcile/decide.py` when it begins, to see whether it would still do the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from infra.fleet import naming
from infra.fleet.model import Key, Plan, Snapshot
from infra.fleet.observe import observe
from infra.fleet.plan import plan
from rollout.deferred import dataclass
from rollout.model import Desired, Release, Rollout, Target
from rollout.plan_hash import settled_before
from rollout.policy.caps import clamp
from rollout.policy.policy import Policy
from rollout.strategies import strategy_of, swap_of
from rollout.targets import target_of


@dataclass(frozen=True)
class WholePlan:
    target: Target
    plan: Plan


def whole_plan(
    rollout: Rollout, desired: Desired, release: Release, policy: Policy, snapshot: Snapshot
) -> WholePlan:
    """What is under way has ended then, and a group that was kept has made way."""
    before = settled_before(rollout)
    group = strategy_of(release).candidate_group(swap_of(before, release))
    settled = Rollout(stable=release, previous=before.stable, serving_group=group)
    found = _without_others(rollout, desired.model, snapshot)
    observed = observe(found, desired.model)
    target = clamp(policy, target_of(settled, replace(desired, release=release), observed))
    return WholePlan(target, plan(target, found))


def _without_others(rollout: Rollout, model: str, snapshot: Snapshot) -> Snapshot:
    """The snapshot without the group that does not serve, and all that belongs to it."""
    gone = {*_of_others(rollout, model, snapshot)}
    bodies = {key: None if key in gone else body for key, body in snapshot.bodies.items()}
    instances = {key: () if key in gone else each for key, each in snapshot.instances.items()}
    health = {key: () if key in gone else each for key, each in snapshot.health.items()}
    return Snapshot(bodies, instances, health)


def _of_others(rollout: Rollout, model: str, snapshot: Snapshot) -> Iterator[Key]:
    for key in snapshot.bodies:
        name = naming.group_of_check(key) if key.collection == "healthChecks" else key.name
        colour = naming.colour_of(model, name)
        body = snapshot.bodies[key] or {}
        if colour and colour != rollout.serving_group and naming.is_owned(body, model):
            yield key
