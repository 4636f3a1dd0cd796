"""Slipway completes what an older version left unfinished, and does not touch documents that it
cannot read.
"""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from handlers.reconcile.loop import reconcile
from infra.store.documents import SCHEMA, UnknownSchema
from rollout.model import Phase, Verb
from tests.assurance.golden.histories import final_state, list_files, load, restore, run_to_end
from tests.assurance.golden.moments import MOMENTS
from tests.scenario import Scenario

NAME = "models/tiny"


def test_every_moment_has_a_history_of_the_present_schema() -> None:
    names = {file.stem for file in list_files() if file.parent.name == f"v{SCHEMA}"}
    assert set(MOMENTS) <= names, "run `make golden`"
    assert len(list_files()) >= 50


def test_every_phase_and_everything_that_may_be_pending_has_a_history() -> None:
    """The present schema's files have everything that the types allow, so that a new phase needs a
    history.
    """
    documents = [
        load(file)["documents"].get(NAME)
        for file in list_files()
        if file.parent.name == f"v{SCHEMA}"
    ]
    models = [document for document in documents if document]
    phases = {re.sub("(?<!^)(?=[A-Z])", "_", kind.__name__).lower() for kind in get_args(Phase)}
    assert {document["rollout"]["phase"]["name"] for document in models} == phases
    assert {intent["verb"] for document in models for intent in document["desired"]["line"]} == {
        "release",
        *get_args(Verb),
    }
    steps = {
        document["rollout"]["phase"]["step"]
        for document in models
        if document["rollout"]["phase"]["name"] == "stepping"
    }
    assert len(steps) >= 3
    for place in ("stable", "candidate", "previous", "lease", "requeue_at", "waiting_for"):
        assert {bool(document[place]) for document in models} == {True, False}, place
    for thing in ("paused", "promoted", "failed_digests", "progress", "last_observed_at"):
        assert any(document["rollout"][thing] for document in models), thing


@pytest.mark.parametrize("file", list_files(), ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_a_restored_history_reaches_the_same_final_state(file: Path) -> None:
    history = load(file)
    scenario = restore(history)
    known = {
        document["template"]
        for path, document in history["documents"].items()
        if "/releases/" in path
    }
    found = run_to_end(scenario)
    assert vars(found) == history["ends"], scenario.history()
    assert {name.partition("/")[2] for name in scenario.templates()} <= known, (
        "a template was created that no release names"
    )
    before = scenario.full_state()
    scenario.when_minutes_pass(7)
    assert scenario.state().requeue_at or scenario.full_state() == before, "the final state changed"
    assert vars(final_state(scenario)) == history["ends"], "the final state changed"
    assert scenario.unsent_messages() == ()


def written(scenario: Scenario) -> tuple[Any, ...]:
    """All documents and resources except the outbox, whose messages any version may send."""
    documents, resources, _ = scenario.full_state()
    return [
        document for document in documents if not document.path.startswith("outbox/")
    ], resources


def unknown_documents(document: dict[str, Any]) -> list[dict[str, Any]]:
    variants = [copy.deepcopy(document) for _ in range(7)]
    variants[0]["schema"] = SCHEMA + 1
    variants[1]["schema"] = str(SCHEMA)
    variants[2]["schema"] = None
    del variants[3]["schema"]
    variants[4]["rollout"]["phase"] = {"name": "shadowing", "since": None}
    variants[5]["stable"]["spec"]["machine"]["sole_tenant"] = True
    variants[6]["schema"] = SCHEMA - 1
    return variants


@pytest.mark.parametrize("which", range(7))
@pytest.mark.parametrize("name", ["rollout-step_2", "retiring"])
def test_unknown_documents_are_not_touched_and_the_message_is_retried(
    name: str, which: int, caplog: pytest.LogCaptureFixture
) -> None:
    """No write and no call to Compute Engine; each attempt is logged, and the message is
    redelivered, perhaps to a version that can read the document.
    """
    history = load(Path(__file__).parent / f"v{SCHEMA}" / f"{name}.json")
    history["documents"][NAME] = unknown_documents(history["documents"][NAME])[which]
    scenario = restore(history)
    before, calls = written(scenario), dict(scenario.emulator.calls.counts)
    events: tuple[Callable[[], None], ...] = (
        scenario.when_woken,
        lambda: scenario.when_released("9"),
        lambda: scenario.when_commanded("abort"),
    )
    for send in events:
        send()
        assert scenario.bus.next_due() is not None, "the message was acknowledged"
    with caplog.at_level(logging.WARNING, "slipway"), pytest.raises(UnknownSchema):
        reconcile(scenario.world, "tiny")
    lines = [
        getattr(record, "fields", {})
        for record in caplog.records
        if record.getMessage() == "reconcile failed"
    ]
    assert [(line["model"], "UnknownSchema" in line["why"]) for line in lines] == [
        ("tiny", True)
    ] * 2
    scenario.when_minutes_pass(11)  # ticks and drift scans continue for other models
    assert written(scenario) == before
    assert scenario.quarantine() == []
    untouched = {
        method: count
        for method, count in scenario.emulator.calls.counts.items()
        if not method.endswith(("List", ".list"))
    }
    assert untouched == {method: count for method, count in calls.items() if method in untouched}


def test_other_models_continue_beside_one_that_cannot_be_read() -> None:
    history = load(Path(__file__).parent / f"v{SCHEMA}" / "rollout-step_2.json")
    history["documents"][NAME]["schema"] = SCHEMA + 1
    scenario = restore(history)
    scenario.given_serving("1", "other", traffic={"path": "/other", "draining_seconds": 0})
    assert scenario.serving_version("other") == "1"


def test_a_changed_history_reaches_another_final_state() -> None:
    """Shows that the comparison can fail: without its template in the documents, the final state
    differs.
    """
    history = load(Path(__file__).parent / f"v{SCHEMA}" / "rollout-step_2.json")
    history["documents"][NAME]["desired"]["release"] = history["documents"][NAME]["stable"]
    history["documents"][NAME]["candidate"]["spec"]["artifact"]["image"] = "elsewhere/x:1"
    scenario: Scenario = restore(history)
    run_to_end(scenario)
    assert vars(final_state(scenario)) != history["ends"]
