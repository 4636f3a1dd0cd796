"""The single entry point for requests: the API, batches, `/metrics`, and the controls under
`/control`.

`GET /control` lists the controls. They run under the cloud's lock, after every event that is
due.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from compute_emulator.api import batch, wire
from compute_emulator.api.request import normalize
from compute_emulator.control import scheduled
from compute_emulator.control.fault_catalogue import listing as fault_catalogue
from compute_emulator.control.faults import CLASSES
from compute_emulator.control.registry import Controls, Query
from compute_emulator.control.table import SCHEDULABLE
from compute_emulator.engine.cloud import Cloud
from compute_emulator.errors import ApiError, BadRequest, JsonObject
from compute_emulator.traffic.controls import exposition
from compute_emulator.traffic.metrics import CONTENT_TYPE

METRICS_PATH = "/metrics"
CONTROLS = Controls(SCHEDULABLE | scheduled.CONTROLS)


def handle(cloud: Cloud, request: wire.Request) -> wire.Response:
    """Handle any request. Raises `ConnectionDropped` if a fault ends the connection."""
    try:
        request = normalize(request)
        parts = urlsplit(request.target)
    except ApiError as error:
        return wire.error_response(error)
    except ValueError as error:
        return wire.error_response(BadRequest(f"The URL is malformed: {error}"))
    if parts.path == "/batch" or parts.path.startswith("/batch/"):
        return batch.handle(cloud, request)
    if parts.path == METRICS_PATH and request.http == "GET":
        return wire.Response(200, exposition(cloud), content_type=CONTENT_TYPE)
    if parts.path != "/control" and not parts.path.startswith("/control/"):
        return wire.handle(cloud, request)
    path = parts.path.removeprefix("/control").rstrip("/")
    try:
        body = json.loads(request.body) if request.body.strip() else None
        return _json(200, _run(cloud, request.http, path, dict(parse_qsl(parts.query)), body))
    except ApiError as error:
        return _json(error.status, error.body())
    except (TypeError, ValueError) as error:
        return _json(400, BadRequest(f"{request.http} /control{path}: {error}").body())


def _run(cloud: Cloud, http: str, path: str, query: Query, body: Any) -> Any:
    entry = CONTROLS.get((http, path))
    if entry is None:
        verbs = ", ".join(sorted(verb for verb, each in CONTROLS if each == path))
        if verbs:
            raise ApiError(
                f"{http} is not a method of /control{path}; use {verbs}",
                status=405,
                reason="httpMethodNotAllowed",
            )
        raise ApiError(
            f"unknown control {http} /control{path}; GET /control lists them",
            status=404,
            reason="notFound",
        )
    with cloud.lock:
        cloud.advance()
        return entry.run(cloud, query, body)


def _json(status: int, body: Any) -> wire.Response:
    return wire.Response(status, (json.dumps(body, indent=1) + "\n").encode())


@CONTROLS.add(
    "GET",
    "",
    "this list, every kind of fault with how to cause it by URL and by file, and the classes of"
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
        "faults": fault_catalogue(),
        "error_classes": CLASSES,
    }
