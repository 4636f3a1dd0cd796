"""What models have pending becomes one map: the order, what is left out, and the documents."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from infra.fleet import naming
from infra.fleet.model import Body
from infra.fleet.pending_routes import PendingRoute, goes_first, in_order, merge
from infra.fleet.resources import map_limits, url_map
from infra.store import routes
from infra.store.port import Document
from rollout.model import (
    Baking,
    Cohort,
    Mirror,
    Phase,
    Problem,
    Retiring,
    RollingBack,
    TrafficTarget,
    TrafficWeight,
)
from tests.infra.build import NOON, release

EMPTY: Body = {
    "name": naming.GATEWAY.name,
    "description": naming.GATEWAY_DESCRIPTION,
    "fingerprint": "f",
    "defaultService": naming.reference(naming.GATEWAY_DEFAULT),
}
THEIRS: Body = {
    "hostRules": [{"hosts": ["theirs.example.com"], "pathMatcher": "theirs"}],
    "pathMatchers": [{"name": "theirs", "defaultService": EMPTY["defaultService"]}],
}
SECOND = timedelta(seconds=1)


def pending(
    model: str, weight: int = 50, after: int = 0, *, first: bool = False, **traffic: Any
) -> PendingRoute:
    target = TrafficTarget(
        release(model=model, traffic=traffic),
        (TrafficWeight("blue", 1000 - weight), TrafficWeight("green", weight)),
    )
    return PendingRoute(model, target, 7, first, NOON + after * SECOND)


def has(body: Body, route: PendingRoute) -> bool:
    return url_map.drift(route.route, route.model, body) is None


def test_rollbacks_and_removals_come_first_then_who_asked_first() -> None:
    early, late = pending("c", after=1), pending("b", after=2)
    back, leaving = pending("z", after=9, first=True), pending("y", after=10, first=True)
    assert in_order([late, leaving, early, back]) == (back, leaving, early, late)


@pytest.mark.parametrize(
    ("phase", "is_first"),
    [
        (RollingBack("rolled_back", "unhealthy", "it was", NOON), True),
        (Retiring(NOON, "unused"), True),
        (Baking(NOON), False),
    ],
)
def test_what_takes_requests_away_goes_first(phase: Phase, is_first: bool) -> None:
    assert goes_first(phase, pending("a").traffic) is is_first
    assert goes_first(phase, None)


def test_the_routes_of_many_models_become_one_write() -> None:
    many = [pending(f"m{number:02}") for number in range(50)]
    merged = merge(EMPTY | THEIRS, many)
    assert merged.action
    assert merged.action.based_on == "f"
    assert merged.action.body["fingerprint"] == "f"
    assert all(has(merged.action.body, each) for each in many)
    assert THEIRS["pathMatchers"][0] in merged.action.body["pathMatchers"]
    assert {route.model for route in merged.routes} == {route.model for route in many}
    observed = merged.action.body
    changed = [pending("m07", 500), replace(pending("m08"), traffic=None, is_first=True), many[9]]
    again = merge(observed, changed)
    assert again.action
    assert has(again.action.body, changed[0])
    assert has(again.action.body, changed[1])
    assert all(has(again.action.body, each) for each in many if each.model not in ("m07", "m08"))
    assert merge(again.action.body, changed).action is None


def test_a_route_that_the_map_cannot_have_blocks_no_other() -> None:
    first, second = pending("a", path="/same"), pending("b", after=1, path="/same")
    other = pending("c", after=2)
    merged = merge(EMPTY, [second, other, first])
    assert merged.routes == (first, other)
    ((left, problem),) = merged.left_out
    assert left == second
    assert problem.code == "ROUTE_TAKEN"


def test_a_map_that_would_be_too_large_takes_removals_only(monkeypatch: Any) -> None:
    present = merge(EMPTY, [pending("a"), pending("b")]).action
    assert present
    monkeypatch.setattr(map_limits, "MAX_BYTES", 100)
    removal = replace(pending("a"), traffic=None, is_first=True)
    merged = merge(present.body, [pending("c"), removal])
    assert merged.routes == (removal,)
    assert [(each.model, problem.reason) for each, problem in merged.left_out] == [("c", "quota")]


# ---- Documents


def test_a_pending_route_is_read_back_equal() -> None:
    plain = pending("tiny")
    assert plain.traffic
    cohorts = (Cohort("green", "x-canary", "1", "next.example.com"), Cohort("green", "x", "2"))
    full = replace(plain.traffic, cohorts=cohorts, mirror=Mirror("green", 10), is_claimed=True)
    for route in (
        plain,
        replace(plain, traffic=full, problem=Problem("config", "ROUTE_TAKEN", "taken")),
        replace(plain, traffic=None, is_first=True),
    ):
        document = Document("routes/tiny", routes.to_document(route), "1")
        stored = routes.stored_route(document)
        assert stored
        assert (stored.route, stored.version, stored.path) == (route, "1", "routes/tiny")


def test_a_pending_route_of_another_slipway_is_not_read() -> None:
    data = routes.to_document(pending("tiny"))
    newer = data | {"traffic": data["traffic"] | {"weights": [{"colour": "red", "share": 1}]}}
    assert routes.stored_route(Document("routes/tiny", newer, "1")) is None


@pytest.mark.parametrize(
    "junk",
    [
        {"model": "other"},
        {"revision": "9"},
        {"requested_at": 5},
        {"traffic": "all"},
        {"traffic": {}},
        {"problem": {"code": "X"}},
        {"traffic": {"weights": [{"colour": "blue", "weight": "all"}]}},
    ],
)
def test_a_pending_route_that_makes_no_sense_is_not_read(junk: dict[str, Any]) -> None:
    data = routes.to_document(pending("tiny"))
    if isinstance(junk.get("traffic"), dict) and junk["traffic"]:
        junk = {"traffic": data["traffic"] | junk["traffic"]}
    assert routes.stored_route(Document("routes/tiny", data | junk, "1")) is None
    assert routes.stored_route(Document("routes/tiny", junk, "1")) is None


@pytest.mark.parametrize(
    ("pending_fields", "model_fields", "after", "counts"),
    [
        ({}, {}, 0, True),
        ({}, {}, 120, True),
        ({}, {}, 121, False),
        ({}, {"revision": 8}, 0, False),
        ({"revision": 8}, {}, 0, False),
        ({}, {"hold": {"why": "restored"}}, 0, False),
        ({"problem": {"reason": "config", "code": "X", "message": "x"}}, {}, 0, False),
    ],
)
def test_a_route_counts_only_at_its_models_present_revision_and_for_two_minutes(
    pending_fields: dict[str, Any], model_fields: dict[str, Any], after: int, counts: bool
) -> None:
    request = Document("routes/tiny", routes.to_document(pending("tiny")) | pending_fields, "1")
    model = Document("models/tiny", {"revision": 7, "hold": None} | model_fields, "1")
    stored = routes.stored_route(request)
    assert stored
    assert routes.counts(stored, model, NOON + after * SECOND) is counts
    assert not routes.counts(stored, None, NOON)
