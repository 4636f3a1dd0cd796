"""Compares settled models with what exists of them, a page of models at a time, by list calls.

Called by `handlers/reconcile/drift_scan.py`. It changes nothing. Invariant: what could not be read
is never taken for absent. A list that lacks something is an error, and models in a region that
could not be listed are left to the next scan.

Gateways are shared: their URL maps are read once for all pages of a tick, and the other parts of
each count for one exposed model of each certificate. That model's pass repairs them for all.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from infra.compute.inventory import Listed, list_of_models
from infra.fleet import naming
from infra.fleet.inventory import OF_MODELS, owned_by_model
from infra.fleet.marks import newest_revision
from infra.fleet.model import Action, Body, Key, ReadSet, Snapshot
from infra.fleet.naming import Gateway
from infra.fleet.plan import plan
from infra.fleet.reads import Scope, full_reads, scope_of
from infra.fleet.resources import gateway, url_map
from infra.settings import POLICY, load_project_policy
from infra.store.settled import SettledModel
from infra.wiring import World
from rollout.deferred import dataclass
from rollout.model import Observed, Target
from rollout.policy.caps import clamp
from rollout.policy.policy import Policy
from rollout.restored import is_newer
from rollout.targets import target_of

log = logging.getLogger("slipway")

Bodies = dict[Key, Body | None]
Front = tuple[Gateway, str | None]
"""A gateway, and the certificate that a model needs there."""


@dataclass(frozen=True)
class Shared:
    """What all models share: the policy, the gateways' URL maps with their routes, and the gateways
    and certificates for which the other parts have been compared.
    """

    policy: Policy
    url_maps: Mapping[Key, Body]
    routes: Mapping[Key, url_map.Routes]
    fronts: frozenset[Front] = frozenset()


@dataclass(frozen=True)
class Found:
    """What was found about some models. `newer` are those newer on Compute Engine than in the
    store.
    """

    drifted: tuple[str, ...] = ()
    newer: tuple[str, ...] = ()


def read_shared(world: World) -> Shared:
    policy = load_project_policy(world.store, world.store.get_many([POLICY]), world.project)
    bodies = world.compute.list("urlMaps", filter=naming.URL_MAP_FILTER)
    found = {naming.url_map(body): body for body in bodies}
    owned = {key: body for key, body in found.items() if naming.is_gateway(body)}
    return Shared(policy, found, {key: url_map.index(body) for key, body in owned.items()})


def compare(
    world: World,
    shared: Shared,
    models: Sequence[SettledModel],
    filter: str = "",
    paused: frozenset[str] = frozenset(),
) -> tuple[Found, Shared]:
    """What of the models differs. `filter`: for the lists, if these are not all models. One that
    cannot be compared does not stop the others. Of those whose rollout is `paused` it finds the
    ones whose instances are being replaced, so that their own passes can be rare.
    """
    if not (models or paused):
        return Found(), shared
    scopes = {
        each.state.desired.model: scope_of(each.state.rollout, each.state.desired)
        for each in models
    }
    keys = {model: full_reads(scope, with_gateway=False).keys for model, scope in scopes.items()}
    needed = {key for each in keys.values() for key in each}

    def concerns(key: Key, body: Body) -> bool:
        owner = naming.owner(body)
        is_of_paused = owner in paused and key.collection == "regionInstanceGroupManagers"
        return key in needed or owner in scopes or is_of_paused

    listed = list_of_models(world.compute, concerns, filter)
    owned = owned_by_model(listed.bodies, scopes)
    representatives = _representatives(scopes, shared)
    parts = _read_parts(world, (each for fronts in representatives.values() for each in fronts))
    drifted, newer = [], []
    for each in models:
        model = each.state.desired.model
        if not listed.unreachable.isdisjoint(scopes[model].regions):
            continue
        bodies: Bodies = {
            key: listed.bodies.get(key) for key in keys[model] if key.collection in OF_MODELS
        }
        bodies |= {**owned[model], **dict.fromkeys(scopes[model].url_maps), **shared.url_maps}
        own_parts = parts if model in representatives else {}
        try:
            if is_newer(each.state, newest_revision(Snapshot(owned[model]), model)):
                newer.append(model)
            elif has_drifted(each, shared, bodies | own_parts):
                drifted.append(model)
        except Exception:
            log.exception("model not compared", extra={"fields": {"model": model}})
    drifted += sorted(_disturbed(listed, paused))
    _report(listed)
    fronts = shared.fronts | {each for fronts in representatives.values() for each in fronts}
    return Found(tuple(drifted), tuple(newer)), replace(shared, fronts=fronts)


def _disturbed(listed: Listed, paused: frozenset[str]) -> set[str]:
    """Those of the models whose instances are being replaced."""
    owners = ((naming.owner(body), body) for body in listed.bodies.values() if body)
    return {
        model
        for model, body in owners
        if model in paused and not body.get("status", {}).get("isStable")
    }


def has_drifted(settled: SettledModel, shared: Shared, bodies: Bodies) -> bool:
    """Whether a pass would change or end something, or report a new problem. `bodies` has what was
    read, and of the gateway's parts only those that count for this model.
    """
    state = settled.state
    if state.rollout.capacity_lease:
        return True  # a pass that observes the bounds ends it
    target = clamp(shared.policy, target_of(state.rollout, state.desired, Observed()))
    target = replace(target, kept_templates=target.kept_templates | _kept(settled, target))
    if not state.conditions and _has_other_route(target, shared):
        return True
    with_routes = bool(state.conditions)  # else they were compared just now
    planned = plan(target, Snapshot(bodies), shared.routes, with_routes=with_routes)
    reported = {condition.why for condition in state.conditions}
    is_news = any(problem.message not in reported for problem in planned.problems)
    is_for_all = any(gateway.is_part(key) for key in bodies if key.collection != "urlMaps")
    return is_news or any(is_for_all or not _is_shared(action) for action in planned.actions)


def _kept(settled: SettledModel, target: Target) -> frozenset[str]:
    return settled.templates if target.groups else frozenset()


def _has_other_route(target: Target, shared: Shared) -> bool:
    """Whether the model's route differs, without planning how to write the whole map."""
    routes = url_map.routes_of(target.model, target.traffic)
    return any(
        url_map.route_drift(routes.get(key), target.model, index) is not None
        for key, index in shared.routes.items()
    )


def _is_shared(action: Action) -> bool:
    """Whether an action is on a shared part; a model's route is an update of the URL map."""
    return gateway.is_part(action.key) and action.verb != "update"


def _representatives(scopes: Mapping[str, Scope], shared: Shared) -> dict[str, tuple[Front, ...]]:
    """The first exposed models of the gateways and certificates that are not compared yet."""
    found: dict[str, tuple[Front, ...]] = {}
    compared = set(shared.fronts)
    for model, scope in scopes.items():
        if new := tuple(each for each in scope.fronts if each not in compared):
            found[model] = new
            compared.update(new)
    return found


def _read_parts(world: World, fronts: Iterable[Front]) -> Bodies:
    found = (key for named, certificate in fronts for key in gateway.keys(certificate, named))
    keys = {key for key in found if key.collection != "urlMaps"}
    return dict(world.compute.observe(ReadSet(tuple(sorted(keys)))).bodies) if keys else {}


def _report(listed: Listed) -> None:
    if listed.unreachable:
        fields = {"regions": sorted(listed.unreachable)}
        log.warning("regions not compared", extra={"fields": fields})
