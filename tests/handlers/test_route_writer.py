"""The one writer of the URL map: few writes for many models, rollbacks first, and whatever crashes
or interferes, the map gets every route in the end and no document stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from greenlet import greenlet

from console.examine.documents import of_gateways
from handlers.reconcile import route_batch
from handlers.reconcile.route_writer import WRITER, drain
from infra.fleet import naming
from infra.fleet.model import Applied, Failed, Pending, Result
from infra.fleet.resources import map_limits
from infra.store import gateways, routes
from infra.store.documents import from_document, to_document
from infra.store.port import Delete, Put
from rollout.model import RollingBack, TrafficWeight
from tests.concurrent import ConcurrentScenario
from tests.routes import (
    ask,
    canaries_and_a_rollback,
    given_models,
    given_pending,
    given_revision,
    in_map,
    planned,
    route,
)
from tests.scenario import InterceptedStore, Scenario, intercepted_transport


class Crash(BaseException):
    """Not an `Exception`: no handler may survive it."""


def is_clean(story: Scenario) -> bool:
    return not story.store.list(routes.COLLECTION, 10) and story.store.get(WRITER) is None


def edit(story: Scenario) -> None:
    """A foreign editor adds a host. That is a new fingerprint each time."""
    body = story.url_map()
    count = len(body.get("pathMatchers", []))
    matcher = {"name": f"theirs-{count}", "defaultService": body["defaultService"]}
    rule = {"hosts": [f"theirs-{count}.example.com"], "pathMatcher": matcher["name"]}
    patch = {
        "hostRules": [*body.get("hostRules", []), rule],
        "pathMatchers": [*body.get("pathMatchers", []), matcher],
    }
    story.emulator.call("PATCH", "global/urlMaps/slipway-gateway", patch)


# ---- Many models


def test_fifty_canaries_do_not_queue_before_a_rollback() -> None:
    story = ConcurrentScenario()
    times = canaries_and_a_rollback(story, 50, seconds=30)
    # The write in flight ends after at most 30 s, and the rollback's own is accepted then.
    assert times["bad"] <= 30
    assert max(times.values()) <= 120
    assert len(times) == 51
    assert story.calls("urlMaps.update") <= 3
    assert is_clean(story)


def test_a_model_alone_reads_no_map_and_writes_it_once() -> None:
    story = given_models(Scenario(), "tiny")
    pending = route(story, "tiny")
    action = planned(story, pending)
    story.emulator.calls.clear()
    assert isinstance(ask(story, pending, action=action), Applied)
    assert in_map(story, pending)
    assert story.calls("urlMaps.get") == 0
    assert story.calls("urlMaps.update") == 1
    assert is_clean(story)


def test_a_pass_beside_the_writer_ends_and_its_route_is_in_the_next_write() -> None:
    story = given_models(ConcurrentScenario(), "a", "b")
    results: list[Result] = []
    greenlet(lambda: ask(story, route(story, "a"))).switch()
    story.clock.sleep(5)
    greenlet(lambda: results.append(ask(story, route(story, "b")))).switch()
    (result,) = results
    assert isinstance(result, Pending)
    assert "next write" in result.why
    assert result.retry_after_seconds
    story.when_seconds_pass(60)
    assert in_map(story, route(story, "b"))
    assert is_clean(story)


# ---- Changed minds


def test_an_older_decision_never_replaces_a_newer_one() -> None:
    story = given_models(Scenario(), "tiny")
    given_revision(story, "tiny", 8)
    newer = replace(route(story, "tiny", 0), revision=8)
    given_pending(story, newer)
    assert isinstance(ask(story, route(story, "tiny", 500)), Pending)
    drain(story.world)
    assert in_map(story, newer)


@pytest.mark.parametrize("revision", [6, 8])
def test_a_route_of_another_revision_is_not_written(revision: int) -> None:
    story = given_models(Scenario(), "tiny")
    given_pending(story, replace(route(story, "tiny"), revision=revision))
    drain(story.world)
    assert story.calls("urlMaps.update") == 0
    story.clock.sleep(121)
    drain(story.world)
    assert story.calls("urlMaps.update") == 0
    assert is_clean(story)


# ---- What is no pending route, and more than fit into one write


def test_documents_that_make_no_sense_block_no_route_and_go() -> None:
    story = given_models(Scenario(), "tiny", "other")
    moved = routes.to_document(route(story, "tiny", 500))
    story.store.commit(
        Put("routes/empty", {}),
        Put("routes/text", {"model": 5, "is_first": "yes", "requested_at": "noon"}),
        Put("routes/other", moved | {"is_first": True}),
    )
    assert isinstance(ask(story, route(story, "tiny")), Applied)
    assert in_map(story, route(story, "tiny"))
    story.clock.sleep(121)
    drain(story.world)
    assert is_clean(story)


@pytest.mark.parametrize("years", [1, None])
def test_a_lease_that_no_writer_has_stored_keeps_nobody_out(years: int | None) -> None:
    story = given_models(Scenario(), "tiny")
    expires = story.clock.now() + timedelta(days=365 * years) if years else "never"
    story.store.commit(Put(WRITER, {"expires": expires}))
    assert isinstance(ask(story, route(story, "tiny")), Applied)
    assert is_clean(story)


def test_a_rollback_is_in_the_first_write_however_many_routes_are_pending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(route_batch, "MAX_ROUTES", 2)
    story = given_models(Scenario(), "a", "b", "c", "z")
    given_pending(story, *(route(story, each) for each in "abc"), route(story, "z", 0))
    drain(story.world)
    assert in_map(story, route(story, "z", 0))
    assert story.calls("urlMaps.update") == 1


def test_a_request_to_write_costs_nothing_if_nothing_is_pending() -> None:
    story = Scenario()
    writes: list[Any] = []
    world = story.new_worker(InterceptedStore(story.store, writes.append))
    drain(world)
    assert (writes, story.store.get(WRITER)) == ([], None)


# ---- Dead writers


def test_while_stopped_only_the_routes_of_rollbacks_are_written() -> None:
    story = given_models(Scenario(), "a", "b", seconds=0)
    stored = from_document(story.store.get_many(["models/b"])["models/b"].data)
    back = RollingBack("rolled_back", "unhealthy", "it is", story.clock.now())
    rolling_back = replace(stored, rollout=replace(stored.rollout, phase=back))
    story.store.commit(Put("models/b", to_document(rolling_back)))
    given_pending(story, route(story, "a"), route(story, "b"))
    story.given_policy(stop={"reason": "incident", "rollbacks": True})
    drain(story.world)
    assert not in_map(story, route(story, "b"))
    story.given_policy(stop={"reason": "incident"})
    drain(story.world)
    assert in_map(story, route(story, "b"))
    assert not in_map(story, route(story, "a"))
    story.given_policy()
    drain(story.world)
    assert in_map(story, route(story, "a"))
    assert is_clean(story)


def test_the_tick_finishes_what_a_dead_writer_left() -> None:
    story = given_models(Scenario(), "tiny", "retired", "gone")
    leaving = replace(route(story, "retired"), traffic=None, is_first=True)
    given_pending(story, route(story, "retired"))
    drain(story.world)
    given_pending(story, route(story, "tiny"), leaving, route(story, "gone"))
    story.store.commit(
        Put(WRITER, {"expires": story.clock.now() + timedelta(seconds=50), "operation": ""}),
        Delete("models/gone"),
    )
    story.when_seconds_pass(121)
    assert in_map(story, route(story, "tiny"))
    assert in_map(story, leaving)
    assert not in_map(story, route(story, "gone"))
    assert is_clean(story)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_writer_may_crash_at_each_write(after: bool) -> None:
    for at in range(1, 6):
        story = given_models(Scenario(), "a", "b")
        given_pending(story, route(story, "b", 0))
        count = 0

        def crash(write: Callable[[], Any], at: int = at) -> Any:
            nonlocal count
            count += 1
            if count == at and not after:
                raise Crash
            answer = write()
            if count == at:
                raise Crash
            return answer

        worker = story.new_worker(
            InterceptedStore(story.store, crash),
            transport=intercepted_transport(story.emulator, crash),
        )
        is_crashed = False
        try:
            ask(story, route(story, "a"), worker)
        except Crash:
            is_crashed = True
        assert is_crashed == (at <= 4), at
        story.clock.sleep(61)  # the lease expires
        if not in_map(story, route(story, "a")):
            ask(story, route(story, "a"))
        drain(story.world)
        assert in_map(story, route(story, "a")), at
        assert in_map(story, route(story, "b", 0)), at
        assert is_clean(story), at


def test_a_write_that_outlasts_its_writer_is_awaited_by_the_next_one() -> None:
    story = given_models(Scenario(), "a", "b", seconds=100)
    result = ask(story, route(story, "a"))
    assert isinstance(result, Pending)
    assert "still running" in result.why
    given_pending(story, route(story, "b"))
    story.bus.pump()
    first, second = (
        each
        for each in story.emulator.operations()
        if each["targetLink"].endswith("slipway-gateway") and each["operationType"] == "update"
    )
    assert second["insertTime"] >= first["endTime"]
    story.when_seconds_pass(180)
    assert in_map(story, route(story, "b"))
    assert is_clean(story)


# ---- Others who edit the map, and refusals


@pytest.mark.parametrize("at", range(4))
def test_a_foreign_editor_may_edit_the_map_at_any_moment(at: int) -> None:
    story = given_models(Scenario(), "a", "b")
    story.emulator.operation_seconds_by_method.clear()
    given_pending(story, route(story, "b"))
    count = 0

    def interfere(write: Callable[[], Any]) -> Any:
        nonlocal count
        if count == at:
            edit(story)
        count += 1
        return write()

    worker = story.new_worker(
        InterceptedStore(story.store, interfere),
        transport=intercepted_transport(story.emulator, interfere),
    )
    assert isinstance(ask(story, route(story, "a"), worker), Applied)
    edit(story)
    assert in_map(story, route(story, "a"))
    assert in_map(story, route(story, "b"))
    hosts = [host for rule in story.url_map()["hostRules"] for host in rule["hosts"]]
    assert sum(host.startswith("theirs") for host in hosts) == 1 + (at < count)
    assert is_clean(story)


def test_a_map_that_others_change_all_the_time_is_left_for_later() -> None:
    story = given_models(Scenario(), "tiny")

    def interfere(write: Callable[[], Any]) -> Any:
        edit(story)
        return write()

    worker = story.new_worker(transport=intercepted_transport(story.emulator, interfere))
    result = ask(story, route(story, "tiny"), worker)
    assert isinstance(result, Pending)
    assert "changed by others" in result.why
    drain(story.world)
    assert in_map(story, route(story, "tiny"))
    assert is_clean(story)


def test_a_route_that_compute_engine_refuses_blocks_no_other() -> None:
    models = ("a", "b", "c", "d", "e")
    story = given_models(Scenario(), *models, seconds=1)
    no_weight = (TrafficWeight("blue", 0), TrafficWeight("green", 0))
    bad = route(story, "c")
    assert bad.traffic
    bad = replace(bad, traffic=replace(bad.traffic, weights=no_weight))
    given_pending(story, *(bad if model == "c" else route(story, model) for model in models))
    drain(story.world)
    story.when_seconds_pass(30)
    assert all(in_map(story, route(story, model)) for model in models if model != "c")
    result = ask(story, bad, action=planned(story, bad))
    assert isinstance(result, Failed)
    assert "not all 0" in result.problem.message
    assert is_clean(story)


def test_a_route_whose_backend_service_is_missing_blocks_no_other() -> None:
    story = given_models(Scenario(), "a", "b", seconds=1)
    story.emulator.call("DELETE", "global/backendServices/slipway-a-green")
    story.clock.sleep(5)
    given_pending(story, route(story, "a", 0), route(story, "b"))
    drain(story.world)
    story.when_seconds_pass(30)
    assert in_map(story, route(story, "b"))
    assert is_clean(story)


def test_a_path_that_another_route_takes_in_the_same_write_is_reported_to_its_model() -> None:
    story = given_models(Scenario(), "a", "b", seconds=1)
    first, second = route(story, "a", path="/same"), route(story, "b", path="/same")
    action = planned(story, second)
    given_pending(story, first)
    result = ask(story, second, action=action)
    assert isinstance(result, Failed)
    assert result.problem.code == "ROUTE_TAKEN"
    assert in_map(story, first)
    assert is_clean(story)
    assert naming.GATEWAY.name in str(story.resources())


# ---- How full the gateway is


def test_a_gateway_that_fills_up_is_recorded_and_warned_of_and_doctor_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(map_limits, "MAX_CONDITIONS", 5)
    story = given_models(Scenario(), "a", "b")
    given_pending(story, route(story, "a"))
    drain(story.world)
    (document,) = story.store.list(gateways.COLLECTION, 2)
    assert (document.data["percent"], document.data["what"]) == (
        40,
        "2 of 5 match conditions of host *",
    )
    assert "nearly full" not in caplog.text
    assert of_gateways([gateways.from_document(document)]).result == "right"
    given_pending(story, route(story, "b"))
    drain(story.world)
    (document,) = story.store.list(gateways.COLLECTION, 2)
    assert document.data["percent"] == 80
    assert "gateway nearly full" in caplog.text
    assert "slipway-gateway is full by 80 %" in of_gateways([gateways.from_document(document)]).what
    unchanged = document.version
    given_pending(story, route(story, "b", 60))
    drain(story.world)
    (document,) = story.store.list(gateways.COLLECTION, 2)
    assert document.version == unchanged
