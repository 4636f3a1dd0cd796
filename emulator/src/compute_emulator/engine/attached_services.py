"""Which backend services use a group, and how long its VMs drain for them."""

from __future__ import annotations

from compute_emulator.engine.cloud import Cloud
from compute_emulator.errors import JsonObject
from compute_emulator.keys import Key

HTTP_CHECKS = ("httpHealthCheck", "httpsHealthCheck", "http2HealthCheck")


def services_of(cloud: Cloud, group: Key) -> list[JsonObject]:
    """The backend services that list an instance group. `group` is the key of the instance group,
    not of its manager.
    """
    found = (cloud.find(service) for service in cloud.attached.get(group, ()))
    return [service for service in found if service is not None]


def probes_readiness(cloud: Cloud, group: Key, check: Key) -> bool:
    """Whether a group's own health check probes the same HTTP path as a backend service's check:
    the same path gets the same response.
    """
    path = _path(cloud.find(check))
    return path is not None and path in [
        _path(cloud.find(key)) for key in readiness_checks(cloud, group)
    ]


def readiness_checks(cloud: Cloud, group: Key) -> list[Key]:
    """The health checks of the backend services that use a group."""
    return [
        cloud.key_of(url)
        for service in services_of(cloud, group)
        for url in service.get("healthChecks", ())
    ]


def _path(check: JsonObject | None) -> str | None:
    found = check or {}
    return next(
        (found[kind].get("requestPath", "/") for kind in HTTP_CHECKS if kind in found), None
    )


def drain_seconds(cloud: Cloud, group: Key) -> float:
    """How long a VM of the group drains: the longest draining timeout of its services."""
    timeouts = (
        s.get("connectionDraining", {}).get("drainingTimeoutSec", 0)
        for s in services_of(cloud, group)
    )
    return float(max(timeouts, default=0))
