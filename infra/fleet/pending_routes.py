"""Routes that models have asked for and that the shared URL map does not have yet, and how they
become one map. Pure.

Called by `handlers/reconcile/route_writer.py`, the one writer of the map. Invariants: rollbacks and
removals come first, and a route that cannot be merged is left out with its problem, so that it
blocks no other one. Source of the limit: load-balancing/docs/url-map-size-quota.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from infra.fleet import naming
from infra.fleet.model import Action, Body
from infra.fleet.resources import url_map
from rollout.model import Phase, Problem, Retiring, RollingBack, TrafficTarget

MAX_MAP_BYTES = 1_000_000


@dataclass(frozen=True)
class PendingRoute:
    """The route that the decision saved at `revision` asks for (None: no route any more). `problem`
    says why the map cannot have it.
    """

    model: str
    traffic: TrafficTarget | None
    revision: int
    is_first: bool
    requested_at: datetime
    problem: Problem | None = None

    @property
    def route(self) -> url_map.Route | None:
        return url_map.desired(self.model, self.traffic) if self.traffic else None


def goes_first(phase: Phase, traffic: TrafficTarget | None) -> bool:
    """Whether a route takes requests away from what is bad or leaves."""
    return traffic is None or isinstance(phase, RollingBack | Retiring)


def in_order(routes: Iterable[PendingRoute]) -> tuple[PendingRoute, ...]:
    """Rollbacks and removals first, then who asked first."""
    return tuple(
        sorted(routes, key=lambda each: (not each.is_first, each.requested_at, each.model))
    )


@dataclass(frozen=True)
class Merged:
    """One write of the map for many routes: `action` is None if the map has all of them already.
    `left_out` are those that it cannot have.
    """

    action: Action | None
    routes: tuple[PendingRoute, ...]
    left_out: tuple[tuple[PendingRoute, Problem], ...] = ()


def merge(observed: Body, routes: Iterable[PendingRoute]) -> Merged:
    """The observed map with all routes that it can have, in their order."""
    found, body = url_map.index(observed), observed
    merged: list[PendingRoute] = []
    left_out: list[tuple[PendingRoute, Problem]] = []
    reasons: list[str] = []
    for each in in_order(routes):
        why = url_map.route_drift(each.route, each.model, found)
        after = url_map.merge_route(body, each.model, each.route) if why else body
        if why and each.traffic and not isinstance(after, Problem):
            after = _too_large(after) or after
        if isinstance(after, Problem):
            left_out.append((each, after))
            continue
        body = after
        merged.append(each)
        reasons += [f"{each.model}: {why}"] if why else []
    return Merged(_action(observed, body, reasons), tuple(merged), tuple(left_out))


def _action(observed: Body, body: Body, reasons: list[str]) -> Action | None:
    if not reasons:
        return None
    fingerprint = observed.get("fingerprint", "")
    why = "; ".join(reasons)
    return Action(naming.GATEWAY, "update", body, why, based_on=fingerprint)


def _too_large(body: Body) -> Problem | None:
    size = len(json.dumps(body))
    if size <= MAX_MAP_BYTES:
        return None
    message = (
        f"URL map {naming.GATEWAY.name} would have {size:,} bytes (limit {MAX_MAP_BYTES:,}); remove"
        " rules or retire models"
    )
    return Problem("quota", "URL_MAP_TOO_LARGE", message)
