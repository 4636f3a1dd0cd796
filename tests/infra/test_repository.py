"""The records of releases: what later attempts add, and what they never take away."""

from __future__ import annotations

from dataclasses import replace

from infra.store import repository
from infra.store.port import Put
from infra.store.sqlite import SqliteStore
from rollout.model import Outcome, Transition
from tests.rollout.build import NOON, at, release

ONE = release("1")


def end(outcome: Outcome) -> Transition:
    return Transition("1", "step_1", outcome, f"it {outcome}", outcome=outcome)


def test_each_end_of_a_release_is_appended_to_its_record_even_two_in_one_commit() -> None:
    store = SqliteStore(":memory:")
    store.commit(*repository.record_outcomes(store, "tiny", [ONE], [end("succeeded")], NOON))
    ended = [end("aborted"), end("retired")]
    writes = repository.record_outcomes(store, "tiny", [ONE], ended, at(9))
    assert [write.path for write in writes] == ["models/tiny/releases/1"]
    store.commit(*writes)
    record = store.get("models/tiny/releases/1")
    assert record
    outcomes = [attempt["outcome"] for attempt in record.data["attempts"]]
    assert (outcomes, record.data["outcome"]) == (["succeeded", "aborted", "retired"], "retired")
    assert record.data["baked_at"] == NOON
    accepted = repository.accept_release(store, "tiny", replace(ONE, force=True))
    assert isinstance(accepted, Put)
    assert accepted.data["baked_at"] == NOON
