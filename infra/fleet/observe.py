"""What was read, in the words of a rollout: groups, instances, their health and their problems; and
what a user wants to know of them.

Called by the turn, between looking and deciding. Pure. No answer is never good news: an instance
that nobody vouched for is `unknown`, and a group without a status is neither stable nor done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from infra.compute.errors import classify_instance_error
from infra.fleet import naming
from infra.fleet.model import Body, Key, Snapshot
from infra.fleet.resources import url_map
from rollout.model import Colour, GroupView, Health, Instance, Observed, Problem, VersionView
from rollout.spec.model import ZONES_OF_A_REGION

_BALANCER_HEALTH: Mapping[str, Health] = {"HEALTHY": "healthy", "UNHEALTHY": "unhealthy"}
# TIMEOUT means that no connection could be made or no answer came in time: the check itself counts
# it as a failure.
_LIVENESS_HEALTH: Mapping[str, Health] = {
    "HEALTHY": "healthy",
    "UNHEALTHY": "unhealthy",
    "TIMEOUT": "unhealthy",
}


def observe(snapshot: Snapshot, model: str) -> Observed:
    """The model's groups in what was read."""
    groups = tuple(
        _group(snapshot, model, colour, key)
        for colour in naming.COLOURS
        for key in sorted(key for key in snapshot.bodies if _is_group(snapshot, model, colour, key))
    )
    return Observed(groups, tuple(_leftovers(snapshot, model)))


def _is_group(snapshot: Snapshot, model: str, colour: Colour, key: Key) -> bool:
    """Whether a key is that group, exists and is ours; what only bears the name is not seen, and
    `plan` says so."""
    body = snapshot.bodies[key]
    named = key.collection == "regionInstanceGroupManagers" and key.name == f"{model}-{colour}"
    return named and body is not None and naming.is_owned(body, model)


def _leftovers(snapshot: Snapshot, model: str) -> Iterator[str]:
    """What of the model's exists beside its groups."""
    found = {
        key: body
        for key, body in _of(snapshot, model)
        if key.collection != "regionInstanceGroupManagers"
    }
    gateway = snapshot.bodies.get(naming.GATEWAY)
    if gateway is not None and url_map.drift(None, model, gateway):
        found[naming.GATEWAY] = gateway
    for key in sorted(found):
        yield (
            f"route in {naming.reference(key)}" if key == naming.GATEWAY else naming.reference(key)
        )


def _of(snapshot: Snapshot, model: str) -> Iterator[tuple[Key, Body]]:
    """What exists under one of the model's names and is its own."""
    for key, body in snapshot.bodies.items():
        if body is not None and naming.is_of(model, key) and naming.is_owned(body, model):
            yield key, body


def _group(snapshot: Snapshot, model: str, colour: Colour, key: Key) -> GroupView:
    body = snapshot.bodies[key] or {}
    status, size = body.get("status", {}), int(body.get("targetSize", 0))
    health = _balancer_health(snapshot, naming.backend_service(model, colour))
    return GroupView(
        colour=colour,
        target_size=size,
        zones=len(body.get("distributionPolicy", {}).get("zones", [])) or ZONES_OF_A_REGION,
        is_stable=bool(status.get("isStable", False)),
        version_reached=bool(status.get("versionTarget", {}).get("isReached", False)),
        versions=tuple(_version(version, size) for version in body.get("versions", [])),
        instances=tuple(
            _instance(instance, health) for instance in snapshot.instances.get(key, ())
        ),
    )


def _version(version: Body, size: int) -> VersionView:
    return VersionView(
        naming.last(version.get("instanceTemplate")) or "", _count(version.get("targetSize"), size)
    )


def _count(amount: Body | None, size: int) -> int | None:
    """A version's instances; a percentage somebody else set as what Compute Engine makes of it, or
    rounded half up."""
    match amount or {}:
        case {"fixed": fixed}:
            return int(fixed)
        case {"percent": _, "calculated": calculated}:
            return int(calculated)
        case {"percent": percent}:
            return (int(percent) * size + 50) // 100
    return None


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

    An answer is a list of `healthStatus`, as one object for each backend or already taken apart.
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


def outputs(snapshot: Snapshot, model: str) -> dict[str, str]:
    """Where the model is, as far as it exists: `instance_group_url`, `backend_service_url`, and the
    gateway's `address`."""
    found: dict[str, str] = {}
    for key, body in sorted(_of(snapshot, model), key=lambda each: each[0]):
        if key.collection == "regionInstanceGroupManagers" and body.get("instanceGroup"):
            found.setdefault("instance_group_url", str(body["instanceGroup"]))
        elif key.collection == "backendServices" and body.get("selfLink"):
            found.setdefault("backend_service_url", str(body["selfLink"]))
    address = (snapshot.bodies.get(naming.GATEWAY_ADDRESS) or {}).get("address")
    if address and "backend_service_url" in found:
        found["address"] = str(address)
    return found
