"""The drift scan compares every settled model with its target."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import pytest

from compute_emulator import Request, Response
from handlers.reconcile import drift_scan
from handlers.reconcile.compare import compare, read_shared
from infra.store.documents import to_document
from infra.store.port import Delete, Put
from rollout.model import Desired
from rollout.state import ModelState
from tests.scenario import InterceptedStore, Scenario


def find_drifted(story: Scenario) -> tuple[str, ...]:
    """By a whole scan, page after page."""
    shared, after = read_shared(story.world), None
    drifted: list[str] = []
    while True:
        page = drift_scan.read_page(story.world, after)
        found, shared = compare(story.world, shared, page.settled, page.filter)
        drifted += found.drifted
        after = page.after
        if after is None:
            return tuple(drifted)


def given_drifted(story: Scenario, *models: str) -> None:
    for model in models:
        story.autoscaler(model)["maxNumReplicas"] = 50


def given_pages(monkeypatch: pytest.MonkeyPatch, models_per_page: int, seconds: float = 0) -> None:
    monkeypatch.setattr(drift_scan, "PAGE", models_per_page)
    monkeypatch.setattr(drift_scan, "COMPARE_TIME", timedelta(seconds=seconds))


def given_time_for_a_scan(story: Scenario) -> None:
    story.when_seconds_pass(300 - story.clock.now().timestamp() % 300)
    story.store.commit(Delete(drift_scan.CURSOR))


def woken(bus: Recording) -> list[str]:
    return [json.loads(data)["model"] for data in bus.data]


class Recording:
    """The bus; keeps what is published and delivers nothing."""

    def __init__(self) -> None:
        self.data: list[bytes] = []

    def publish(
        self, topic: str, data: bytes, attributes: Mapping[str, str] = MappingProxyType({})
    ) -> str:
        self.data.append(data)
        return "1"


def test_the_drift_scan_reads_every_page_of_models(monkeypatch: pytest.MonkeyPatch) -> None:
    given_pages(monkeypatch, 2)
    story = Scenario()
    for model in ("b", "b-large", "tiny"):
        story.given_serving("1", model=model)
    for name in ("a", "a-b", "c"):
        story.store.commit(Put(f"models/{name}", to_document(ModelState(Desired(name)))))
    assert find_drifted(story) == ()
    given_drifted(story, "b", "tiny")
    assert find_drifted(story) == ("b", "tiny")


def test_a_document_of_schema_1_is_skipped() -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_serving("1", model="large")
    document = story.store.get("models/large")
    assert document
    story.store.commit(Put("models/large", document.data | {"schema": 1}))
    for model in ("tiny", "large"):
        story.autoscaler(model)["maxNumReplicas"] = 50
    assert find_drifted(story) == ("tiny",)


def test_a_scan_of_many_models_goes_on_from_a_cursor_and_wakes_few_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given_pages(monkeypatch, 2)
    monkeypatch.setattr(drift_scan, "MAX_WAKEUPS", 1)
    story = Scenario()
    for name in ("a", "b", "c"):
        story.given_serving("1", model=name)
    given_time_for_a_scan(story)
    given_drifted(story, "a", "b", "c")
    bus = Recording()
    story.world = story.new_worker(bus=bus)
    cursors, wakeups = [], []
    for _ in range(5):
        bus.data.clear()
        drift_scan.scan(story.world)
        cursor = story.store.get(drift_scan.CURSOR)
        cursors.append((cursor.data["after"], cursor.data["drifted"]) if cursor else None)
        wakeups.append(woken(bus))
    assert cursors == [
        ("b", ["a", "b"]),
        (None, ["b", "c"]),
        (None, ["c"]),
        None,
        ("b", ["a", "b"]),
    ]
    assert wakeups == [[], ["a"], ["b"], ["c"], []]


def test_a_scan_goes_on_after_a_crash_and_a_refused_list_while_models_come_and_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given_pages(monkeypatch, 1, seconds=60)
    story = Scenario()
    for name in ("b", "c", "d"):
        story.given_serving("1", model=name)
    given_time_for_a_scan(story)
    given_drifted(story, "b", "c", "d")
    bus = Recording()

    def crash_after_two_pages(commit: Callable[[], Any]) -> Any:
        cursor = story.store.get(drift_scan.CURSOR)
        if cursor and cursor.data["after"] == "c":
            raise SystemError("crash")
        return commit()

    story.world = story.new_worker(InterceptedStore(story.store, crash_after_two_pages), bus)
    with pytest.raises(SystemError):
        drift_scan.scan(story.world)
    story.world = story.new_worker(bus=bus)
    refused = {"status": 403, "reason": "rateLimitExceeded"}
    story.given_fault("error", method="compute.healthChecks.list", **refused)
    drift_scan.scan(story.world)
    story.given_no_faults()
    story.clock.sleep(120)
    assert woken(bus) == []
    story.store.commit(Delete("models/c"))
    for name in ("a", "e"):
        story.store.commit(Put(f"models/{name}", to_document(ModelState(Desired(name)))))
    drift_scan.scan(story.world)
    assert woken(bus) == ["b", "c", "d"]
    assert story.store.get(drift_scan.CURSOR) is None


@pytest.mark.parametrize("garbled", [{}, {"after": 7, "drifted": []}, {"drifted": [None]}])
def test_a_scan_begins_anew_after_a_garbled_cursor(garbled: dict[str, Any]) -> None:
    story = Scenario()
    story.given_serving("1", model="b")
    given_time_for_a_scan(story)
    given_drifted(story, "b")
    bus = Recording()
    story.store.commit(Put(drift_scan.CURSOR, garbled))
    drift_scan.scan(story.new_worker(bus=bus))
    assert woken(bus) == ["b"]
    assert story.store.get(drift_scan.CURSOR) is None


def test_of_two_scans_at_once_one_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    given_pages(monkeypatch, 1, seconds=60)
    story = Scenario()
    for name in ("a", "b"):
        story.given_serving("1", model=name)
    given_time_for_a_scan(story)
    given_drifted(story, "a", "b")
    bus, first = Recording(), [True]

    def scan_first(commit: Callable[[], Any]) -> Any:
        if first:
            first.clear()
            drift_scan.scan(story.new_worker(bus=bus))
            given_pages(monkeypatch, 1)
            drift_scan.scan(story.new_worker(bus=bus))  # the next one has begun
        return commit()

    drift_scan.scan(story.new_worker(InterceptedStore(story.store, scan_first), bus))
    assert woken(bus) == ["a", "b"]
    cursor = story.store.get(drift_scan.CURSOR)
    assert cursor
    assert (cursor.data["after"], cursor.data["drifted"]) == ("a", ["a"])


def test_what_is_in_a_region_that_cannot_be_listed_is_not_absent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    story = Scenario()
    story.given_serving("1", model="far", placement={"region": "europe-west4"})
    story.given_serving("1", model="near")
    given_drifted(story, "near")

    def without_a_region(request: Request) -> Response:
        answer: Response = story.emulator.handle(request)
        if "/aggregated/" not in request.target:
            return answer
        body = json.loads(answer.body)
        body["items"]["regions/europe-west4"] = {"warning": {"code": "UNREACHABLE"}}
        return replace(answer, body=json.dumps(body).encode())

    story.world = story.new_worker(transport=without_a_region)
    assert find_drifted(story) == ("near",)
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "regions not compared"
    ]


def test_a_model_whose_desired_release_does_not_serve_is_compared_too() -> None:
    story = Scenario()
    story.given_serving("1")
    document = story.store.get("models/tiny")
    assert document
    desired = document.data["desired"]
    newer = desired | {"release": desired["release"] | {"generation": 7}}
    story.store.commit(Put("models/tiny", document.data | {"desired": newer}))
    given_drifted(story, "tiny")
    assert find_drifted(story) == ("tiny",)


def test_a_model_that_cannot_be_compared_does_not_stop_the_others() -> None:
    story = Scenario()
    for model in ("large", "tiny"):
        story.given_serving("1", model=model)
        story.autoscaler(model)["maxNumReplicas"] = 50
    service = story.emulator.find("backendServices", "slipway-large-blue")
    assert service
    service["backends"] = ["garbled"]
    assert find_drifted(story) == ("tiny",)


def test_a_settled_model_has_borrowed_nothing_or_is_given_a_pass_that_ends_it() -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_serving("2")
    before = story.store.get("models/tiny")
    assert before
    assert before.data["capacity_lease"] is None
    loan = {"colour": "blue", "region": "us-central1", "size": 3}
    loan["bounds"] = {"min": 3, "max": 6, "may_scale_in": True}
    now = story.clock.now()
    lease = {"since": now - timedelta(hours=2), "expires_at": now - timedelta(hours=1)}
    left = before.data | {"capacity_lease": lease | {"loans": [loan]}}
    story.store.commit(Put("models/tiny", left))
    assert find_drifted(story) == ("tiny",)
    story.when_minutes_pass(6)
    after = story.store.get("models/tiny")
    assert after
    assert after.data["capacity_lease"] is None
    assert find_drifted(story) == ()


def test_a_shared_part_of_the_gateway_is_compared_for_one_model() -> None:
    story = Scenario()
    for model in ("large", "tiny"):
        story.given_serving("1", model=model)
    story.emulator.call("DELETE", "global/forwardingRules/slipway-gateway-http")
    story.when_seconds_pass(1)
    assert find_drifted(story) == ("large",)
