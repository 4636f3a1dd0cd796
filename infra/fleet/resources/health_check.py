"""The two health checks of a group: may an instance get requests, and must it be replaced? Pure.

They are separate on purpose: a busy instance is not ready, and replacing it would make things
worse, so liveness is far more patient. But the group also counts a new instance as available, and
removes an old one, when the liveness check first passes. Hence liveness asks for the readiness path
unless the user names another one, and takes longer to pass than the load balancer's check: an old
instance is removed only after the load balancer sends requests to the new one. Waits for nothing.

Source: Compute Engine documentation, "Set up an application health check and autohealing".
"""

from __future__ import annotations

from infra.fleet import naming
from infra.fleet.model import Action, Body, DesiredResource, Key
from infra.fleet.resources.drift import Changes, describe, differences
from rollout.model import GroupTarget

_WORDS = {
    "checkIntervalSec": "interval",
    "timeoutSec": "timeout",
    "healthyThreshold": "healthy threshold",
    "unhealthyThreshold": "unhealthy threshold",
    "type": "protocol",
    "httpHealthCheck.port": "port",
    "httpHealthCheck.requestPath": "path",
}


def ready(model: str, target: GroupTarget) -> DesiredResource:
    """Readiness: passes after 10 s of good answers, fails after 15 s of bad ones."""
    key, serving = naming.ready_check(model, target.colour), target.settings.spec.serving
    body = _http(serving.port, serving.readiness_path) | {
        "name": key.name,
        "description": naming.description(model, "readiness check"),
        "checkIntervalSec": 5,
        "timeoutSec": 5,
        "healthyThreshold": 2,
        "unhealthyThreshold": 3,
    }
    return DesiredResource(
        key, body, why=f"{_group(key)} is exposed and has no readiness check yet"
    )


def live(model: str, target: GroupTarget) -> DesiredResource:
    """Liveness: an instance is available after 30 s of good answers, and replaced after 150 s of
    bad ones.
    """
    key, serving = naming.live_check(model, target.colour), target.settings.spec.serving
    body = _http(serving.port, serving.liveness_path or serving.readiness_path) | {
        "name": key.name,
        "description": naming.description(model, "liveness check"),
        "checkIntervalSec": 15,
        "timeoutSec": 5,
        "healthyThreshold": 2,
        "unhealthyThreshold": 10,
    }
    return DesiredResource(key, body, why=f"{_group(key)} has no liveness check yet")


def _group(key: Key) -> str:
    return f"group {naming.group_of_check(key)}"


def _http(port: int, path: str) -> Body:
    check = {"port": port, "portSpecification": "USE_FIXED_PORT", "requestPath": path}
    return {"type": "HTTP", "httpHealthCheck": check}


def drift(desired: Body, observed: Body) -> Changes:
    return differences(desired, observed)


def update(desired: DesiredResource, observed: Body) -> tuple[Action, ...]:
    """Writes the whole check, because a change of protocol must remove the other protocol's
    part.
    """
    changes = drift(desired.body, observed)
    if not changes:
        return ()
    kept = {field: observed[field] for field in ("logConfig",) if field in observed}
    why = describe(f"health check {desired.key.name}", changes, _WORDS)
    return (Action(desired.key, "update", kept | desired.body, why),)
