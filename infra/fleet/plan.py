"""From what should be and what was read to what is to be done: what to look at, and the plan that
makes the target true.

Called by the turn (and by a preview, which prints the same plan). Pure: the same target and
snapshot give the same plan, and a snapshot that agrees with the target gives an empty one.
Everything that can be made at the same time is; `after` says what must wait:

    template, liveness check ──> group ──> autoscaler
                  readiness check, group ──> backend service ──> route in the URL map
    default backend service ──> URL map ──> proxy ──> forwarding rule <── address

A target without groups is the same in reverse. What bears one of our names but not our description
is left alone, with all that builds on it, and said in `Plan.problems`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from infra.fleet import deletions, naming
from infra.fleet.model import (
    Action,
    Body,
    Collection,
    DesiredResource,
    Key,
    Plan,
    ReadSet,
    Snapshot,
)
from infra.fleet.observe import outputs
from infra.fleet.resources import (
    autoscaler,
    backend_service,
    gateway,
    health_check,
    instance_group,
    instance_template,
    url_map,
)
from rollout.model import Colour, GroupTarget, Problem, Release, Target

__all__ = [
    "completed",
    "desired_fleet",
    "full_reads",
    "group_reads",
    "outputs",
    "plan",
    "volatile_reads",
]

# The colours that strategies swapping in place use; only a sweep looks at the other.
IN_PLACE: tuple[Colour, ...] = ("blue",)

Mend = Callable[[DesiredResource, Body], tuple[Action | Problem, ...]]

_MEND: dict[Collection, Mend] = {
    "instanceTemplates": lambda wanted, observed: (),
    "healthChecks": health_check.update,
    "regionInstanceGroupManagers": instance_group.update,
    "regionAutoscalers": autoscaler.update,
    "backendServices": backend_service.update,
}
_GATEWAY_COLLECTIONS = (
    "urlMaps",
    "globalAddresses",
    "targetHttpProxies",
    "targetHttpsProxies",
    "globalForwardingRules",
)


# ---- What to read


def full_reads(
    model: str,
    releases: Iterable[Release],
    *,
    sweep: bool = False,
    with_gateway: bool = True,
) -> ReadSet:
    (
        """The resources that decide what is to be done for a model, whatever target the releases in
    play lead to.

    `sweep` also looks for what may be left over: the other colour's group, and templates that
    nothing uses; a model that is being retired needs it. `with_gateway` False leaves the gateway's
    shared parts out (but for the URL map): they change so rarely that a settled model need not ask
    for them each time."""
        ""
    )
    known = tuple(releases)
    regions = sorted({release.spec.placement.region for release in known})
    colours = naming.COLOURS if sweep else IN_PLACE
    groups = tuple(naming.group(model, colour, region) for region in regions for colour in colours)
    services = tuple(naming.backend_service(model, colour) for colour in colours)
    exposed = [
        release.spec.traffic for release in known if release.spec.traffic.exposure == "external"
    ]
    certificate = next((traffic.certificate for traffic in exposed if traffic.certificate), None)
    keys = (
        *sorted(naming.template(release.template) for release in known),
        naming.ready_check(model),
        naming.live_check(model),
        *groups,
        *(naming.autoscaler(model, colour, region) for region in regions for colour in colours),
        *services,
        naming.GATEWAY,
        *(gateway.keys(certificate) if exposed and with_gateway else ()),
    )
    return ReadSet(
        keys=tuple(dict.fromkeys(keys)),
        groups=groups,
        healths=services if exposed else (),
        templates_of=model if sweep else None,
    )


def volatile_reads(model: str, releases: Iterable[Release]) -> ReadSet:
    """What a rollout moves, and what moves with it: groups, autoscalers, backend services and
    routes, instances and their health. Templates and checks stay as they are once made."""
    known = tuple(releases)
    asked = group_reads(model, known)
    scalers = (
        naming.autoscaler(model, colour, key.scope) for key in asked.groups for colour in IN_PLACE
    )
    services = (naming.backend_service(model, colour) for colour in IN_PLACE)
    return replace(asked, keys=(*asked.keys, *dict.fromkeys(scalers), *services, naming.GATEWAY))


def group_reads(model: str, releases: Iterable[Release]) -> ReadSet:
    """What changes by itself while one waits: the groups, their instances, and how healthy the
    balancer finds these. Which groups a backend service has is to be known."""
    known = tuple(releases)
    regions = sorted({release.spec.placement.region for release in known})
    groups = tuple(naming.group(model, colour, region) for region in regions for colour in IN_PLACE)
    is_exposed = any(release.spec.traffic.exposure == "external" for release in known)
    services = (
        tuple(naming.backend_service(model, colour) for colour in IN_PLACE) if is_exposed else ()
    )
    return ReadSet(keys=groups, groups=groups, healths=services)


# ---- What should be


@dataclass(frozen=True)
class DesiredFleet:
    """All of a target in Compute Engine's terms: resources in an order in which they could be made,
    and the route."""

    resources: tuple[DesiredResource, ...]
    route: url_map.Route | None


def _exposed(target: Target) -> tuple[GroupTarget, ...]:
    return tuple(
        group for group in target.groups if group.settings.spec.traffic.exposure == "external"
    )


def desired_fleet(target: Target) -> DesiredFleet:
    """Templates, checks, groups, autoscalers, backend services and gateway of a target. Nothing
    here says what must go."""
    model, exposed = target.model, _exposed(target)
    resources: list[DesiredResource] = []
    releases = {
        share.release.template: share.release for group in target.groups for share in group.shares
    }
    resources += [instance_template.desired(model, release) for release in releases.values()]
    if target.groups:
        resources.append(health_check.live(model, target.groups[0].settings.spec.serving))
    if exposed:
        resources.append(health_check.ready(model, exposed[0].settings.spec.serving))
        resources += gateway.desired(exposed[0].settings.spec.traffic.certificate)
    resources += [instance_group.desired(model, group) for group in target.groups]
    resources += [autoscaler.desired(model, group) for group in target.groups]
    resources += [backend_service.desired(model, group) for group in exposed]
    return DesiredFleet(tuple(resources), url_map.desired(model, exposed[0]) if exposed else None)


# ---- What is to be done


@dataclass
class _Draft:
    """A plan in the making. `blocked` are keys that cannot be had, so that nothing is built on
    them."""

    actions: list[Action] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    blocked: set[Key] = field(default_factory=set)

    def add(self, *results: Action | Problem) -> None:
        for result in results:
            (self.actions if isinstance(result, Action) else self.problems).append(result)  # type: ignore[arg-type]

    def changing(self, keys: Iterable[Key], *verbs: str) -> tuple[Key, ...]:
        """Those of `keys` that this plan changes by one of `verbs`: only they are worth waiting
        for."""
        return tuple(
            key
            for key in dict.fromkeys(keys)
            if any(each.key == key and each.verb in verbs for each in self.actions)
        )


def plan(target: Target, snapshot: Snapshot) -> Plan:
    """What to do so that the target becomes true. Raises `KeyError` when the snapshot lacks
    something that decides it."""
    wanted, draft = desired_fleet(target), _Draft()
    _refuse_moves(draft, target, snapshot)
    for each in wanted.resources:
        _make_or_mend(draft, each, target.model, snapshot)
    _route(draft, wanted.route, target.model, snapshot)
    keys, changed = (
        frozenset(each.key for each in wanted.resources),
        frozenset(each.key for each in draft.actions),
    )
    draft.add(*deletions.deletions(target, keys, changed, snapshot))
    if not target.groups:
        draft.add(*(_foreign(key) for key in deletions.foreign_resources(target, keys, snapshot)))
    return Plan(tuple(draft.actions), tuple(draft.problems))


def _refuse_moves(draft: _Draft, target: Target, snapshot: Snapshot) -> None:
    """A group stays where it is: a release for another place is said at the first step, before any
    instance has gone."""
    for group in target.groups:
        draft.add(
            *(
                problem
                for share in group.shares
                if (problem := instance_group.immovable(group.settings, share.release))
            )
        )
        wanted = naming.group(target.model, group.colour, group.settings.spec.placement.region)
        for key, body in snapshot.bodies.items():
            same = (
                key.collection == wanted.collection
                and key.name == wanted.name
                and key.scope != wanted.scope
            )
            if same and body is not None and naming.is_owned(body, target.model):
                draft.blocked.add(wanted)
                draft.add(
                    instance_group.cannot_move(
                        f"is in region {key.scope}", f"region {wanted.scope}"
                    )
                )


def _make_or_mend(draft: _Draft, wanted: DesiredResource, model: str, snapshot: Snapshot) -> None:
    shared = _is_shared(wanted.key)
    if shared and wanted.key not in snapshot.bodies and snapshot.bodies[naming.GATEWAY] is not None:
        return  # not looked at, which is allowed once the gateway stands
    observed = snapshot.bodies[wanted.key]
    if draft.blocked & {wanted.key, *wanted.after}:
        draft.blocked.add(wanted.key)
    elif observed is None:
        draft.add(
            Action(
                wanted.key,
                "insert",
                wanted.body or {},
                wanted.why,
                after=draft.changing(wanted.after, "insert"),
            )
        )
    elif not (naming.is_gateway(observed) if shared else naming.is_owned(observed, model)):
        draft.blocked.add(wanted.key)
        draft.add(_foreign(wanted.key))
    else:
        mend = gateway.update if shared else _MEND[wanted.key.collection]
        after = draft.changing(wanted.after, "insert")
        draft.add(
            *(
                replace(each, after=after) if isinstance(each, Action) else each
                for each in mend(wanted, observed)
            )
        )


def _is_shared(key: Key) -> bool:
    return key.collection in _GATEWAY_COLLECTIONS or key == naming.GATEWAY_DEFAULT


def _foreign(key: Key) -> Problem:
    message = (
        f"{naming.reference(key)} exists and is not Slipway's (its description does not say so);"
        " rename or remove it"
    )
    return Problem("config", "NOT_OURS", message)


def _route(draft: _Draft, route: url_map.Route | None, model: str, snapshot: Snapshot) -> None:
    """The model's route, after the map and the backend service it leads to exist."""
    if route is None and naming.GATEWAY not in snapshot.bodies:
        return
    observed = snapshot.bodies[naming.GATEWAY]
    service = {key for key in draft.blocked if route and route.service == naming.reference(key)}
    if service or (naming.GATEWAY in draft.blocked and not observed):
        return
    waits = (
        [Key("backendServices", naming.GLOBAL, route.service.rsplit("/", 1)[-1]), naming.GATEWAY]
        if route
        else []
    )
    after = draft.changing(waits, "insert")
    results: tuple[Action | Problem, ...] = ()
    if observed is None:
        results = (url_map.first(route),) if route else ()
    elif naming.is_gateway(observed):
        results = url_map.update(observed, model, route)
    draft.add(
        *(replace(each, after=after) if isinstance(each, Action) else each for each in results)
    )


def completed(action: Action, observed: Body) -> Action | Problem | None:
    """The action to send for one that `reads_first`, given the resource as read after its insert;
    None: nothing is left to do."""
    done = url_map.completed(action, observed)
    return replace(done, after=action.after) if isinstance(done, Action) else done
