"""A model's document and the log say what a rollout waits for."""

from __future__ import annotations

import logging
from itertools import pairwise

from tests.scenario import Scenario


def waiting_for(story: Scenario) -> str:
    document = story.store.get("models/tiny")
    assert document
    return str(document.data["waiting_for"])


def logged(records: list[logging.LogRecord]) -> list[str]:
    """What was logged as waited for, in order."""
    return [
        getattr(record, "fields", {})["waiting_for"]
        for record in records
        if record.getMessage() == "waiting"
    ]


def test_the_document_says_what_a_rollout_waits_for_until_it_is_settled() -> None:
    story = Scenario()
    story.given_serving("1")
    assert waiting_for(story) == ""
    story.when_released("2")
    story.when_phase_reached("step_2")
    assert "of release 2 are healthy" in waiting_for(story)
    story.when_phase_reached("baking")
    assert waiting_for(story).startswith("bakes until ")
    story.when_settled()
    assert waiting_for(story) == ""


def test_a_paused_rollout_waits_for_the_reason_of_its_pause() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2")
    story.when_phase_reached("step_2")
    story.when_commanded("pause", reason="on call is asleep")
    story.when_minutes_pass(1)
    assert waiting_for(story) == "paused on command: on call is asleep"


def test_a_reason_to_wait_is_logged_once_for_each_change(
    log_records: list[logging.LogRecord],
) -> None:
    story = Scenario()
    story.given_serving("1")
    log_records.clear()
    story.when_released("2")
    story.when_phase_reached("step_2")
    story.when_commanded("pause")
    story.when_minutes_pass(30)
    assert logged(log_records)[-1] == waiting_for(story) == "paused on command"
    assert logged(log_records).count("paused on command") == 1
    story.when_commanded("resume")
    story.when_settled()
    reasons = logged(log_records)
    assert all(reason and reason != following for reason, following in pairwise(reasons))
