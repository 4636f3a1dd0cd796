"""What must go: everything read that is the model's and that nothing wants any more, users before
what they use.

Called by `plan` alone. Unlike the rest of a plan this never builds on anything, so what is not ours
is simply left."""

from __future__ import annotations

from collections.abc import Iterator

from infra.fleet import naming
from infra.fleet.model import Action, Collection, Key, Snapshot
from infra.fleet.resources import instance_group
from rollout.model import Target

_ORDER: tuple[Collection, ...] = (
    "backendServices",
    "regionAutoscalers",
    "regionInstanceGroupManagers",
    "healthChecks",
    "instanceTemplates",
)


def deletions(
    target: Target, desired: frozenset[Key], changed: frozenset[Key], snapshot: Snapshot
) -> tuple[Action, ...]:
    """Deletes for what `snapshot` holds beside `desired`. `changed` are the keys that earlier
    actions of the plan write.

    ```
    route out of the URL map ──> backend service ──┐
                                     autoscaler ───┴─> group ──> liveness check, templates
                                 backend service ──> readiness check
    ```"""
    why = "the model's target has no use for it" if target.groups else "the model is retired"
    leftover = {
        key
        for key in _leftovers(target, desired, snapshot)
        if naming.is_owned(snapshot.bodies[key] or {}, target.model)
    }
    actions = []
    for key in sorted(leftover, key=lambda key: (_ORDER.index(key.collection), key)):
        after = tuple(
            user for user in _users(key, target.model, snapshot) if user in leftover | changed
        )
        based_on = str((snapshot.bodies[key] or {}).get("id", ""))
        actions.append(Action(key, "delete", {}, why, after=after, based_on=based_on))
    return tuple(actions)


def foreign_resources(
    target: Target, desired: frozenset[Key], snapshot: Snapshot
) -> tuple[Key, ...]:
    """What bears a name of ours and would have to go, but is somebody else's."""
    bodies = {key: snapshot.bodies[key] for key in _leftovers(target, desired, snapshot)}
    return tuple(
        sorted(
            key
            for key, body in bodies.items()
            if body is not None and not naming.is_owned(body, target.model)
        )
    )


def _leftovers(target: Target, desired: frozenset[Key], snapshot: Snapshot) -> Iterator[Key]:
    """By name alone, ours or not. A template counts only when nothing that stays may still need
    it."""
    kept = _used_templates(desired, snapshot) | {
        naming.template(name) for name in target.kept_templates
    }
    elsewhere = {(key.collection, key.name) for key in desired if key.scope != naming.GLOBAL}
    for key in snapshot.bodies:
        if key in desired or key in kept or not naming.is_of(target.model, key):
            continue
        if (
            key.collection,
            key.name,
        ) not in elsewhere:  # the same group in another region serves: `plan` refuses the move
            yield key


def _used_templates(desired: frozenset[Key], snapshot: Snapshot) -> set[Key]:
    """Those of the groups that stay: of their versions, and of single instances that have not been
    replaced yet."""
    used: set[Key] = set()
    for group in (key for key in desired if key.collection == "regionInstanceGroupManagers"):
        used |= instance_group.uses(snapshot.bodies.get(group) or {})
        for instance in snapshot.instances.get(group, ()):
            template = naming.last(instance.get("version", {}).get("instanceTemplate"))
            used |= {naming.template(template)} if template else set()
    return used


def _users(key: Key, model: str, snapshot: Snapshot) -> list[Key]:
    """What may refer to a resource and must let go of it first."""
    match key.collection:
        case "backendServices":
            return [naming.GATEWAY]
        case "regionInstanceGroupManagers":
            beside = [
                each
                for each in snapshot.bodies
                if each.collection in ("regionAutoscalers", "backendServices")
            ]
            return [each for each in beside if each.name == key.name]
        case "healthChecks" if key == naming.ready_check(model):
            return [naming.backend_service(model, colour) for colour in naming.COLOURS]
        case "healthChecks" | "instanceTemplates":
            return [
                each for each in snapshot.bodies if each.collection == "regionInstanceGroupManagers"
            ]
    return []
