"""The regional managed instance group: which instances there are, of which template, and how they
are replaced.

Its size is written once, when the group is made; from then on it belongs to the autoscaler. Waits
for its templates and the liveness check. Source: Compute API reference,
regionInstanceGroupManagers."""

from __future__ import annotations

from infra.fleet import naming
from infra.fleet.model import Action, Body, DesiredResource, Key
from infra.fleet.resources import versions
from infra.fleet.resources.drift import Changes, differences, sentence
from rollout.model import GroupTarget, Problem, Release

PORT_NAME = "http"
_MAX_DELAY_SECONDS = 3600

_WORDS = {
    "updatePolicy.maxSurge": "surge",
    "updatePolicy.maxUnavailable": "allowed unavailability",
    "updatePolicy.type": "update type",
    "updatePolicy.replacementMethod": "replacement method",
    "updatePolicy.instanceRedistributionType": "redistribution",
    "distributionPolicy.targetShape": "shape",
    "autoHealingPolicies": "auto-healing",
    "autoHealingPolicies[0].healthCheck": "auto-healing check",
    "autoHealingPolicies[0].initialDelaySec": "auto-healing delay",
}


def desired(model: str, target: GroupTarget) -> DesiredResource:
    """The group as it is made, and, but for its size, as it should stay."""
    spec = target.settings.spec
    key = naming.group(model, target.colour, spec.placement.region)
    live = naming.live_check(model, target.colour)
    body = {
        "name": key.name,
        "description": naming.description(model, "group"),
        "baseInstanceName": key.name[:58],
        "targetSize": target.min,
        "versions": versions.desired(target.shares),
        "updatePolicy": _update_policy(target),
        "autoHealingPolicies": [
            {
                "healthCheck": naming.reference(live),
                "initialDelaySec": initial_delay_seconds(spec.serving.startup_seconds),
            }
        ],
        "distributionPolicy": _distribution(target.settings),
        "instanceLifecyclePolicy": {
            "defaultActionOnFailure": "REPAIR",
            "forceUpdateOnRepair": "NO",
        },
        "namedPorts": [{"name": PORT_NAME, "port": spec.serving.port}],
    }
    templates = tuple(naming.template(share.release.template) for share in target.shares)
    return DesiredResource(
        key, body, after=(*templates, live), why=f"group {key.name} should have {_wording(target)}"
    )


