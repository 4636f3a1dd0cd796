"""Turns a snapshot into what `rollout` decides by: groups, instances, their health and problems.
Pure.

Called by `handlers/reconcile/decide.py` between reading and deciding. Missing data is never good
news: an instance without a verdict is `unknown`, and a group without a status is not stable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from infra.compute.errors import classify_instance_error
from infra.fleet import naming
from infra.fleet.inventory import is_url_map
from infra.fleet.model import Body, Key, Snapshot
from infra.fleet.naming import SHARED, Gateway
from infra.fleet.resources import url_map
from rollout.model import (
    Bounds,
    Colour,
    GroupView,
    Health,
    Instance,
    Observed,
    Problem,
    Target,
    TrafficWeight,
)

_BALANCER_HEALTH: Mapping[str, Health] = {"HEALTHY": "healthy", "UNHEALTHY": "unhealthy"}
# TIMEOUT: no connection, or no answer in time. The check itself counts that as a failure.
_LIVENESS_HEALTH: Mapping[str, Health] = {
    "HEALTHY": "healthy",
    "UNHEALTHY": "unhealthy",
    "TIMEOUT": "unhealthy",
}


def observe(snapshot: Snapshot, model: str) -> Observed:
    """The model's groups and leftovers. A resource with our name that Slipway does not own is not
    observed; `plan` reports it.
    """
    groups: list[GroupView] = []
    others: list[str] = []
    for key, body in sorted(_owned(snapshot, model), key=_by_key):
        colour = naming.colour_of(model, key.name)
        if key.collection == "regionInstanceGroupManagers" and colour:
            groups.append(_group(snapshot, model, colour, key, body))
        else:
            others.append(naming.reference(key))
    for key, body in url_maps(snapshot).items():
        if url_map.drift(None, model, body):
            others.append(f"route in {naming.reference(key)}")
    return Observed(tuple(groups), tuple(others))


def url_maps(snapshot: Snapshot) -> dict[Key, Body]:
    """The URL maps of the gateways, as far as they were read and exist."""
    return {
        key: body for key, body in snapshot.bodies.items() if body is not None and is_url_map(key)
    }


def _by_key(item: tuple[Key, Body]) -> Key:
    return item[0]


def _owned(snapshot: Snapshot, model: str) -> Iterator[tuple[Key, Body]]:
    """What exists under one of the model's names and is owned by it."""
    for key, body in snapshot.bodies.items():
        if body is not None and naming.is_of(model, key) and naming.is_owned(body, model):
            yield key, body


def _group(snapshot: Snapshot, model: str, colour: Colour, key: Key, body: Body) -> GroupView:
    status = body.get("status", {})
    health = _balancer_health(snapshot, naming.backend_service(model, colour))
    return GroupView(
        colour=colour,
        region=key.scope,
        target_size=int(body.get("targetSize", 0)),
        is_stable=bool(status.get("isStable", False)),
        instances=tuple(_instance(each, health) for each in snapshot.instances.get(key, ())),
        bounds=_bounds(snapshot.bodies.get(naming.autoscaler(model, colour, key.scope))),
        recommended_size=_recommended_size(snapshot, model, colour, key),
    )


def _bounds(autoscaler: Body | None) -> Bounds | None:
    if autoscaler is None:
        return None
    policy = autoscaler.get("autoscalingPolicy", {})
    may_scale_in = policy.get("mode", "ON") == "ON"
    return Bounds(
        int(policy.get("minNumReplicas", 0)), int(policy.get("maxNumReplicas", 0)), may_scale_in
    )


def _recommended_size(snapshot: Snapshot, model: str, colour: Colour, group: Key) -> int | None:
    scaler = snapshot.bodies.get(naming.autoscaler(model, colour, group.scope)) or {}
    size = scaler.get("recommendedSize")
    return size if isinstance(size, int) and size > 0 else None


def _instance(managed: Body, health: Mapping[str, Health] | None) -> Instance:
    url = naming.canonical(str(managed.get("instance", "")))
    attempts = managed.get("lastAttempt", {}).get("errors", {}).get("errors", [])
    return Instance(
        name=str(managed.get("name") or naming.last(url) or ""),
        zone=url.split("/")[1] if url.startswith("zones/") else "",
        template=naming.last(managed.get("version", {}).get("instanceTemplate")),
        action=str(managed.get("currentAction", "NONE")),
        status=str(managed.get("instanceStatus", "")),
        health=_liveness_health(managed) if health is None else health.get(url, "unknown"),
        problem=_problem(attempts[0]) if attempts else None,
    )


def _problem(error: Body) -> Problem:
    return classify_instance_error(str(error.get("code", "")), str(error.get("message", "")))


def _balancer_health(snapshot: Snapshot, service: Key) -> dict[str, Health] | None:
    """The load balancer's verdict by instance; None when it was not asked, which is when the model
    is not exposed.

    An answer is a list of `healthStatus`, in one object for each backend or already split.
    """
    if service not in snapshot.health:
        return None
    found: dict[str, Health] = {}
    for answer in snapshot.health[service]:
        for status in answer.get("healthStatus", []) if "instance" not in answer else [answer]:
            found[naming.canonical(str(status.get("instance", "")))] = _BALANCER_HEALTH.get(
                status.get("healthState", ""), "unknown"
            )
    return found


def _liveness_health(managed: Body) -> Health:
    """The group's own check, of which there is at most one."""
    states = [
        _LIVENESS_HEALTH.get(str(each.get("detailedHealthState", "")), "unknown")
        for each in managed.get("instanceHealth", [])
    ]
    return states[0] if states else "unknown"


def is_routed(target: Target, snapshot: Snapshot) -> bool:
    """Whether the URL maps have the target's weights, cohorts and mirror, or no route if the target
    has none. With all requests to a single group by one gateway there is nothing to wait for.
    """
    maps, traffic = url_maps(snapshot), target.traffic
    if traffic is None:
        return not any(url_map.drift(None, target.model, body) for body in maps.values())
    if not (len(traffic.weights) > 1 or traffic.cohorts or traffic.mirror or traffic.also):
        return True
    return all(
        key in maps and url_map.drift(route, target.model, maps[key]) is None
        for key, route in url_map.routes_of(target.model, traffic).items()
    )


def routed_weights(snapshot: Snapshot, model: str) -> tuple[TrafficWeight, ...]:
    """How the model's requests are split, in the first gateway that has a route to it."""
    found = (url_map.weights(model, body) for body in url_maps(snapshot).values())
    return next(filter(None, found), ())


def outputs(
    snapshot: Snapshot, model: str, group: Colour | None, gateway: Gateway = SHARED
) -> dict[str, str]:
    """Where the model is, as far as it exists: `instance_group_url` and `backend_service_url` of
    the given group, the gateway's `address`, and its name unless it is the shared one.
    """
    found: dict[str, str] = {}
    name = naming.group_name(model, group) if group else ""
    for key, body in sorted(_owned(snapshot, model), key=_by_key):
        if key.name != name:
            continue
        if key.collection == "regionInstanceGroupManagers" and body.get("instanceGroup"):
            found.setdefault("instance_group_url", str(body["instanceGroup"]))
        elif key.collection == "backendServices" and body.get("selfLink"):
            found.setdefault("backend_service_url", str(body["selfLink"]))
    if "backend_service_url" not in found:
        return found
    if gateway.name:
        found["gateway"] = gateway.name
    if address := (snapshot.bodies.get(gateway.address) or {}).get("address"):
        found["address"] = str(address)
    return found
