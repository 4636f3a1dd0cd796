"""What to read from Compute Engine to decide about a model. Pure.

Called by `handlers/reconcile/observe.py` and the drift scan. A read set depends only on the
releases and groups in play, so that a snapshot serves whatever target they lead to.

    full_reads       every resource of the model, and what may be left over
    lean_reads       what a plan needs while the rest was read lately
    first_reads      the lists of what may be left over, and what they do not show
    further_reads    after these: what the lists do not answer
    volatile_reads   what a rollout changes: groups, autoscalers, backend services, route, health
    group_reads      what changes by itself while a pass waits: groups, instances, health
    light_reads      the same for the first pass after a wait
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

from infra.fleet import naming
from infra.fleet.model import Body, Collection, Key, ReadSet, Snapshot
from infra.fleet.naming import SHARED, Gateway
from infra.fleet.resources import gateway
from rollout.deferred import dataclass
from rollout.model import Colour, Desired, Release, Rollout
from rollout.strategies import strategy_of, swap_of


@dataclass(frozen=True)
class Scope:
    """A model with the releases and groups that are in play."""

    model: str
    releases: tuple[Release, ...]
    colours: tuple[Colour, ...]
    left: tuple[Release, ...] = ()
    """Releases whose gateways may still have a route of the model."""

    @property
    def regions(self) -> tuple[str, ...]:
        return tuple(sorted({release.spec.placement.region for release in self.releases}))

    @property
    def is_exposed(self) -> bool:
        return any(release.spec.traffic.is_exposed for release in self.releases)

    @property
    def gateways(self) -> tuple[Gateway, ...]:
        """Those of its releases; else the shared one."""
        found = (each.spec.traffic for each in (*self.releases, *self.left))
        named = (naming.gateway_named(each.gateway) for each in found if each.is_exposed)
        return tuple(dict.fromkeys(named)) or (SHARED,)

    @property
    def url_maps(self) -> tuple[Key, ...]:
        return tuple(gateway.url_map for gateway in self.gateways)

    @property
    def fronts(self) -> tuple[tuple[Gateway, str | None], ...]:
        """Each gateway with the certificate that it needs."""
        found: dict[Gateway, str | None] = {}
        for release in self.releases:
            traffic = release.spec.traffic
            if traffic.is_exposed:
                named = naming.gateway_named(traffic.gateway)
                found[named] = found.get(named) or traffic.certificate
        return tuple(found.items())


def scope_of(rollout: Rollout, desired: Desired) -> Scope:
    found = (rollout.stable, rollout.candidate, desired.release)
    releases = tuple(release for release in found if release)
    coming = rollout.candidate or desired.release
    colours = [rollout.serving_group] if rollout.serving_group else []
    if rollout.kept:
        colours.append(rollout.kept.colour)
    if coming and coming != rollout.stable:
        colours.append(strategy_of(coming).candidate_group(swap_of(rollout, coming)))
    left = tuple(each.release for each in rollout.moved)
    return Scope(desired.model, releases, tuple(dict.fromkeys(colours)), left)


def is_blank(rollout: Rollout) -> bool:
    """Whether no release of the model has ever begun, so that nothing of it should exist."""
    return replace(Rollout(), last_observed_at=rollout.last_observed_at) == rollout


def full_reads(scope: Scope, *, sweep: bool = False, with_gateway: bool = True) -> ReadSet:
    """Everything that can decide what to do for the model.

    `sweep` also reads what may be left over: groups of every colour, and templates and health
    checks that nothing uses. Without `with_gateway` the gateway's shared parts are left out, except
    for the URL map: they change so rarely that a settled model need not read them each time.
    """
    model, colours = scope.model, naming.COLOURS if sweep else scope.colours
    groups = _groups(scope, colours)
    services = tuple(naming.backend_service(model, colour) for colour in colours)
    keys = (
        *sorted(naming.template(release.template) for release in scope.releases),
        *(naming.ready_check(model, colour) for colour in scope.colours),
        *(naming.live_check(model, colour) for colour in scope.colours),
        *groups,
        *_autoscalers(scope, colours),
        *services,
        *scope.url_maps,
        *(_fronts(scope) if with_gateway else ()),
    )
    return ReadSet(
        keys=tuple(dict.fromkeys(keys)),
        groups=groups,
        healths=services if scope.is_exposed else (),
        leftovers_of=model if sweep else None,
    )


LISTED: tuple[Collection, ...] = ("instanceTemplates", "healthChecks")


def first_reads(scope: Scope, fresh: ReadSet, *, is_blank: bool) -> ReadSet:
    """The first half of a short sweep: the lists of templates and health checks, and what they do
    not show, except for what is `fresh`. `is_blank`: no release of the model has ever begun, so
    that the lists are expected to be empty.
    """
    usual = full_reads(scope, with_gateway=not fresh.keys)
    if is_blank:
        certified = (gateway.keys(named, front) for front, named in scope.fronts if named)
        usual = ReadSet((*scope.url_maps, *chain.from_iterable(certified)))
    elif fresh.keys:
        addresses = (front.address for front, _ in scope.fronts)
        usual = replace(usual, keys=(*usual.keys, *addresses))
    keys = tuple(dict.fromkeys(key for key in usual.keys if key.collection not in LISTED))
    return without(replace(usual, keys=keys, leftovers_of=scope.model), fresh)


def further_reads(scope: Scope, found: Snapshot, *, is_blank: bool) -> tuple[ReadSet, list[Key]]:
    """The second half, and what does not exist according to the lists. A group, and a backend
    service, has a health check that cannot be deleted before it: so a colour without any has
    nothing. A template or check in play that the lists do not have is read all the same, since
    lists may be late. So is the gateway unless its URL map exists.
    """
    listed = [key for key in found.bodies if key.collection in LISTED]
    is_empty = is_blank and not listed
    names = {naming.group_of_check(key) for key in listed if key.collection == "healthChecks"}
    names |= {naming.group_name(scope.model, colour) for colour in scope.colours}
    has_gateway = all(found.bodies[url_map] is not None for url_map in scope.url_maps)
    everything = full_reads(scope, sweep=True, with_gateway=not has_gateway)
    missing = [key for key in everything.keys if key not in found.bodies]
    further = [key for key in missing if not naming.is_of(scope.model, key)]
    if not is_empty:
        further += [
            key
            for key in missing
            if naming.is_of(scope.model, key) and (key.collection in LISTED or key.name in names)
        ]
    groups = tuple(key for key in everything.groups if key in further)
    healths = tuple(key for key in everything.healths if key in further)
    return ReadSet(tuple(further), groups, healths), [key for key in missing if key not in further]


def volatile_reads(scope: Scope) -> ReadSet:
    """What a rollout changes. Templates and checks stay as they are once inserted."""
    reads = group_reads(scope)
    services = (naming.backend_service(scope.model, colour) for colour in scope.colours)
    scalers = _autoscalers(scope, scope.colours)
    return replace(reads, keys=(*reads.keys, *scalers, *services, *scope.url_maps))


def lean_reads(scope: Scope) -> ReadSet:
    """What a plan needs while the rest was read lately: no template and no check that is in use,
    see `unused_parts`.
    """
    usual = full_reads(scope, with_gateway=False)
    keys = tuple(key for key in usual.keys if key.collection not in LISTED)
    return replace(usual, keys=keys)


def unused_parts(scope: Scope, found: Snapshot) -> ReadSet:
    """Templates and checks in play that were not read, and that nothing which was read refers to.
    What is referred to exists: Compute Engine refuses to delete it.
    """
    used = referred_to(found)
    keys = full_reads(scope, with_gateway=False).keys
    parts = (key for key in keys if key.collection in LISTED and key not in found.bodies)
    return ReadSet(tuple(key for key in parts if naming.reference(key) not in used))


def referred_to(snapshot: Snapshot) -> frozenset[str]:
    """The templates and health checks that groups and backend services refer to."""
    found: list[str] = []
    for body in snapshot.bodies.values():
        versions = (body or {}).get("versions", ())
        policies = (body or {}).get("autoHealingPolicies", ())
        found += (str(each.get("instanceTemplate")) for each in versions)
        found += (str(each.get("healthCheck")) for each in policies)
        found += map(str, (body or {}).get("healthChecks", ()))
    return frozenset(map(naming.canonical, found))


def group_reads(scope: Scope) -> ReadSet:
    """What changes by itself: groups, their instances, and their health according to the load
    balancer. Which groups a backend service has must be known from an earlier read.
    """
    groups = _groups(scope, scope.colours)
    services = tuple(naming.backend_service(scope.model, colour) for colour in scope.colours)
    return ReadSet(keys=groups, groups=groups, healths=services if scope.is_exposed else ())


def light_reads(scope: Scope) -> ReadSet:
    """The same for a pass that has read nothing before. While requests are split between two
    groups, or come by two gateways, time counts only while the URL maps are right, so they are read
    too.
    """
    reads = group_reads(scope)
    is_split = scope.is_exposed and (len(scope.colours) > 1 or len(scope.gateways) > 1)
    return replace(reads, keys=(*reads.keys, *(scope.url_maps if is_split else ())))


def usual_backends(project: str, scope: Scope) -> dict[Key, Body]:
    """The groups of the backend services as Slipway makes them, to ask for their health without
    reading the services. One that somebody changed has no health of a group it does not have.
    """
    url = f"https://www.googleapis.com/compute/v1/projects/{project}"
    return {
        naming.backend_service(scope.model, colour): {
            "backends": [
                {"group": f"{url}/{naming.reference(naming.instances_of(group))}"}
                for group in _groups(scope, (colour,))
            ]
        }
        for colour in scope.colours
    }


def without(reads: ReadSet, known: ReadSet) -> ReadSet:
    """What of `reads` is not in `known`."""
    return replace(
        reads,
        keys=tuple(key for key in reads.keys if key not in known.keys),
        groups=tuple(key for key in reads.groups if key not in known.groups),
        healths=tuple(key for key in reads.healths if key not in known.healths),
    )


def _fronts(scope: Scope) -> Iterator[Key]:
    for front, certificate in scope.fronts:
        yield from gateway.keys(certificate, front)


def union(reads: ReadSet, others: ReadSet) -> ReadSet:
    return replace(
        reads,
        keys=(*reads.keys, *others.keys),
        groups=(*reads.groups, *others.groups),
        healths=(*reads.healths, *others.healths),
    )


def _groups(scope: Scope, colours: tuple[Colour, ...]) -> tuple[Key, ...]:
    return tuple(
        naming.group(scope.model, colour, region) for region in scope.regions for colour in colours
    )


def _autoscalers(scope: Scope, colours: tuple[Colour, ...]) -> tuple[Key, ...]:
    return tuple(
        naming.autoscaler(scope.model, colour, region)
        for region in scope.regions
        for colour in colours
    )
