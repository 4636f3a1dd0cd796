"""The backend service of a group: how the load balancer reaches and drains its instances. Pure.

There is one for each group, because a group in two backend services cannot be scaled by load.
Settings that Slipway does not manage (security policy, IAP, CDN, headers) survive: only changed
fields are patched, under the fingerprint. Waits for its group and the readiness check.

Source: Compute API reference, backendServices.
"""

from __future__ import annotations

from infra.fleet import naming
from infra.fleet.model import Action, Body, DesiredResource, Key
from infra.fleet.resources.drift import Changes, describe, differences
from infra.fleet.resources.instance_group import PORT_NAME
from rollout.model import GroupTarget, Problem
from rollout.spec.model import Traffic

SCHEME = "EXTERNAL_MANAGED"

_WORDS = {
    "timeoutSec": "timeout",
    "portName": "port name",
    "healthChecks": "list of health checks",
    "connectionDraining.drainingTimeoutSec": "draining time",
    "backends": "list of backends",
    "backends[0].group": "group",
    "backends[0].balancingMode": "balancing mode",
    "backends[0].maxUtilization": "utilization limit",
    "backends[0].maxRatePerInstance": "rate limit",
    "backends[0].capacityScaler": "capacity scaler",
    "logConfig.enable": "logging",
}


def desired(model: str, target: GroupTarget) -> DesiredResource:
    spec = target.settings.spec
    key = naming.backend_service(model, target.colour)
    group = naming.group(model, target.colour, spec.placement.region)
    ready = naming.ready_check(model, target.colour)
    body = {
        "name": key.name,
        "description": naming.description(model, "backend service"),
        "loadBalancingScheme": SCHEME,
        "protocol": "HTTP",
        "portName": PORT_NAME,
        "healthChecks": [naming.reference(ready)],
        "timeoutSec": spec.traffic.timeout_seconds,
        "connectionDraining": {"drainingTimeoutSec": spec.traffic.draining_seconds},
        "backends": [
            {
                "group": naming.reference(naming.instances_of(group)),
                "capacityScaler": 1.0,
                **_balancing(spec.traffic),
            }
        ],
        "logConfig": {"enable": False},
    }
    return DesiredResource(
        key,
        body,
        after=(group, ready),
        why=f"group {group.name} is exposed and has no backend service yet",
    )


def _balancing(traffic: Traffic) -> Body:
    if traffic.balancing_mode == "rate":
        return {"balancingMode": "RATE", "maxRatePerInstance": traffic.max_rate_per_instance}
    return {"balancingMode": "UTILIZATION", "maxUtilization": traffic.max_utilization}


def drift(desired: Body, observed: Body) -> Changes:
    """An undesired rate limit is drift. An undesired utilization limit is not, since the load
    balancer ignores it when it balances by rate.
    """
    backends = [
        {"maxRatePerInstance": None, "maxRate": None} | backend for backend in desired["backends"]
    ]
    return differences(desired | {"backends": backends}, observed)


def update(desired: DesiredResource, observed: Body) -> tuple[Action, ...]:
    body = desired.body
    changes = drift(body, observed)
    if not changes:
        return ()
    fingerprint = observed.get("fingerprint", "")
    fields = {path.split(".")[0].split("[")[0]: None for path in changes}
    patch = {field: body[field] for field in fields} | {"fingerprint": fingerprint}
    return (
        Action(
            desired.key,
            "patch",
            patch,
            describe(f"backend service {desired.key.name}", changes, _WORDS),
            based_on=fingerprint,
        ),
    )


def affinity(key: Key, observed: Body | None) -> Problem | None:
    """Why requests cannot be split by weight between this backend service and another one: a split
    takes precedence over session affinity. Source: load-balancing/docs/https/traffic-management.
    """
    found = (observed or {}).get("sessionAffinity", "NONE")
    if found == "NONE":
        return None
    message = (
        f"backend service {key.name} has session affinity {found}, which a split of its requests by"
        " weight would break; set it to NONE, or release without weights"
    )
    return Problem("config", "SESSION_AFFINITY", message)
