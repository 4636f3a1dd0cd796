"""Google's own client against the emulator: in process with virtual time, or over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from google.auth.credentials import AnonymousCredentials
from google.cloud import compute_v1

from compute_emulator import Cloud, InProcessAdapter
from compute_emulator.api import wire
from compute_emulator.control import dispatch
from compute_emulator.keys import parse

PROJECT = "demo"
REGION = "us-central1"


def send(cloud: Cloud, http: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Send a raw request that Google's client would not send; return status and JSON."""
    sent = b"" if body is None else json.dumps(body).encode()
    response = dispatch.handle(cloud, wire.Request(http, path, sent))
    return response.status, json.loads(response.body)


def rejection(cloud: Cloud, http: str, path: str, body: Any = None) -> tuple[int, str, str]:
    """Return status, reason and message of a request that is rejected."""
    status, response = send(cloud, http, path, body)
    return status, response["error"]["errors"][0]["reason"], response["error"]["message"]


def control(cloud: Cloud, http: str, path: str, body: Any = None) -> Any:
    """Call a control by its path under `/control`; return the JSON, also of an error."""
    return send(cloud, http, f"/control{path}", body)[1]


def names(resources: Iterable[Any]) -> list[str]:
    return [each.name for each in resources]


class Clients:
    """Clients of one cloud. Without `url` they run in process."""

    def __init__(self, cloud: Cloud, url: str | None = None) -> None:
        self.cloud = cloud
        self._url = url
        self._made: dict[type, Any] = {}

    def of(self, kind: Any) -> Any:
        """The client of a class of `compute_v1`, created once."""
        if kind not in self._made:
            self._made[kind] = self._make(kind)
        return self._made[kind]

    def _make(self, kind: Any) -> Any:
        if self._url is not None:
            return kind(
                credentials=AnonymousCredentials(), client_options={"api_endpoint": self._url}
            )
        client = kind(credentials=AnonymousCredentials())
        client.transport._session.mount("https://", InProcessAdapter(self.cloud))
        return client

    def done(self, operation: Any) -> Any:
        """Wait for the operation of a `*_unary` call, whatever its scope, and return its last
        state.
        """
        key = parse(operation.self_link)
        assert key is not None
        place, _, name = key.scope.partition("/")
        while operation.status != compute_v1.Operation.Status.DONE:
            if place == "global":
                operation = self.of(compute_v1.GlobalOperationsClient).wait(
                    project=PROJECT, operation=key.name
                )
            else:
                operation = self.of(compute_v1.RegionOperationsClient).wait(
                    project=PROJECT, region=name, operation=key.name
                )
        return operation


def template(name: str = "it-v1", **properties: Any) -> Any:
    """The smallest instance template that the API accepts."""
    source = "projects/cos-cloud/global/images/family/cos-121-lts"
    disk = compute_v1.AttachedDisk(
        boot=True, initialize_params=compute_v1.AttachedDiskInitializeParams(source_image=source)
    )
    members = {
        "machine_type": "n1-standard-1",
        "disks": [disk],
        "network_interfaces": [compute_v1.NetworkInterface(network="global/networks/default")],
    }
    return compute_v1.InstanceTemplate(
        name=name, properties=compute_v1.InstanceProperties(members | properties)
    )


def health_check(name: str = "ready", path: str = "/ready") -> Any:
    return compute_v1.HealthCheck(
        name=name,
        type_="HTTP",
        http_health_check=compute_v1.HTTPHealthCheck(port=8080, request_path=path),
    )


def backend_service(name: str = "bs", check: str = "ready", **members: Any) -> Any:
    given = {
        "name": name,
        "protocol": "HTTP",
        "load_balancing_scheme": "EXTERNAL_MANAGED",
        "health_checks": [f"projects/{PROJECT}/global/healthChecks/{check}"],
    }
    return compute_v1.BackendService(given | members)
