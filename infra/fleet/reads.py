"""What to read from Compute Engine to decide about a model. Pure.

Called by `handlers/reconcile/observe.py` and the drift scan. A read set depends only on the
releases and groups in play, so that a snapshot serves whatever target they lead to.

    full_reads       every resource of the model, and what may be left over
    volatile_reads   what a rollout changes: groups, autoscalers, backend services, route, health
    group_reads      what changes by itself while a pass waits: groups, instances, health
    light_reads      the same for the first pass after a wait
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from infra.fleet import naming
from infra.fleet.model import Body, Key, ReadSet
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


def volatile_reads(scope: Scope) -> ReadSet:
    """What a rollout changes. Templates and checks stay as they are once inserted."""
    reads = group_reads(scope)
    services = (naming.backend_service(scope.model, colour) for colour in scope.colours)
    scalers = _autoscalers(scope, scope.colours)
    return replace(reads, keys=(*reads.keys, *scalers, *services, *scope.url_maps))


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
