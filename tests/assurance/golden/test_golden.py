"""What an older Slipway left in the middle of anything, this one brings to its end; what a newer
one left, it does not touch."""

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
from tests.assurance.golden.histories import carried_on, ending, files, read, resumed
from tests.assurance.golden.stories import MOMENTS
from tests.scenario import Scenario

NAME = "models/tiny"


def test_every_moment_of_the_present_schema_has_its_history() -> None:
    there = {file.stem for file in files() if file.parent.name == f"v{SCHEMA}"}
    assert set(MOMENTS) <= there, "run `make golden`"
    assert len(files()) >= 50


def test_every_phase_has_its_histories_and_so_has_each_thing_that_may_be_pending() -> None:
    """What the code can read, told by its types, is in the files of the present schema; a new phase
    without one is noticed."""
    documents = [
        read(file)["documents"].get(NAME) for file in files() if file.parent.name == f"v{SCHEMA}"
    ]
    there = [document for document in documents if document]
    phases = {re.sub("(?<!^)(?=[A-Z])", "_", kind.__name__).lower() for kind in get_args(Phase)}
    assert {document["rollout"]["phase"]["name"] for document in there} == phases
    assert {
        command["verb"] for document in there for command in document["desired"]["commands"]
    } == set(get_args(Verb))
    steps = {
        document["rollout"]["phase"]["step"]
        for document in there
        if document["rollout"]["phase"]["name"] == "stepping"
    }
    assert len(steps) >= 3
    for place in ("stable", "candidate", "previous", "claim", "requeue_at"):
        assert {bool(document[place]) for document in there} == {True, False}, place
    for thing in ("paused", "promoted", "failed", "progress", "last_observed_at"):
        assert any(document["rollout"][thing] for document in there), thing


@pytest.mark.parametrize("file", files(), ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_a_golden_history_is_carried_on_to_the_end_it_had(file: Path) -> None:
    history = read(file)
    story = resumed(history)
    known = {
        document["template"]
        for path, document in history["documents"].items()
        if "/releases/" in path
    }
    found = carried_on(story)
    assert vars(found) == history["ends"], story.story()
    assert {name.partition("/")[2] for name in story.templates()} <= known, (
        "a template was made that no release names"
    )
    before = story.everything_written()
    story.when_minutes_pass(7)
    assert story.state().requeue_at or story.everything_written() == before, (
        "it does not stay as it is"
    )
    assert vars(ending(story)) == history["ends"], "it does not stay as it is"
    assert story.leftovers() == ()


def written(story: Scenario) -> tuple[Any, ...]:
    """All there is but the messages to be sent, which anybody may send: they say nothing that has
    to be understood."""
    documents, resources, _ = story.everything_written()
    return [
        document for document in documents if not document.path.startswith("outbox/")
    ], resources


def from_a_newer_slipway(document: dict[str, Any]) -> list[dict[str, Any]]:
    strange = [copy.deepcopy(document) for _ in range(6)]
    strange[0]["schema"] = SCHEMA + 1
    strange[1]["schema"] = str(SCHEMA)
    strange[2]["schema"] = None
    del strange[3]["schema"]
    strange[4]["rollout"]["phase"] = {"name": "shadowing", "since": None}
    strange[5]["stable"]["spec"]["machine"]["sole_tenant"] = True
    return strange


@pytest.mark.parametrize("which", range(6))
@pytest.mark.parametrize("name", ["swapping-step_2", "retiring"])
def test_what_a_newer_slipway_wrote_is_not_touched_and_the_message_stays(
    name: str, which: int, caplog: pytest.LogCaptureFixture
) -> None:
    """No write, no call to Compute Engine, a line of the log for each try, and the message comes
    again: perhaps to a Slipway that can read it."""
    history = read(Path(__file__).parent / f"v{SCHEMA}" / f"{name}.json")
    history["documents"][NAME] = from_a_newer_slipway(history["documents"][NAME])[which]
    story = resumed(history)
    before, calls = written(story), dict(story.cloud.calls.counts)
    tells: tuple[Callable[[], None], ...] = (
        story.when_woken,
        lambda: story.when_released("9"),
        lambda: story.when_commanded("abort"),
    )
    for tell in tells:
        tell()
        assert story.bus.next_due() is not None, "the message was acknowledged"
    with caplog.at_level(logging.WARNING, "slipway"), pytest.raises(UnknownSchema):
        reconcile(story.world, "tiny")
    lines = [
        getattr(record, "fields", {})
        for record in caplog.records
        if record.getMessage() == "turn broken off"
    ]
    assert [(line["model"], "UnknownSchema" in line["why"]) for line in lines] == [
        ("tiny", True)
    ] * 2
    story.when_minutes_pass(11)  # ticks and surveys go on for the others
    assert written(story) == before
    assert story.quarantine() == []
    untouched = {
        method: count
        for method, count in story.cloud.calls.counts.items()
        if not method.endswith(("List", ".list"))
    }
    assert untouched == {method: count for method, count in calls.items() if method in untouched}


def test_the_other_models_go_on_beside_one_that_cannot_be_read() -> None:
    history = read(Path(__file__).parent / f"v{SCHEMA}" / "swapping-step_2.json")
    history["documents"][NAME]["schema"] = SCHEMA + 1
    story = resumed(history)
    story.given_serving("1", "other", traffic={"path": "/other", "draining_seconds": 0})
    assert story.serving_version("other") == "1"


def test_a_history_tells_what_is_wrong_when_it_ends_otherwise() -> None:
    """A test that cannot fail shows nothing: with its template gone from the documents, the end is
    another one."""
    history = read(Path(__file__).parent / f"v{SCHEMA}" / "swapping-step_2.json")
    history["documents"][NAME]["desired"]["release"] = history["documents"][NAME]["stable"]
    history["documents"][NAME]["candidate"]["spec"]["artifact"]["image"] = "elsewhere/x:1"
    story: Scenario = resumed(history)
    carried_on(story)
    assert vars(ending(story)) != history["ends"]
