"""How many models one gateway has room for, and what a write of its URL map costs.

Counted from Slipway's own routes and limits, and from the emulator's refusals; only CPU time
depends on the machine. No project caps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bench.results import Row, row
from compute_emulator import url_map_excess
from infra.fleet import naming
from infra.fleet.gateway_room import lacks_room
from infra.fleet.model import Body
from infra.fleet.pending_routes import PendingRoute, merge
from infra.fleet.resources import url_map
from infra.fleet.resources.map_draft import MapDraft
from infra.fleet.resources.map_limits import NEW_SHARE, Meter, fullest, too_full
from infra.fleet.resources.url_map import Backend, CohortRoute, Route
from rollout.model import FULL_WEIGHT, TrafficTarget, TrafficWeight
from tests.infra.build import NOON, release

EMPTY: Body = {
    "name": naming.GATEWAY.name,
    "description": naming.GATEWAY_DESCRIPTION,
    "fingerprint": "f",
    "defaultService": naming.reference(naming.GATEWAY_DEFAULT),
}
MODELS_PER_HOST = 400
SIZES = (500, 1000, 2000)
BATCH = 400
RUNS = 5


def measure() -> tuple[Row, ...]:
    shapes = {name: _room(make) for name, make in SHAPES.items()}
    writes = {count: _write(count) for count in SIZES}
    largest = writes[max(SIZES)]
    late = sum(each["refused_late"] for each in shapes.values())
    return (
        row(
            "scale_gateway_models",
            shapes["paths of one host"]["models"],
            "that get a route on one host of one gateway, before a further one is refused in the"
            " preflight; other shapes in the details; no project caps",
            shapes=shapes,
        ),
        row(
            "scale_gateway_refused_late",
            late,
            "routes that the preflight lets in, and that Compute Engine refuses: maps of all"
            " shapes, filled until the preflight refuses; no project caps",
        ),
        row(
            "scale_gateway_write_cpu_ms",
            largest["one_cpu_ms"],
            f"CPU time to merge one route into the URL map of {max(SIZES)} models, limits included;"
            " no project caps",
            sizes=writes,
        ),
    )


# ---- Room


def _path(number: int, host: str = "*") -> Route:
    model = f"model-{number:05}"
    return Route(model, host, f"/{model}", (Backend(_service(model, "blue"), FULL_WEIGHT),))


def _canary(number: int) -> Route:
    """As during a preview: two groups, and a header."""
    model = f"model-{number:05}"
    blue, green = (_service(model, colour) for colour in naming.COLOURS)
    cohort = CohortRoute(green, ("x-slipway-release", "2026-11-29"))
    return Route(model, "*", f"/{model}", (Backend(blue, 950), Backend(green, 50)), (cohort,))


def _service(model: str, colour: Any) -> Any:
    return naming.backend_service(model, colour)


SHAPES: dict[str, Callable[[int], Route]] = {
    "paths of one host": _path,
    "a host for each": lambda number: _path(number, f"model-{number:05}.example.com"),
    "paths of many hosts": lambda number: _path(number, f"{number // MODELS_PER_HOST}.example.com"),
    "canaries with a header": _canary,
}


def _room(make: Callable[[int], Route]) -> dict[str, Any]:
    """Routes one by one until the next one is refused."""
    draft, meter, number = MapDraft(EMPTY), Meter(), 0
    amounts = meter.amounts(draft.body)
    while True:
        after, route = draft.copy(), make(number)
        after.merge(route.model, route)
        measured = meter.amounts(after.body)
        if refused := too_full(amounts, measured, NEW_SHARE):
            break
        draft, amounts, number = after, measured, number + 1
    if lacks_room([make(number)], draft.body, tuple) is None:
        raise RuntimeError("the preflight lets in what the count does not")
    return {
        "models": number,
        "refused_for": str(refused),
        "bytes_per_model": round(amounts["bytes", ""].used / number),
        "fullest": str(fullest(amounts.values())),
        "refused_late": bool(url_map_excess(draft.body)),
    }


# ---- Writes


def _write(count: int) -> dict[str, Any]:
    body = EMPTY
    for first in range(0, count, BATCH):
        body = _merged(body, range(first, min(count, first + BATCH)))
    one = [_pending(count)]
    batch = [_pending(count + number) for number in range(BATCH)]
    return {
        "one_cpu_ms": _cpu_ms(lambda: _merge_anew(body, one)),
        f"batch_of_{BATCH}_cpu_ms": _cpu_ms(lambda: _merge_anew(body, batch)),
        "kib": round(Meter().amounts(body)["bytes", ""].used / 1024),
    }


def _merged(body: Body, numbers: range) -> Body:
    action = merge(body, [_pending(number) for number in numbers]).action
    if action is None:
        raise RuntimeError("nothing was merged")
    return action.body


def _merge_anew(body: Body, pending: list[PendingRoute]) -> None:
    """As a process that has not seen this version of the map."""
    url_map._views.clear()
    merge(body, pending)


def _pending(number: int) -> PendingRoute:
    host = f"{number // MODELS_PER_HOST}.example.com"
    settings = release(model=f"model-{number:05}", traffic={"host": host})
    target = TrafficTarget(settings, (TrafficWeight("blue", FULL_WEIGHT),))
    return PendingRoute(f"model-{number:05}", target, 1, False, NOON)


def _cpu_ms(do: Callable[[], object]) -> float:
    """The least of some runs: whatever else the machine does only adds to it."""
    found = []
    for _ in range(RUNS):
        began = time.process_time()
        do()
        found.append(time.process_time() - began)
    return round(min(found) * 1000, 1)
