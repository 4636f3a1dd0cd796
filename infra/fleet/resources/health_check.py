"""The two health checks of a model: whether an instance may get requests, and whether it must be
replaced.

They are apart on purpose: an instance that is busy is not ready, and replacing it would make things
worse, so liveness is far more patient. But the group also takes a new instance for available, and
an old one away, when the liveness check first answers well. Hence liveness asks for the readiness
path unless the user names another, and believes a good answer later than the load balancer does: an
old instance goes only after the balancer sends to the new one. Waits for nothing. Source: Compute
Engine documentation, "Set up an application health check and autohealing"."""

from __future__ import annotations

from infra.fleet import naming
from infra.fleet.model import Action, Body, DesiredResource
from infra.fleet.resources.drift import Changes, differences, sentence
from rollout.spec.model import Serving

_WORDS = {
    "checkIntervalSec": "interval",
    "timeoutSec": "timeout",
    "healthyThreshold": "healthy threshold",
    "unhealthyThreshold": "unhealthy threshold",
    "type": "protocol",
    "httpHealthCheck.port": "port",
    "httpHealthCheck.requestPath": "path",
}


def ready(model: str, serving: Serving) -> DesiredResource:
    """Readiness: in after 10 s of good answers, out after 15 s of bad ones."""
    body = _http(serving.port, serving.readiness_path) | {
        "name": naming.ready_check(model).name,
        "description": naming.description(model, "readiness check"),
        "checkIntervalSec": 5,
        "timeoutSec": 5,
        "healthyThreshold": 2,
        "unhealthyThreshold": 3,
    }
    return DesiredResource(
        naming.ready_check(model), body, why="the model is exposed and has no readiness check yet"
    )


def live(model: str, serving: Serving) -> DesiredResource:
    """Liveness: an instance is available after 30 s of good answers, and replaced after 150 s of
    bad ones."""
    body = _http(serving.port, serving.liveness_path or serving.readiness_path) | {
        "name": naming.live_check(model).name,
        "description": naming.description(model, "liveness check"),
        "checkIntervalSec": 15,
        "timeoutSec": 5,
        "healthyThreshold": 2,
        "unhealthyThreshold": 10,
    }
    return DesiredResource(
        naming.live_check(model), body, why="the model has no liveness check yet"
    )


def _http(port: int, path: str) -> Body:
    check = {"port": port, "portSpecification": "USE_FIXED_PORT", "requestPath": path}
    return {"type": "HTTP", "httpHealthCheck": check}


def drift(wanted: Body, observed: Body) -> Changes:
    return differences(wanted, observed)


def update(wanted: DesiredResource, observed: Body) -> tuple[Action, ...]:
    """Written as a whole, since a change of protocol must take the other protocol's part away."""
    body = wanted.body or {}
    changes = drift(body, observed)
    if not changes:
        return ()
    kept = {field: observed[field] for field in ("logConfig",) if field in observed}
    why = sentence(f"health check {wanted.key.name}", changes, _WORDS)
    return (Action(wanted.key, "update", kept | body, why),)
