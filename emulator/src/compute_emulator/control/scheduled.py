"""Control calls at a later time of the cloud, so that a file can preempt instances that do not
exist yet.

    POST /control/later {"after_seconds": 600, "post": "/instances",
                         "body": {"effect": "preempt", "most": 2}}
    schedule(cloud, {"after_seconds": 600, "delete": "/faults"})     in process

The time counts from the request, or from the start for a file. The call runs as an event at its
own time. `GET /control/later` reports a call that was refused then.
"""

from __future__ import annotations

import logging
from typing import Any

from compute_emulator.control.registry import Controls, Query
from compute_emulator.control.table import SCHEDULABLE
from compute_emulator.engine.cloud import Cloud
from compute_emulator.errors import ApiError, JsonObject

CONTROLS = Controls()
LOG = logging.getLogger("compute_emulator")
VERBS = ("post", "put", "delete")
PATH = "/later"


def schedule(cloud: Cloud, given: Any) -> JsonObject:
    """Schedule a control call and return its record. Raises ValueError for an unknown control."""
    http, path, seconds = _read(given)
    with cloud.lock:
        scheduled = {"at": cloud.timestamp(cloud.now() + seconds), "state": "WAITING", **given}
        cloud.scheduled.append(scheduled)
        cloud.after(seconds, lambda: _run(cloud, scheduled, http, path))
    return scheduled


def _read(given: Any) -> tuple[str, str, float]:
    """HTTP method, path of the control, and seconds until then."""
    if not isinstance(given, dict) or len(found := [verb for verb in VERBS if verb in given]) != 1:
        raise ValueError(
            f"expected an object with after_seconds, one of {', '.join(VERBS)}, and a body for the"
            " first two"
        )
    unknown = sorted(set(given) - {*found, "after_seconds", "body"})
    if unknown:
        raise ValueError(f"unknown member {unknown[0]!r}")
    seconds, http, path = given.get("after_seconds"), found[0].upper(), given[found[0]]
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
        raise ValueError(f"after_seconds must be a number, 0 or more, not {seconds!r}")
    if (http, path) not in SCHEDULABLE:
        raise ValueError(f"{http} {path} cannot be scheduled; GET /control lists the controls")
    return http, path, float(seconds)


def _run(cloud: Cloud, scheduled: JsonObject, http: str, path: str) -> None:
    if scheduled not in cloud.scheduled:
        return  # cancelled
    try:
        SCHEDULABLE[(http, path)].run(cloud, {}, scheduled.get("body"))
        scheduled["state"] = "DONE"
    except (ApiError, TypeError, ValueError) as error:
        LOG.warning("a scheduled control was refused: %s", error)
        scheduled |= {"state": "REFUSED", "why": str(error)}


@CONTROLS.add("GET", PATH, "the scheduled controls and their outcomes")
def show(cloud: Cloud, query: Query, body: Any) -> Any:
    return cloud.scheduled


@CONTROLS.add(
    "POST",
    PATH,
    'schedule a control: {"after_seconds": 600, "post": "/instances", "body": {"effect":'
    ' "preempt"}}',
)
def add(cloud: Cloud, query: Query, body: Any) -> Any:
    for each in body if isinstance(body, list) else [body]:
        _read(each)
    for each in body if isinstance(body, list) else [body]:
        schedule(cloud, each)
    return cloud.scheduled


@CONTROLS.add("DELETE", PATH, "cancel pending controls and clear the list")
def clear(cloud: Cloud, query: Query, body: Any) -> Any:
    cloud.scheduled.clear()
    return cloud.scheduled
