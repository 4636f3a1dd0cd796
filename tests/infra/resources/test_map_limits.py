"""How full a URL map is: measured as Compute Engine counts, and never less."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest

from compute_emulator import url_map_excess
from infra.fleet import naming
from infra.fleet.model import Body
from infra.fleet.resources import map_limits
from infra.fleet.resources.map_draft import MapDraft
from infra.fleet.resources.map_limits import Amount, Meter, overflow, too_full
from infra.fleet.resources.url_map import Backend, CohortRoute, Route

EMPTY: Body = {
    "name": naming.GATEWAY.name,
    "description": naming.GATEWAY_DESCRIPTION,
    "defaultService": naming.reference(naming.GATEWAY_DEFAULT),
}
HEADER = ("x-canary", "1")


def route(number: int, host: str = "*", *, is_canary: bool = False) -> Route:
    model = f"m{number}"
    blue, green = (naming.backend_service(model, colour) for colour in naming.COLOURS)
    if not is_canary:
        return Route(model, host, f"/{model}", (Backend(blue, 1000),))
    backends = (Backend(blue, 950), Backend(green, 50))
    return Route(model, host, f"/{model}", backends, (CohortRoute(green, HEADER),))


def map_of(*routes: Route) -> Body:
    draft = MapDraft(EMPTY)
    for each in routes:
        assert draft.merge(each.model, each) is None
    return draft.body


def as_read(body: Body) -> Body:
    """As the server answers it: with full references."""
    full = "https://www.googleapis.com/compute/v1/projects/demo/global/"
    found: Body = json.loads(json.dumps(body).replace('"global/', f'"{full}'))
    return found


def used(body: Body) -> dict[str, int]:
    """The sum of each amount over the matchers."""
    found: dict[str, int] = {}
    for amount in Meter().amounts(body).values():
        found[amount.what] = found.get(amount.what, 0) + amount.used
    return found


def test_a_model_uses_two_conditions_and_a_cohort_four_more() -> None:
    plain, canary = used(map_of(route(1))), used(map_of(route(1, is_canary=True)))
    assert (plain["rules"], plain["match conditions"], plain["backend services"]) == (1, 2, 2)
    assert (canary["rules"], canary["match conditions"], canary["backend services"]) == (2, 6, 3)


@pytest.mark.parametrize("is_canary", [False, True])
def test_the_bytes_are_never_fewer_than_compute_engine_stores(is_canary: bool) -> None:
    body = map_of(*(route(n, f"h{n}.example.com", is_canary=is_canary) for n in range(20)))
    stored = len(json.dumps(as_read(body), separators=(",", ":")))
    assert stored <= used(body)["bytes"] <= 1.3 * stored
    assert stored <= used(as_read(body))["bytes"] <= 1.1 * stored


@pytest.mark.parametrize(
    ("most", "hosts", "what"), [(500, 1, "match conditions of host *"), (1000, 1000, "host rules")]
)
def test_what_is_full_here_is_full_there(most: int, hosts: int, what: str) -> None:
    """The last route that fits is one that the emulator accepts, and the next one is not."""

    def at(number: int) -> Route:
        return route(number, "*" if hosts == 1 else f"h{number}.example.com")

    fits = map_of(*map(at, range(most)))
    assert url_map_excess(fits) == ""
    draft = MapDraft(fits)
    draft.merge(f"m{most}", at(most))
    amount = overflow(fits, draft.body, Meter())
    assert amount is not None
    assert str(amount).endswith(what)
    assert "is too large" in url_map_excess(draft.body)


def test_what_makes_nothing_larger_is_always_possible(monkeypatch: Any) -> None:
    before = map_of(route(1, is_canary=True), route(2))
    monkeypatch.setattr(map_limits, "MAX_CONDITIONS", 5)
    monkeypatch.setattr(map_limits, "MAX_BYTES", 100)
    after = MapDraft(before)
    after.merge("m1", route(1))
    assert overflow(before, after.body, Meter()) is None
    assert overflow(after.body, before, Meter())


def test_a_share_of_a_limit() -> None:
    place = ("rules", "any")
    before, after = {place: Amount("rules", 899, 1000)}, {place: Amount("rules", 901, 1000)}
    assert too_full(before, after) is None
    assert too_full(before, after, Fraction(9, 10)) == after[place]
    assert too_full(after, after, Fraction(9, 10)) is None
