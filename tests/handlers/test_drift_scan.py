"""The drift scan compares every settled model with its target."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType

import pytest

from handlers.reconcile import drift_scan
from infra.store.documents import to_document
from infra.store.port import Delete, Put
from rollout.model import Desired
from rollout.state import ModelState
from tests.scenario import Scenario


def find_drifted(story: Scenario) -> tuple[str, ...]:
    states, _ = drift_scan.read_states(story.world, None)
    return drift_scan.compare(story.world, states).drifted


class Recording:
    """The bus; keeps what is published and delivers nothing."""

    def __init__(self) -> None:
        self.data: list[bytes] = []

    def publish(
        self, topic: str, data: bytes, attributes: Mapping[str, str] = MappingProxyType({})
    ) -> str:
        self.data.append(data)
        return "1"


def test_the_drift_scan_reads_every_page_of_models() -> None:
    story = Scenario()
    story.given_serving("1")
    for number in range(2 * drift_scan.PAGE):
        name = f"a-{number:03d}"
        story.store.commit(Put(f"models/{name}", to_document(ModelState(Desired(name)))))
    assert find_drifted(story) == ()
    story.autoscaler()["maxNumReplicas"] = 50
    assert find_drifted(story) == ("tiny",)


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
    monkeypatch.setattr(drift_scan, "PAGE", 1)
    monkeypatch.setattr(drift_scan, "MODELS_PER_TICK", 2)
    monkeypatch.setattr(drift_scan, "MAX_WAKEUPS", 1)
    story = Scenario()
    names = ("a", "b", "c")
    for name in names:
        story.given_serving("1", model=name)
    story.when_seconds_pass(300 - story.clock.now().timestamp() % 300)
    for name in names:
        story.autoscaler(name)["maxNumReplicas"] = 50
    story.store.commit(Delete(drift_scan.CURSOR))
    bus = Recording()
    story.world = story.new_worker(bus=bus)
    cursors, woken = [], []
    for _ in range(5):
        bus.data.clear()
        drift_scan.scan(story.world)
        cursor = story.store.get(drift_scan.CURSOR)
        cursors.append((cursor.data["after"], cursor.data["drifted"]) if cursor else None)
        woken.append([json.loads(data)["model"] for data in bus.data])
    assert cursors == [
        ("b", ["a", "b"]),
        (None, ["b", "c"]),
        (None, ["c"]),
        None,
        ("b", ["a", "b"]),
    ]
    assert woken == [[], ["a"], ["b"], ["c"], []]


def test_a_model_that_cannot_be_compared_does_not_stop_the_others() -> None:
    story = Scenario()
    for model in ("large", "tiny"):
        story.given_serving("1", model=model)
        story.autoscaler(model)["maxNumReplicas"] = 50
    service = story.emulator.find("backendServices", "slipway-large-blue")
    assert service
    service["backends"] = ["garbled"]
    assert find_drifted(story) == ("tiny",)


def test_a_shared_part_of_the_gateway_is_compared_for_one_model() -> None:
    story = Scenario()
    for model in ("large", "tiny"):
        story.given_serving("1", model=model)
    story.emulator.call("DELETE", "global/forwardingRules/slipway-gateway-http")
    story.when_seconds_pass(1)
    assert find_drifted(story) == ("large",)