def initial_delay_seconds(startup_seconds: int) -> int:
    """How long auto-healing leaves a new instance alone: half as long again as it is expected to
    take, and a minute to boot.

    120 s of start-up make 240 s. The first good answer ends the delay early, so a margin costs
    nothing in good times."""
    return min(_MAX_DELAY_SECONDS, startup_seconds * 3 // 2 + 60)


def _wording(target: GroupTarget) -> str:
    parts = [
        (
            f"{share.count} of the instances on release {share.release.version}"
            if share.count is not None
            else (
                f"{'the rest' if len(target.shares) > 1 else 'all instances'} on release"
                f" {share.release.version}"
            )
        )
        for share in sorted(target.shares, key=lambda share: share.count is None)
    ]
    return " and ".join(parts)


def _update_policy(target: GroupTarget) -> Body:
    placement = target.settings.spec.placement
    surge, unavailable = legal_budget(target.surge, target.unavailable, placement.zone_count)
    return {
        "type": "PROACTIVE",
        "minimalAction": "REPLACE",
        "mostDisruptiveAllowedAction": "REPLACE",
        "replacementMethod": "SUBSTITUTE" if surge else "RECREATE",
        "instanceRedistributionType": (
            "NONE" if placement.target_shape == "balanced" else "PROACTIVE"
        ),
        "maxSurge": {"fixed": surge},
        "maxUnavailable": {"fixed": unavailable},
    }


def legal_budget(surge: int, unavailable: int, zones: int) -> tuple[int, int]:
    """Surge and unavailability as a regional group takes them: each 0 or at least one a zone, and
    not both 0.

    With 3 zones, (0, 0) becomes (3, 0), (1, 0) becomes (3, 0), (0, 1) becomes (0, 3), and (1, 1)
    becomes (3, 0): where there is surge, an unavailability too small to be legal is left away
    rather than raised."""
    if not surge and not unavailable:
        return zones, 0
    if surge:
        return max(surge, zones), unavailable if unavailable >= zones else 0
    return 0, max(unavailable, zones)


def _distribution(settings: Release) -> Body:
    placement = settings.spec.placement
    policy: Body = {"targetShape": placement.target_shape.upper()}
    if placement.zones:
        policy["zones"] = [{"zone": f"zones/{zone}"} for zone in sorted(placement.zones)]
    return policy


def drift(desired: Body, observed: Body) -> Changes:
    """Without the size (the autoscaler's), what cannot change (see `immovable_zones`), and the
    named ports (see `ports`)."""
    apart = (
        "name",
        "description",
        "baseInstanceName",
        "targetSize",
        "versions",
        "namedPorts",
        "distributionPolicy",
    )
    changes = differences(
        {field: value for field, value in desired.items() if field not in apart}, observed
    )
    shape = {"distributionPolicy": {"targetShape": desired["distributionPolicy"]["targetShape"]}}
    observed_value, desired_value = (
        versions.sizes(observed.get("versions", [])),
        versions.sizes(versions.merged(desired["versions"], observed.get("versions", []))),
    )
    return (
        ({} if observed_value == desired_value else {"versions": (observed_value, desired_value)})
        | changes
        | differences(shape, observed)
    )


def ports(desired: Body, observed: Body) -> list[Body] | None:
    """The instance group's named ports with ours put right and other people's kept; None when ours
    is right."""
    ours: list[Body] = desired["namedPorts"]
    observed_value: list[Body] = observed.get("namedPorts", [])
    if all(any(differences(port, each) == {} for each in observed_value) for port in ours):
        return None
    return [port for port in observed_value if port.get("name") != PORT_NAME] + ours


def immovable(settings: Release, release: Release) -> Problem | None:
    """Why a release cannot run in the group that carries `settings`: place, network and port are
    the whole group's."""
    here, there = settings.spec, release.spec
    facts = {
        "region": (here.placement.region, there.placement.region),
        "zones": (
            _listed({*here.placement.zones}) or "any",
            _listed({*there.placement.zones}) or "any",
        ),
        "network": (here.machine.network, there.machine.network),
        "subnetwork": (here.machine.subnetwork or "any", there.machine.subnetwork or "any"),
        "port": (str(here.serving.port), str(there.serving.port)),
    }
    for what, (observed_value, desired_value) in facts.items():
        if observed_value != desired_value:
            return cannot_move(
                f"has {what} {observed_value}",
                f"{what} {desired_value} of release {release.version}",
            )
    return None


def cannot_move(observed_value: str, desired_value: str) -> Problem:
    return Problem(
        "config",
        "GROUP_CANNOT_CHANGE",
        f"the model's group {observed_value} and cannot change to {desired_value}; retire the model first",
    )


def immovable_zones(desired: Body, observed: Body) -> Problem | None:
    """A group's zones are fixed when it is made; None when they are as desired or left to Compute
    Engine."""
    desired_value = {
        naming.last(zone["zone"]) for zone in desired["distributionPolicy"].get("zones", [])
    }
    observed_value = {
        naming.last(zone.get("zone"))
        for zone in observed.get("distributionPolicy", {}).get("zones", [])
    }
    if not desired_value or not observed_value or desired_value == observed_value:
        return None
    return cannot_move(f"is in zones {_listed(observed_value)}", f"zones {_listed(desired_value)}")


def _listed(zones: set[str | None]) -> str:
    return ", ".join(sorted(zone for zone in zones if zone))


def update(desired: DesiredResource, observed: Body) -> tuple[Action | Problem, ...]:
    """One patch for all that differs in the group itself, one call for its named port."""
    body = desired.body
    if problem := immovable_zones(body, observed):
        return (problem,)
    fingerprint = observed.get("fingerprint", "")
    actions: list[Action] = []
    if changes := drift(body, observed):
        patch = _patch(body, observed, changes) | (
            {"fingerprint": fingerprint} if fingerprint else {}
        )
        actions.append(
            Action(
                desired.key, "patch", patch, _why(desired, changes, observed), based_on=fingerprint
            )
        )
    if (named := ports(body, observed)) is not None:
        why = f"the group's port named {PORT_NAME} is not {body['namedPorts'][0]['port']}"
        actions.append(
            Action(
                naming.instances_of(desired.key),
                "setNamedPorts",
                {"namedPorts": named},
                why,
                based_on=fingerprint,
            )
        )
    return tuple(actions)


def _patch(desired: Body, observed: Body, changes: Changes) -> Body:
    patch = {path.split(".")[0].split("[")[0]: None for path in changes}
    body = {field: desired[field] for field in patch}
    if "versions" in body:
        body["versions"] = versions.merged(desired["versions"], observed.get("versions", []))
    if "distributionPolicy" in body:
        body["distributionPolicy"] = {"targetShape": desired["distributionPolicy"]["targetShape"]}
    return body


def _why(desired: DesiredResource, changes: Changes, observed: Body) -> str:
    others = {path: change for path, change in changes.items() if path != "versions"}
    swap = (
        [f"{desired.why}, which has {observed.get('targetSize', 0)}"]
        if "versions" in changes
        else []
    )
    return "; ".join(swap + ([sentence("the group", others, _WORDS)] if others else []))


def uses(body: Body) -> frozenset[Key]:
    """The templates that a group refers to."""
    urls = [version.get("instanceTemplate") for version in body.get("versions", [])] + [
        body.get("instanceTemplate")
    ]
    return frozenset(naming.template(name) for name in map(naming.last, urls) if name)
