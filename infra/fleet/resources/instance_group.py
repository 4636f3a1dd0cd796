"""The regional managed instance group: its versions, and how instances are replaced. Pure.

The size is written once, when the group is inserted; from then on the autoscaler owns it. Waits for
its templates and the liveness check. Source: Compute API reference, regionInstanceGroupManagers.
"""

from __future__ import annotations

from infra.fleet import naming
from infra.fleet.model import Action, Body, DesiredResource, Key
from infra.fleet.resources import versions
from infra.fleet.resources.drift import Changes, describe, differences
from rollout.model import GroupTarget, Problem, Release
from rollout.spec.defaults import startup_seconds

PORT_NAME = "http"
_MAX_DELAY_SECONDS = 3600

_WORDS = {
    "updatePolicy.maxSurge": "surge",
    "updatePolicy.maxUnavailable": "allowed unavailability",
    "updatePolicy.type": "update type",
    "updatePolicy.replacementMethod": "replacement method",
    "updatePolicy.instanceRedistributionType": "redistribution",
    "distributionPolicy.targetShape": "shape",
    "instanceLifecyclePolicy.onFailedHealthCheck": "repair of unhealthy instances",
    "autoHealingPolicies": "auto-healing",
    "autoHealingPolicies[0].healthCheck": "auto-healing check",
    "autoHealingPolicies[0].initialDelaySec": "auto-healing delay",
}


def desired(model: str, target: GroupTarget) -> DesiredResource:
    """The group as it is inserted and, apart from its size, as it should stay."""
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
                "initialDelaySec": initial_delay_seconds(startup_seconds(spec)),
            }
        ],
        "distributionPolicy": _distribution(target.settings),
        "instanceLifecyclePolicy": {
            "defaultActionOnFailure": "REPAIR",
            "onFailedHealthCheck": "DO_NOTHING" if target.keeps_unhealthy else "DEFAULT_ACTION",
            "forceUpdateOnRepair": "NO",
        },
        "namedPorts": [{"name": PORT_NAME, "port": spec.serving.port}],
    }
    templates = tuple(naming.template(share.release.template) for share in target.shares)
    return DesiredResource(
        key,
        body,
        after=(*templates, live),
        why=f"group {key.name} should have {_describe_shares(target)}",
    )


