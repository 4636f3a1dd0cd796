"""Routes that models have asked for and that the shared URL map does not have yet, and how they
become one map. Pure.

Called by `handlers/reconcile/route_writer.py`, the one writer of the map. Invariants: rollbacks and
removals come first, and a route that cannot be merged is left out with its problem, so that it
blocks no other one.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from infra.fleet import naming
from infra.fleet.model import Action, Body, Key
from infra.fleet.naming import Gateway
from infra.fleet.resources import map_limits, url_map
from infra.fleet.resources.map_limits import Amounts, Meter, too_full
from rollout.deferred import dataclass
from rollout.model import Phase, Problem, Retiring, RollingBack, TrafficTarget


@dataclass(frozen=True)
class PendingRoute:
    """What the decision saved at `revision` asks of one gateway, the shared one without a name: the
    route that `traffic` has there, if any. `problem` says why the map cannot have it.
    """

    model: str
    traffic: TrafficTarget | None
    revision: int
    is_first: bool
    requested_at: datetime
    problem: Problem | None = None
    gateway: str = ""

    @property
    def route(self) -> url_map.Route | None:
        return url_map.routes_of(self.model, self.traffic).get(self.url_map)

    @property
    def url_map(self) -> Key:
        return Gateway(self.gateway).url_map


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
    """The observed map with all routes that it can have, in their order. Whether each one fits is
    measured only if not all of them do.
    """
    ordered, meter = in_order(routes), url_map.meter_of(observed)
    merged = _merge(observed, ordered, None)
    if merged.action is None:
        return merged
    after = meter.amounts(merged.action.body)
    return _merge(observed, ordered, meter) if too_full({}, after) else merged


def _merge(observed: Body, ordered: Iterable[PendingRoute], meter: Meter | None) -> Merged:
    index, draft = url_map.index(observed), url_map.draft_of(observed)
    amounts: Amounts = meter.amounts(observed) if meter else {}
    merged: list[PendingRoute] = []
    left_out: list[tuple[PendingRoute, Problem]] = []
    reasons: list[str] = []
    for each in ordered:
        why = url_map.route_drift(each.route, each.model, index)
        after = draft.copy() if meter else draft
        problem = after.merge(each.model, each.route) if why else None
        if why and meter and not problem:
            measured = meter.amounts(after.body)
            amount = too_full(amounts, measured)
            problem = map_limits.problem(draft.name, amount) if amount else None
            amounts = amounts if problem else measured
        if problem:
            left_out.append((each, problem))
            continue
        draft = after
        merged.append(each)
        reasons += [f"{each.model}: {why}"] if why else []
    return Merged(_action(observed, draft.body, reasons), tuple(merged), tuple(left_out))


def _action(observed: Body, body: Body, reasons: list[str]) -> Action | None:
    if not reasons:
        return None
    fingerprint = observed.get("fingerprint", "")
    why = "; ".join(reasons)
    return Action(naming.url_map(observed), "update", body, why, based_on=fingerprint)
