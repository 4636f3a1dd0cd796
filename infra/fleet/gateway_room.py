"""Whether the gateway has room for the routes of a rollout, before anything is created. Pure.

Called by `handlers/reconcile/loop.py` in the pass that would begin to create a candidate. A model
that has a route can use all of the limits, so that a full gateway stops no swap for which there is
room left, and no way back. Invariant: nothing is refused here that makes nothing larger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction

from infra.fleet.model import Body, Key
from infra.fleet.pending_routes import PendingRoute, in_order
from infra.fleet.resources import map_limits, url_map
from infra.fleet.resources.map_draft import MapDraft
from infra.fleet.resources.map_limits import NEW_SHARE, Amounts, Meter, too_full
from infra.fleet.resources.url_map import Route
from rollout import moves
from rollout.model import FULL_WEIGHT, Observed, Problem, Rollout, Stepping
from rollout.targets import plan_of

COUNT_PENDING = Fraction(1, 2)
"""Of a gateway that is emptier than this, what others are about to add is not read."""


def routes_of(rollout: Rollout, model: str, observed: Observed) -> Mapping[Key, tuple[Route, ...]]:
    """The routes that the model has in the course of a rollout, by URL map, each with all cohorts
    so far.
    """
    found: dict[Key, tuple[Route, ...]] = {}
    for key, route in dict.fromkeys(_routes(rollout, model, observed)):
        found[key] = (*found.get(key, ()), route)
    return found


def _routes(rollout: Rollout, model: str, observed: Observed) -> Iterator[tuple[Key, Route]]:
    if not isinstance(rollout.phase, Stepping):
        return
    swap, strategy, steps = plan_of(rollout)
    for number in range(len(steps)):
        for weight in (1, FULL_WEIGHT):
            at = Stepping(number, rollout.phase.since, weight, granted=number + 1)
            traffic = moves.in_both(rollout, strategy.target(swap, at, observed))
            yield from url_map.routes_of(model, traffic).items()


def lacks_room(
    routes: Iterable[Route], observed: Body, pending: Callable[[], Iterable[PendingRoute]]
) -> Problem | None:
    """Why the map may not have one of these routes of one model; None if it may have each.
    `pending`: what other models have asked for, read only if it may decide.
    """
    drafts, meter = {}, url_map.meter_of(observed)
    before = url_map.draft_of(observed)
    index = url_map.index(observed)
    for route in routes:
        if url_map.route_drift(route, route.model, index):
            draft = before.copy()
            if draft.merge(route.model, route) is None:  # else the plan says why
                drafts[route] = draft
    amounts = [meter.amounts(draft.body) for draft in drafts.values()]
    if not any(too_full({}, after, COUNT_PENDING) for after in amounts):
        return None
    for each in in_order(pending()):
        if not any(route.model == each.model for route in drafts):
            before.merge(each.model, each.route)
    base = meter.amounts(before.body)
    for route in drafts:
        share = Fraction(1) if before.has(route.model) else NEW_SHARE
        if problem := _problem(before, route, base, share, meter):
            return problem
    return None


def _problem(
    before: MapDraft, route: Route, base: Amounts, share: Fraction, meter: Meter
) -> Problem | None:
    draft = before.copy()
    draft.merge(route.model, route)
    amount = too_full(base, meter.amounts(draft.body), share)
    return map_limits.problem(draft.name, amount, share) if amount else None
