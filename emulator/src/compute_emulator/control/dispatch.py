"""The knobs by URL, under `/control`, and the front door that tells them from the API and from
batches.

`GET /control` lists them all. Handlers register with `@controls`; they run under the cloud's lock
after every event that was due."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from compute_emulator.api import batch, wire
from compute_emulator.api.request import normalize
from compute_emulator.control.fault_catalogue import listing as every_fault
from compute_emulator.control.faults import CLASSES
from compute_emulator.engine.cloud import Cloud
from compute_emulator.errors import ApiError, BadRequest, JsonObject
from compute_emulator.traffic.metrics import CONTENT_TYPE

METRICS_PATH = "/metrics"
Query = dict[str, str]
Control = Callable[[Cloud, Query, Any], Any]
Decorated = TypeVar("Decorated", bound=Control)


@dataclass(frozen=True, slots=True)
class ControlEntry:
    run: Control
    about: str


CONTROLS: dict[tuple[str, str], ControlEntry] = {}
EXPOSITION: list[Callable[[Cloud], bytes]] = []
"""Who writes what Prometheus reads."""


def controls(http: str, path: str, about: str) -> Callable[[Decorated], Decorated]:
    """Register a control at `/control` + path. It is given the cloud, the query and the body's
    JSON, and returns JSON."""

    def register(run: Decorated) -> Decorated:
        CONTROLS[(http, path)] = ControlEntry(run, about)
        return run

    return register


def handle(cloud: Cloud, request: wire.Request) -> wire.Response:
    """Any request the stand-in may get. Raises `ConnectionDropped` when a fault ends the connection."""
    try:
        request = normalize(request)
        parts = urlsplit(request.target)
    except ApiError as refused:
        return wire.error_response(refused)
    except ValueError as wrong:
        return wire.error_response(BadRequest(f"The URL cannot be read: {wrong}"))
    if parts.path == "/batch" or parts.path.startswith("/batch/"):
        return batch.handle(cloud, request)
    if parts.path == METRICS_PATH and request.http == "GET":
        return wire.Response(200, EXPOSITION[0](cloud), content_type=CONTENT_TYPE)
    if parts.path != "/control" and not parts.path.startswith("/control/"):
        return wire.handle(cloud, request)
    path = parts.path.removeprefix("/control").rstrip("/")
    try:
        body = json.loads(request.body) if request.body.strip() else None
        return _json(200, _run(cloud, request.http, path, dict(parse_qsl(parts.query)), body))
    except ApiError as refused:
        return _json(refused.status, refused.body())
    except (TypeError, ValueError) as wrong:
        return _json(400, BadRequest(f"{request.http} /control{path}: {wrong}").body())


def _run(cloud: Cloud, http: str, path: str, query: Query, body: Any) -> Any:
    registered = CONTROLS.get((http, path))
    if registered is None:
        verbs = ", ".join(sorted(verb for verb, each in CONTROLS if each == path))
        if verbs:
            raise ApiError(
                f"{http} is no method of /control{path}; {verbs} are",
                status=405,
                reason="httpMethodNotAllowed",
            )
        raise ApiError(
            f"no control {http} /control{path}; GET /control lists them",
            status=404,
            reason="notFound",
        )
    with cloud.lock:
        cloud.advance()
        return registered.run(cloud, query, body)


def _json(status: int, body: Any) -> wire.Response:
    return wire.Response(status, (json.dumps(body, indent=1) + "\n").encode())


@controls(
    "GET",
    "",
    "this list, every fault there is with how to cause it by URL and by file, and the classes of"
    " errors",
)
def listing(cloud: Cloud, query: Query, body: Any) -> JsonObject:
    return {
        "controls": [
            {"method": http, "path": f"/control{path}", "about": each.about}
            for (http, path), each in sorted(
                CONTROLS.items(), key=lambda item: (item[0][1], item[0][0])
            )
        ],
        "faults": every_fault(),
        "error_classes": CLASSES,
    }
