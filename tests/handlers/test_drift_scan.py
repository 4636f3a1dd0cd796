"""The drift scan compares every settled model with its target."""

from __future__ import annotations

from handlers.reconcile import drift_scan
from infra.store.documents import to_document
from infra.store.port import Put
from rollout.model import Desired
from rollout.state import ModelState
from tests.scenario import Scenario


def test_the_drift_scan_reads_every_page_of_models() -> None:
    story = Scenario()
    story.given_serving("1")
    for number in range(2 * drift_scan.PAGE):
        name = f"a-{number:03d}"
        story.store.commit(Put(f"models/{name}", to_document(ModelState(Desired(name)))))
    assert drift_scan.find_drifted(story.world) == ()
    story.autoscaler()["maxNumReplicas"] = 50
    assert drift_scan.find_drifted(story.world) == ("tiny",)


def test_a_document_of_schema_1_is_skipped() -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_serving("1", model="large")
    document = story.store.get("models/large")
    assert document
    story.store.commit(Put("models/large", document.data | {"schema": 1}))
    for model in ("tiny", "large"):
        story.autoscaler(model)["maxNumReplicas"] = 50
    assert drift_scan.find_drifted(story.world) == ("tiny",)
