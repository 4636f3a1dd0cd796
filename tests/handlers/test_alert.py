"""The intake of alerts: each model that names the policy has failed before the notification is
acknowledged, whatever happens to others.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from handlers import alert
from infra.bus.envelope import Message
from infra.store.documents import SCHEMA, UnknownSchema, from_document, to_document
from infra.store.port import Conflict, Put, Unavailable
from rollout.model import Desired, Rollout, Stepping
from rollout.state import ModelState
from tests.infra.test_alerts import NOTIFICATION
from tests.rollout.build import release
from tests.scenario import InterceptedStore, Scenario

ONE = release("1")
NAMING = release("2", rollout={"abort_on_alerts": [NOTIFICATION["incident"]["policy_name"]]})
OTHER = release("2", rollout={"abort_on_alerts": ["another"]})


def given_models(count: int) -> Scenario:
    """Every third model's release names the policy."""
    story = Scenario()
    begun = story.clock.now() - timedelta(minutes=1)
    for number in range(count):
        candidate = OTHER if number % 3 else NAMING
        rollout = Rollout(Stepping(0, begun), stable=ONE, candidate=candidate, begun_at=begun)
        state = ModelState(Desired(f"m-{number:04d}", candidate, 2), rollout)
        story.store.commit(Put(f"models/{state.desired.model}", to_document(state)))
    return story


def failed(story: Scenario, count: int) -> list[int]:
    documents = [story.store.get(f"models/m-{number:04d}") for number in range(count)]
    return [
        number
        for number, document in enumerate(documents)
        if document and document.data["schema"] == SCHEMA
        if from_document(document.data).rollout.failure
    ]


def when_alerted(story: Scenario) -> None:
    """One delivery; nothing that it publishes is delivered."""
    incident = NOTIFICATION["incident"] | {"started_at": int(story.clock.now().timestamp())}
    data = json.dumps(NOTIFICATION | {"incident": incident}).encode()
    alert.accept_alert(story.world, Message("1", data, {}, story.clock.now()))


def test_every_page_of_models_is_read() -> None:
    count = 2 * alert.PAGE + 1
    story = given_models(count)
    when_alerted(story)
    assert failed(story, count) == list(range(0, count, 3))


def test_a_document_of_another_schema_delays_only_itself() -> None:
    """It has the notification delivered again, until this Slipway can read it."""
    story = given_models(7)
    document = story.store.get("models/m-0003")
    assert document
    story.store.commit(Put(document.path, document.data | {"schema": SCHEMA + 1}))
    with pytest.raises(UnknownSchema):
        when_alerted(story)
    assert failed(story, 7) == [0, 6]
    story.store.commit(Put(document.path, document.data))
    when_alerted(story)
    assert failed(story, 7) == [0, 3, 6]


def test_a_model_that_cannot_be_saved_delays_only_itself_and_a_race_is_run_again() -> None:
    story = given_models(7)
    failures: list[Exception] = [Conflict("models/m-0000", "another writer"), Unavailable("no")]

    def fail_twice(commit: Callable[[], Any]) -> Any:
        if failures:
            raise failures.pop(0)
        return commit()

    story.world = story.new_worker(InterceptedStore(story.store, fail_twice))
    with pytest.raises(Unavailable):
        when_alerted(story)
    assert failed(story, 7) == [3, 6]
    when_alerted(story)
    assert failed(story, 7) == [0, 3, 6]