def initial_delay_seconds(startup_seconds: int) -> int:
    """How long auto-healing ignores a new instance: 1.5 times its start-up time, plus a minute.

    120 s of start-up give 240 s. The first healthy answer ends the delay, so the margin costs a
    healthy instance nothing.
    """
    return min(_MAX_DELAY_SECONDS, startup_seconds * 3 // 2 + 60)


def _describe_shares(target: GroupTarget) -> str:
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
    """Surge and unavailability that a regional group accepts: each 0 or at least the number of
    zones, and not both 0.

    With 3 zones, (0, 0) becomes (3, 0), (1, 0) becomes (3, 0), (0, 1) becomes (0, 3), and (1, 1)
    becomes (3, 0): with surge, an unavailability that is too small is dropped and not raised.
    """
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
    """Without the size, which the autoscaler owns, the zones (see `immovable_zones`) and the named
    ports (see `merge_ports`).
    """
    excluded = (
        "name",
        "description",
        "baseInstanceName",
        "targetSize",
        "versions",
        "namedPorts",
        "distributionPolicy",
    )
    changes = differences(
        {field: value for field, value in desired.items() if field not in excluded}, observed
    )
    shape = {"distributionPolicy": {"targetShape": desired["distributionPolicy"]["targetShape"]}}
    observed_versions = observed.get("versions", [])
    observed_sizes = versions.sizes(observed_versions)
    desired_sizes = versions.sizes(versions.merge(desired["versions"], observed_versions))
    swap = {} if observed_sizes == desired_sizes else {"versions": (observed_sizes, desired_sizes)}
    return swap | changes | differences(shape, observed)


def merge_ports(desired: Body, observed: Body) -> list[Body] | None:
    """The instance group's named ports with ours corrected and all others kept; None if ours is
    correct.
    """
    ours: list[Body] = desired["namedPorts"]
    present: list[Body] = observed.get("namedPorts", [])
    if all(any(differences(port, each) == {} for each in present) for port in ours):
        return None
    return [port for port in present if port.get("name") != PORT_NAME] + ours


def immovable(settings: Release, release: Release) -> Problem | None:
    """Why a release cannot run in the group with `settings`: a group has one place, network and
    port.
    """
    group, other = settings.spec, release.spec
    fixed = {
        "region": (group.placement.region, other.placement.region),
        "zones": (
            _join_zones({*group.placement.zones}) or "any",
            _join_zones({*other.placement.zones}) or "any",
        ),
        "network": (group.machine.network, other.machine.network),
        "subnetwork": (group.machine.subnetwork or "any", other.machine.subnetwork or "any"),
        "port": (str(group.serving.port), str(other.serving.port)),
    }
    for what, (present, requested) in fixed.items():
        if present != requested:
            return cannot_move(
                f"has {what} {present}", f"{what} {requested} of release {release.version}"
            )
    return None


def cannot_move(present: str, requested: str) -> Problem:
    message = (
        f"the model's group {present} and cannot change to {requested}; retire the model first"
    )
    return Problem("config", "GROUP_CANNOT_CHANGE", message)


def immovable_zones(desired: Body, observed: Body) -> Problem | None:
    """Why the zones cannot become the desired ones: they are fixed when the group is inserted. None
    if they are as desired or left to Compute Engine.
    """
    desired_zones = _zones(desired)
    observed_zones = _zones(observed)
    if not desired_zones or not observed_zones or desired_zones == observed_zones:
        return None
    return cannot_move(
        f"is in zones {_join_zones(observed_zones)}", f"zones {_join_zones(desired_zones)}"
    )


def _zones(body: Body) -> set[str | None]:
    zones = body.get("distributionPolicy", {}).get("zones", [])
    return {naming.last(zone.get("zone")) for zone in zones}


def _join_zones(zones: set[str | None]) -> str:
    return ", ".join(sorted(zone for zone in zones if zone))


def update(desired: DesiredResource, observed: Body) -> tuple[Action | Problem, ...]:
    """One patch of the group for everything that differs, and one call for its named port."""
    body = desired.body
    if problem := immovable_zones(body, observed):
        return (problem,)
    fingerprint = observed.get("fingerprint", "")
    actions: list[Action] = []
    if changes := drift(body, observed):
        patch = _patch(body, observed, changes) | (
            {"fingerprint": fingerprint} if fingerprint else {}
        )
        why = _why(desired, changes, observed)
        actions.append(Action(desired.key, "patch", patch, why, based_on=fingerprint))
    if (ports := merge_ports(body, observed)) is not None:
        key = naming.instances_of(desired.key)
        why = f"the group's port named {PORT_NAME} is not {body['namedPorts'][0]['port']}"
        named = {"namedPorts": ports}
        actions.append(Action(key, "setNamedPorts", named, why, based_on=fingerprint))
    return tuple(actions)


def _patch(desired: Body, observed: Body, changes: Changes) -> Body:
    patch = {path.split(".")[0].split("[")[0]: None for path in changes}
    body = {field: desired[field] for field in patch}
    if "versions" in body:
        body["versions"] = versions.merge(desired["versions"], observed.get("versions", []))
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
    return "; ".join(swap + ([describe("the group", others, _WORDS)] if others else []))


def templates_of(body: Body) -> frozenset[Key]:
    """The templates that a group refers to."""
    urls = [version.get("instanceTemplate") for version in body.get("versions", [])] + [
        body.get("instanceTemplate")
    ]
    return frozenset(naming.template(name) for name in map(naming.last, urls) if name)
