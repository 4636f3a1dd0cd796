"""Plans what must be deleted: the model's resources that its target does not need, users before
what they use. Pure.

Called by `plan` alone. Unlike the rest of a plan nothing builds on a deletion, so resources that
Slipway does not own are simply left.
"""

from __future__ import annotations

from collections.abc import Iterator

from infra.fleet import naming
from infra.fleet.model import Action, Collection, Key, Snapshot
from infra.fleet.resources import instance_group
from rollout.model import Target

GROUPS: Collection = "regionInstanceGroupManagers"
_ORDER: tuple[Collection, ...] = (
    "backendServices",
    "regionAutoscalers",
    GROUPS,
    "healthChecks",
    "instanceTemplates",
)
_USERS_BY_NAME: dict[Collection, tuple[Collection, ...]] = {
    GROUPS: ("regionAutoscalers", "backendServices"),
    "healthChecks": (GROUPS, "backendServices"),
}


def deletions(
    target: Target, desired: frozenset[Key], changed: frozenset[Key], snapshot: Snapshot
) -> tuple[Action, ...]:
    """Deletes for what `snapshot` holds beside `desired`. `changed` are the keys that earlier
    actions of the plan write.

    ```
    route removed from the URL map ──> backend service ──┐
                                           autoscaler ───┴─> group ──> health checks, templates
    ```
    """
    why = "the model's target does not need it" if target.groups else "the model is retired"
    leftover = {
        key
        for key in _leftovers(target, desired, snapshot)
        if naming.is_owned(snapshot.bodies[key] or {}, target.model)
    }
    actions = []
    for key in sorted(leftover, key=lambda key: (_ORDER.index(key.collection), key)):
        after = tuple(user for user in _users(key, snapshot) if user in leftover | changed)
        based_on = str((snapshot.bodies[key] or {}).get("id", ""))
        actions.append(Action(key, "delete", {}, why, after=after, based_on=based_on))
    return tuple(actions)


def foreign_resources(
    target: Target, desired: frozenset[Key], snapshot: Snapshot
) -> tuple[Key, ...]:
    """Resources with a name of ours that would have to be deleted, but that Slipway does not
    own.
    """
    return tuple(
        sorted(
            key
            for key in _leftovers(target, desired, snapshot)
            if (body := snapshot.bodies[key]) and not naming.is_owned(body, target.model)
        )
    )


def _leftovers(target: Target, desired: frozenset[Key], snapshot: Snapshot) -> Iterator[Key]:
    """By name alone, owned or not. A template counts only if nothing that stays may still need
    it.
    """
    kept = _used_templates(desired, snapshot)
    kept |= {naming.template(name) for name in target.kept_templates}
    # A group that serves in another region is kept: `plan` refuses to move it.
    elsewhere = {(key.collection, key.name) for key in desired if key.scope != naming.GLOBAL}
    for key in snapshot.bodies:
        is_needed = key in desired or key in kept or (key.collection, key.name) in elsewhere
        if not is_needed and naming.is_of(target.model, key):
            yield key


def _used_templates(desired: frozenset[Key], snapshot: Snapshot) -> set[Key]:
    """The templates of the groups that stay: of their versions, and of instances that have not been
    replaced yet.
    """
    used: set[Key] = set()
    for group in (key for key in desired if key.collection == GROUPS):
        used |= instance_group.templates_of(snapshot.bodies.get(group) or {})
        for instance in snapshot.instances.get(group, ()):
            template = naming.last(instance.get("version", {}).get("instanceTemplate"))
            used |= {naming.template(template)} if template else set()
    return used


def _users(key: Key, snapshot: Snapshot) -> list[Key]:
    """What may refer to a resource and must be deleted or changed first."""
    match key.collection:
        case "backendServices":
            return [each for each in snapshot.bodies if each.collection == "urlMaps"]
        case "regionInstanceGroupManagers" | "healthChecks":
            is_check = key.collection == "healthChecks"
            name = naming.group_of_check(key) if is_check else key.name
            collections = _USERS_BY_NAME[key.collection]
            return [
                each
                for each in snapshot.bodies
                if each.collection in collections and each.name == name
            ]
        case "instanceTemplates":
            return [each for each in snapshot.bodies if each.collection == GROUPS]
    return []
