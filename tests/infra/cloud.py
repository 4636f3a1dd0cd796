"""The Compute Engine emulator in process for the tests of `infra`, behind the real client. Both use
the same virtual clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from compute_emulator import Emulator, VirtualClock
from infra.compute.client import Compute
from infra.fleet.model import Action, Body, Key

REGION = "us-central1"
CHECK = Key("healthChecks", "global", "slipway-tiny-blue-lb")
SERVICE = Key("backendServices", "global", "slipway-tiny-blue")
TEMPLATE = Key("instanceTemplates", "global", "slipway-tiny-0123456789")
GROUP = Key("regionInstanceGroupManagers", REGION, "slipway-tiny-blue")
PORTS = Key("regionInstanceGroups", REGION, "slipway-tiny-blue")
AUTOSCALER = Key("regionAutoscalers", REGION, "slipway-tiny-blue")
URL_MAP = Key("urlMaps", "global", "slipway-gateway")
HTTP_PROXY = Key("targetHttpProxies", "global", "slipway-gateway-http")
HTTPS_PROXY = Key("targetHttpsProxies", "global", "slipway-gateway-https")
RULE = Key("globalForwardingRules", "global", "slipway-gateway-http")
ADDRESS = Key("globalAddresses", "global", "slipway-gateway")

BODIES: dict[Key, Body] = {
    CHECK: {"type": "HTTP", "httpHealthCheck": {"port": 8080, "requestPath": "/ready"}},
    TEMPLATE: {
        "properties": {
            "machineType": "n1-standard-1",
            "networkInterfaces": [{"network": "global/networks/default"}],
            "disks": [
                {
                    "boot": True,
                    "initializeParams": {
                        "sourceImage": "projects/cos-cloud/global/images/family/cos-stable",
                        "diskSizeGb": "20",
                    },
                }
            ],
            "metadata": {"items": [{"key": "target", "value": "global/networks/default"}]},
        }
    },
    GROUP: {
        "baseInstanceName": "tiny",
        "targetSize": 3,
        "namedPorts": [{"name": "http", "port": 8080}],
        "versions": [
            {"name": "one", "instanceTemplate": "global/instanceTemplates/slipway-tiny-0123456789"}
        ],
        "distributionPolicy": {"zones": [{"zone": f"zones/{REGION}-{zone}"} for zone in "abc"]},
    },
    AUTOSCALER: {
        "target": f"regions/{REGION}/instanceGroupManagers/slipway-tiny-blue",
        "autoscalingPolicy": {
            "minNumReplicas": 3,
            "maxNumReplicas": 5,
            "cpuUtilization": {"utilizationTarget": 0.6},
        },
    },
    SERVICE: {
        "loadBalancingScheme": "EXTERNAL_MANAGED",
        "protocol": "HTTP",
        "healthChecks": ["global/healthChecks/slipway-tiny-blue-lb"],
        "backends": [{"group": f"regions/{REGION}/instanceGroups/slipway-tiny-blue"}],
    },
    URL_MAP: {"defaultService": "global/backendServices/slipway-tiny-blue"},
    HTTP_PROXY: {"urlMap": "global/urlMaps/slipway-gateway"},
    HTTPS_PROXY: {
        "urlMap": "global/urlMaps/slipway-gateway",
        "sslCertificates": ["global/sslCertificates/first"],
    },
    ADDRESS: {},
    RULE: {
        "loadBalancingScheme": "EXTERNAL_MANAGED",
        "target": "global/targetHttpProxies/slipway-gateway-http",
        "IPAddress": "global/addresses/slipway-gateway",
        "portRange": "80",
    },
}
"""A minimal model and its gateway, in an order in which they can be inserted."""


class Clock:
    """The emulator's virtual clock, as infra's."""

    def __init__(self, virtual: VirtualClock) -> None:
        self._virtual = virtual

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._virtual(), UTC)

    def sleep(self, seconds: float) -> None:
        self._virtual.advance(seconds)


@dataclass
class World:
    emulator: Emulator
    clock: Clock
    compute: Compute

    def soon(self, seconds: float = 45) -> datetime:
        return self.clock.now() + timedelta(seconds=seconds)

    def do(self, action: Action, seconds: float = 45) -> Body:
        """Send the action and wait for its operation."""
        finished = self.compute.wait(
            self.compute.send(action, request_id(action)), self.soon(seconds)
        )
        assert finished
        assert "error" not in finished, finished
        return finished

    def make(self, *keys: Key) -> None:
        for key in keys:
            self.do(insert(key))


def world(operation_seconds: float = 0.0, workers: int = 1, **options: Any) -> World:
    virtual = VirtualClock()
    emulator = Emulator("demo", virtual, operation_seconds=operation_seconds, **options)
    clock = Clock(virtual)
    return World(
        emulator, clock, Compute("demo", clock, adapter=emulator.adapter(), workers=workers)
    )


def insert(key: Key, *after: Key, **changes: Any) -> Action:
    return Action(
        key,
        "insert",
        {"name": key.name} | BODIES[key] | changes,
        f"{key.name} does not exist",
        after,
    )


def delete(key: Key, *after: Key) -> Action:
    return Action(key, "delete", {}, f"{key.name} is not needed", after)


def request_id(action: Action) -> UUID:
    return uuid5(NAMESPACE_URL, f"{action.verb} {action.key} {action.based_on} {action.body}")
