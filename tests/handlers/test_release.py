"""The intake: a message is acknowledged only after it was saved, and redelivered otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from infra.store.documents import UnknownSchema
from infra.store.port import Put, Unavailable
from tests.scenario import InterceptedStore, Scenario


def test_a_release_that_could_not_be_saved_is_redelivered() -> None:
    story = Scenario()
    failures = ["no answer", "no answer"]

    def fail_twice(commit: Callable[[], Any]) -> Any:
        if failures:
            raise Unavailable(failures.pop())
        return commit()

    story.world = story.new_worker(InterceptedStore(story.store, fail_twice))
    story.when_released("1")
    assert story.store.get("models/tiny") is None
    story.when_minutes_pass(2)
    story.when_settled()
    assert story.serving_version() == "1"


@pytest.mark.parametrize("path", ["models/tiny", "models/tiny/releases/1"])
def test_a_message_that_meets_a_document_of_schema_1_is_redelivered_and_changes_nothing(
    path: str,
) -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_serving("2")
    errors: list[str] = []

    def record_errors(handle: Callable[[], None]) -> None:
        try:
            handle()
        except UnknownSchema as error:
            errors.append(str(error))
            raise

    document = story.store.get(path)
    assert document
    story.store.commit(Put(path, document.data | {"schema": 1}))
    story.run_handler = record_errors
    before = story.full_state()
    story.when_commanded("rollback", version="1")
    assert errors
    assert all(error.startswith(f"{path}: the document has schema 1, and") for error in errors)
    assert story.full_state() == before
    story.store.commit(Put(path, document.data))
    story.when_minutes_pass(2)
    story.when_settled()
    assert story.serving_version() == "1"
    assert story.quarantine() == []


def test_a_release_under_project_caps_is_redelivered_while_another_model_has_schema_1() -> None:
    """Its usage is unknown, and unknown usage must not count as none."""
    story = Scenario()
    story.given_serving("1", model="large")
    story.given_policy(max_project_instances=30)
    document = story.store.get("models/large")
    assert document
    story.store.commit(Put("models/large", document.data | {"schema": 1}))
    story.when_released("1")
    assert (story.store.get("models/tiny"), story.quarantine()) == (None, [])
    story.store.commit(Put("models/large", document.data))
    story.when_minutes_pass(2)
    story.when_settled()
    assert story.serving_version() == "1"
