"""Whether a gateway has room for the routes of a model, before anything is created for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from infra.fleet.gateway_room import lacks_room
from infra.fleet.model import Body
from infra.fleet.pending_routes import PendingRoute
from infra.fleet.resources import map_limits
from rollout.model import Problem
from tests.infra.resources.test_map_limits import map_of, route
from tests.infra.test_pending_routes import pending


@pytest.fixture(autouse=True)
def limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_limits, "MAX_CONDITIONS", 20)  # 18 of them for first routes


def full(count: int) -> Body:
    return map_of(*(route(number) for number in range(count)))


def lacks(number: int, body: Body, *others: PendingRoute, **shape: Any) -> Problem | None:
    return lacks_room([route(number, **shape)], body, lambda: others)


def test_a_model_without_a_route_gets_nine_tenths_and_one_with_a_route_gets_all() -> None:
    assert lacks(8, full(8)) is None
    problem = lacks(9, full(9))
    assert problem is not None
    assert (problem.reason, problem.code) == ("quota", "GATEWAY_FULL")
    assert (
        "20 of 20 match conditions of host *; a model without a route there gets one up to 18"
        in (problem.message)
    )
    assert lacks(9, full(9), host="free.example.com") is None
    assert lacks(7, full(8), is_canary=True) is None
    assert lacks(8, full(9), is_canary=True)


def test_what_others_have_pending_counts_and_ones_own_does_not() -> None:
    first, second = pending("a"), pending("b", after=1)
    assert lacks(8, full(7), first) is None
    assert lacks(8, full(7), first, second)
    assert lacks(8, full(8), pending("m8")) is None
    removal = replace(pending("m1"), traffic=None, is_first=True)
    assert lacks(9, full(9), removal) is None


def test_what_is_pending_is_read_only_if_it_may_decide() -> None:
    def read() -> tuple[PendingRoute, ...]:
        raise AssertionError("read")

    assert lacks_room([route(3)], full(3), read) is None
    assert lacks_room([route(3)], full(9), read) is None, "it is in the map"
