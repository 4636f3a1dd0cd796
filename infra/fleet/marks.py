"""Marks a model's autoscalers with the revision of the state that last changed its fleet. Pure.

Called by `handlers/reconcile/`. The mark is at the end of the descriptions of the model's
autoscalers: every group has one, and Compute Engine lets a description be changed in place, which
it does not for groups. A mark never exceeds the revision of the stored state, since a decision is
saved before it is applied. So a mark that does shows that an older state was restored.

    slipway model=tiny autoscaler revision=41
"""

from __future__ import annotations

import re
from dataclasses import replace

from infra.fleet import naming
from infra.fleet.model import Action, Key, Plan, Snapshot
from rollout.model import Target

_MARK = re.compile(r" revision=(\d{1,15})$")


def mark(plan: Plan, target: Target, revision: int) -> Plan:
    """The plan that also writes the revision, if it writes anything and the target has groups."""
    if all(action.verb == "delete" for action in plan.actions):
        return plan
    keys = tuple(
        naming.autoscaler(target.model, group.colour, group.settings.spec.placement.region)
        for group in target.groups
    )
    text = f"{naming.description(target.model, 'autoscaler')} revision={revision}"
    why = f"the fleet changes at revision {revision}"
    written = tuple(_with_mark(action, keys, text) for action in plan.actions)
    changed = {action.key for action in plan.actions}
    inserted = {action.key for action in plan.actions if action.verb == "insert"}
    added = tuple(
        Action(key, "patch", {"name": key.name, "description": text}, why)
        for key in keys
        if key not in changed and _group(key) not in inserted
    )
    return replace(plan, actions=(*written, *added))


def _with_mark(action: Action, keys: tuple[Key, ...], text: str) -> Action:
    if action.key not in keys or action.verb == "delete":
        return action
    return replace(action, body={**action.body, "description": text})


def _group(autoscaler: Key) -> Key:
    return Key("regionInstanceGroupManagers", autoscaler.scope, autoscaler.name)


def newest_revision(snapshot: Snapshot, model: str) -> int:
    """The highest revision that the model's resources are marked with; 0 without a mark."""
    return max(
        (
            int(found[1])
            for key, body in snapshot.bodies.items()
            if key.collection == "regionAutoscalers"
            and body is not None
            and naming.is_of(model, key)
            and naming.is_owned(body, model)
            and (found := _MARK.search(str(body.get("description", ""))))
        ),
        default=0,
    )
