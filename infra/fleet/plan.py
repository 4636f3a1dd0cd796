"""Plans the actions that bring the observed state to the target: `plan(target, snapshot) -> Plan`.
Pure.

Called by `handlers/reconcile/decide.py` and the drift scan. The same target and snapshot give the
same plan, and a snapshot that agrees with the target gives an empty one. `after` says what an
action waits for; everything else may happen at the same time:

    template, liveness check ──> group ──> autoscaler
                  readiness check, group ──> backend service ──> route in the URL map
    default backend service ──> URL map ──> proxy ──> forwarding rule <── address

A target without groups is the same in reverse; while it drains, only its route goes. A plan is data
and complete: a route is written only into a URL map that has been read, so a map that this plan
inserts gets its routes from the next pass. A resource with our name but another owner is left alone
and reported in `Plan.problems`, and so is everything that depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace

from infra.fleet import deletions, naming, observe
from infra.fleet.model import Action, Body, Collection, DesiredResource, Key, Plan, Snapshot
from infra.fleet.reads import referred_to
from infra.fleet.resources import (
    autoscaler,
    backend_service,
    gateway,
    health_check,
    instance_group,
    instance_template,
    url_map,
)
from rollout.deferred import dataclass
from rollout.model import Problem, Release, Target

Update = Callable[[DesiredResource, Body], tuple[Action | Problem, ...]]

_UPDATES: dict[Collection, Update] = {
    "instanceTemplates": lambda desired, observed: (),
    "healthChecks": health_check.update,
    "regionInstanceGroupManagers": instance_group.update,
    "regionAutoscalers": autoscaler.update,
    "backendServices": backend_service.update,
}


# ---- The desired resources


@dataclass(frozen=True)
class DesiredFleet:
    """A target in Compute Engine's terms: resources in an order in which they could be inserted,
    and the route by URL map.
    """

    resources: tuple[DesiredResource, ...]
    routes: Mapping[Key, url_map.Route]


def desired_fleet(target: Target) -> DesiredFleet:
    """Templates, checks, groups, autoscalers, backend services and gateway of a target. Unlike
    `plan`, it knows nothing of what must be deleted.
    """
    model, traffic = target.model, target.traffic
    releases = {
        share.release.template: share.release for group in target.groups for share in group.shares
    }
    exposed = [group for group in target.groups if group.settings.spec.traffic.is_exposed]
    fronts = (traffic.settings, *traffic.also) if traffic else ()
    resources = (
        *(instance_template.desired(model, release) for release in releases.values()),
        *(health_check.live(model, group) for group in target.groups),
        *(health_check.ready(model, group) for group in exposed),
        *(part for settings in fronts for part in _front(settings)),
        *(instance_group.desired(model, group) for group in target.groups),
        *(autoscaler.desired(model, group) for group in target.groups),
        *(backend_service.desired(model, group) for group in exposed),
    )
    return DesiredFleet(resources, url_map.routes_of(model, traffic))


def _front(settings: Release) -> tuple[DesiredResource, ...]:
    traffic = settings.spec.traffic
    return gateway.desired(traffic.certificate, naming.gateway_named(traffic.gateway))


# ---- The plan


@dataclass
class _Draft:
    """A plan being built. `blocked` are the keys of resources that cannot be created, so
    nothing may depend on them. `referred_to`: see `reads`.
    """

    referred_to: frozenset[str]
    actions: list[Action] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    blocked: set[Key] = field(default_factory=set)

    def add(self, *results: Action | Problem, after: tuple[Key, ...] | None = None) -> None:
        for result in results:
            if isinstance(result, Problem):
                self.problems.append(result)
            else:
                self.actions.append(result if after is None else replace(result, after=after))

    def inserted(self, keys: Iterable[Key]) -> tuple[Key, ...]:
        """Those of `keys` that this plan inserts: only they are worth waiting for."""
        if not self.actions:
            return ()
        inserts = {action.key for action in self.actions if action.verb == "insert"}
        return tuple(key for key in dict.fromkeys(keys) if key in inserts)


def plan(
    target: Target,
    snapshot: Snapshot,
    indexes: Mapping[Key, url_map.Routes] | None = None,
    *,
    with_routes: bool = True,
) -> Plan:
    """The actions that bring the snapshot to the target. Raises `KeyError` if the
    snapshot lacks something that decides it. `indexes` are those of the snapshot's URL maps, made
    once for many models. `with_routes`: False if the model's routes are as they should be.
    """
    fleet, draft = desired_fleet(target), _Draft(referred_to(snapshot))
    _refuse_moves(draft, target, snapshot)
    for desired in fleet.resources:
        _insert_or_update(draft, desired, target.model, snapshot)
    for key in sorted({*fleet.routes, *observe.url_maps(snapshot)} if with_routes else ()):
        route = fleet.routes.get(key)
        _plan_route(draft, key, route, target.model, snapshot, (indexes or {}).get(key))
    if target.is_draining:
        return Plan(tuple(draft.actions), tuple(draft.problems))
    keys = frozenset(desired.key for desired in fleet.resources)
    changed = frozenset(action.key for action in draft.actions)
    draft.add(*deletions.deletions(target, keys, changed, snapshot))
    if not target.groups:
        foreign = deletions.foreign_resources(target, keys, snapshot)
        draft.add(*(_not_owned(key) for key in foreign))
    return Plan(tuple(draft.actions), tuple(draft.problems))


def _refuse_moves(draft: _Draft, target: Target, snapshot: Snapshot) -> None:
    """A group cannot move: a release for another place is refused at the first step, before any
    instance has been replaced.
    """
    for group in target.groups:
        for share in group.shares:
            if problem := instance_group.immovable(group.settings, share.release):
                draft.add(problem)
        desired = naming.group(target.model, group.colour, group.settings.spec.placement.region)
        for key, body in snapshot.bodies.items():
            is_elsewhere = (key.collection, key.name) == (desired.collection, desired.name) and (
                key.scope != desired.scope
            )
            if is_elsewhere and body is not None and naming.is_owned(body, target.model):
                draft.blocked.add(desired)
                draft.add(
                    instance_group.cannot_move(
                        f"is in region {key.scope}", f"region {desired.scope}"
                    )
                )


def _insert_or_update(
    draft: _Draft, desired: DesiredResource, model: str, snapshot: Snapshot
) -> None:
    front = naming.gateway_of(desired.key)
    is_shared = front is not None
    if front and desired.key not in snapshot.bodies and snapshot.bodies[front.url_map]:
        return  # not read, which is allowed once the gateway exists
    if desired.key not in snapshot.bodies and naming.reference(desired.key) in draft.referred_to:
        return  # not read, which is allowed while it is in use
    observed = snapshot.bodies[desired.key]
    after = draft.inserted(desired.after)
    if draft.blocked & {desired.key, *desired.after}:
        draft.blocked.add(desired.key)
    elif observed is None:
        draft.add(Action(desired.key, "insert", desired.body, desired.why, after=after))
    elif not (naming.is_gateway(observed) if is_shared else naming.is_owned(observed, model)):
        draft.blocked.add(desired.key)
        draft.add(_not_owned(desired.key))
    else:
        update = gateway.update if is_shared else _UPDATES[desired.key.collection]
        draft.add(*update(desired, observed), after=after)


def _not_owned(key: Key) -> Problem:
    message = (
        f"{naming.reference(key)} exists and is not owned by Slipway (its description does not say"
        " so); rename or remove it"
    )
    return Problem("config", "NOT_OURS", message)


def _plan_route(
    draft: _Draft,
    key: Key,
    route: url_map.Route | None,
    model: str,
    snapshot: Snapshot,
    routes: url_map.Routes | None,
) -> None:
    """The model's route in one URL map, once its backend services exist."""
    observed = snapshot.bodies[key]
    if observed is None or not naming.is_gateway(observed):
        return
    services = route.services if route else ()
    if draft.blocked & {*services}:
        return
    split = services if route and route.is_split else ()
    bodies = ((key, snapshot.bodies.get(key)) for key in split)
    affinities = [found for each in bodies if (found := backend_service.affinity(*each))]
    changes = affinities or url_map.update(observed, model, route, routes)
    draft.add(*changes, after=draft.inserted(services))
