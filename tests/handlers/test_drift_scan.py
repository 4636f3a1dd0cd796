"""The survey: every settled model is looked at, and what differs is found."""

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
