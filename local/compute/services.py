"""Which backend services use a group, and how long they let it drain."""

from __future__ import annotations

from local.compute.cloud import Cloud
from local.compute.errors import JsonObject
from local.compute.keys import Key


def services_of(cloud: Cloud, group: Key) -> list[JsonObject]:
    """The backend services that list an instance group, by the key of the instance group (not of its manager)."""
    found = (cloud.find(service) for service, attached in cloud.attached if attached == group)
    return [service for service in found if service is not None]


def drain_seconds(cloud: Cloud, group: Key) -> float:
    """How long a VM of the group drains: the longest of its services' time-outs."""
    timeouts = (s.get("connectionDraining", {}).get("drainingTimeoutSec", 0) for s in services_of(cloud, group))
    return float(max(timeouts, default=0))
