"""What a project may use is added up in a ledger, which never says less than the models use."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from handlers import admission
from handlers.admission import ADMISSION
from infra.settings import POLICY, load_project_policy
from infra.store import ledger, repository
from infra.store.documents import from_document, to_document
from infra.store.port import Delete, Document, Put
from rollout.policy.prices import Prices
from rollout.policy.usage import Usage, live_releases, max_usage
from rollout.state import ModelState
from tests.handlers.test_drift_scan import Recording
from tests.scenario import Scenario

CAP = 60
MODELS = ("a", "b", "c", "d", "e")


class CountingStore:
    """The store of a scenario; counts how many documents of models are listed."""

    def __init__(self, store: Any) -> None:
        self.listed = 0
        self._store = store
        self.get, self.get_many = store.get, store.get_many
        self.commit, self.list_newest = store.commit, store.list_newest
        self.list_due, self.count_due = store.list_due, store.count_due

    def list(
        self, collection: str, limit: int, after: str | None = None, fields: Sequence[str] = ()
    ) -> tuple[Document, ...]:
        found: tuple[Document, ...] = self._store.list(collection, limit, after, fields)
        self.listed += len(found) if collection == "models" else 0
        return found


def given_intake(**policy: Any) -> tuple[Scenario, CountingStore]:
    """Releases are accepted, and no pass runs."""
    story = Scenario()
    story.given_policy(**policy)
    store = CountingStore(story.store)
    story.world = story.new_worker(store, Recording())
    return story, store


def state_of(story: Scenario, model: str) -> ModelState | None:
    document = story.store.get(repository.model_path(model))
    return from_document(document.data) if document else None


def given_ended(story: Scenario, model: str, *, is_retired: bool = False) -> None:
    """The newest release serves, or nothing does."""
    state = state_of(story, model)
    if state is not None:
        release = None if is_retired else state.desired.release
        rollout = replace(state.rollout, stable=release, candidate=None, previous=None)
        ended = replace(state, rollout=rollout, desired=replace(state.desired, release=release))
        story.store.commit(Put(repository.model_path(model), to_document(ended)))


def used(story: Scenario, model: str) -> int:
    state = state_of(story, model)
    specs = [each.spec for each in live_releases(state.rollout, state.desired)] if state else []
    return max_usage(Prices(), specs).instances


def entries(story: Scenario) -> dict[str, int] | None:
    """The ledger's, if it counts."""
    document, policy = story.store.get(ADMISSION), story.settings.get(POLICY)
    if document is None or policy is None:
        return None
    basis = ledger.basis_of(policy.version, Prices())
    found = ledger.read_ledger(document.data, basis, story.clock.now())
    return {name: each.instances for name, each in found.usage.items()} if found else None


def test_a_release_beside_others_reads_none_of_them() -> None:
    story, store = given_intake(max_project_instances=CAP)
    for model in MODELS:
        story.when_released("1", model, scaling={"max": 3})
    assert entries(story) == dict.fromkeys(MODELS, 6)
    store.listed = 0
    story.when_released("2", "a", scaling={"max": 4})
    assert store.listed == 0
    assert entries(story) == dict.fromkeys(MODELS, 6) | {"a": 7}


def test_before_a_refusal_the_models_themselves_are_read() -> None:
    story, store = given_intake(max_project_instances=CAP)
    story.when_released("1", "a", scaling={"max": 40})
    given_ended(story, "a", is_retired=True)
    story.when_released("1", "b", scaling={"max": 40})
    assert story.quarantine() == []
    assert entries(story) == {"b": 43}
    store.listed = 0
    story.when_released("1", "c", scaling={"max": 40})
    assert "got 86, of which other models may use 43" in story.quarantine()[0]["why"]
    assert store.listed > 0
    story.when_released("1", "d", scaling={"max": 3})
    assert entries(story) == {"b": 43, "d": 6}


@pytest.mark.parametrize(
    "change", ["caps off and on", "an older Slipway", "garbled", "old", "lost"]
)
def test_a_ledger_that_may_lack_something_is_counted_anew(change: str) -> None:
    story, _ = given_intake(max_project_instances=CAP)
    story.when_released("1", "a", scaling={"max": 30})
    document = story.store.get(ADMISSION)
    assert document
    story.given_policy()
    story.when_released("1", "b", scaling={"max": 20})
    story.given_policy(max_project_instances=CAP)
    kept = {name: document.data[name] for name in ("model", "generation", "event_id")}
    policy = story.settings.get(POLICY)
    assert policy
    stale = document.data | {"basis": ledger.basis_of(policy.version, Prices())}
    if change == "an older Slipway":
        story.store.commit(Put(ADMISSION, kept))
    if change == "garbled":
        story.store.commit(Put(ADMISSION, stale | {"usage": "?"}))
    if change == "lost":
        story.store.commit(Delete(ADMISSION))
    if change == "old":
        story.store.commit(Put(ADMISSION, stale))
        story.clock.sleep(ledger.VALID.total_seconds() + 1)
    story.when_released("1", "c", scaling={"max": 3})
    assert "got 62, of which other models may use 56" in story.quarantine()[0]["why"]


def test_a_model_whose_document_is_deleted_by_hand_gives_its_capacity_back() -> None:
    story, _ = given_intake(max_project_instances=CAP)
    story.when_released("1", "a", scaling={"max": 40})
    story.store.commit(Delete(repository.model_path("a")))
    story.when_released("1", "b", scaling={"max": 40})
    assert story.quarantine() == []
    assert entries(story) == {"b": 43}


@pytest.mark.parametrize("has_ledger", [False, True])
@pytest.mark.parametrize("policy", [{"max_instances": 30}, {}], ids=["own cap", "project's cap"])
def test_a_release_that_is_refused_writes_nothing_that_others_contend_for(
    has_ledger: bool, policy: dict[str, Any]
) -> None:
    story, _ = given_intake(max_project_instances=CAP, **policy)
    if has_ledger:
        story.when_released("1", "a", scaling={"max": 3})
    before = story.store.get(ADMISSION)
    story.when_released("1", "b", scaling={"max": 90})
    assert len(story.quarantine()) == 1
    assert story.store.get(ADMISSION) == before


def test_a_pass_records_what_was_accepted_without_the_ledger() -> None:
    story, store = given_intake(max_project_instances=CAP)
    story.when_released("1", "a", scaling={"max": 30})
    found = story.store.get(ADMISSION)
    assert found
    story.when_released("1", "b", scaling={"max": 20})
    story.store.commit(Put(ADMISSION, found.data))  # as if b came by a policy without caps
    state = state_of(story, "b")
    assert state
    assert state.desired.release
    begun = replace(state, rollout=replace(state.rollout, candidate=state.desired.release))
    both = story.world.store
    policy = load_project_policy(both, both.get_many([POLICY]), "")
    assert admission.candidate_violations(story.world, policy, begun) == ()
    assert entries(story) == {"a": 33, "b": 23}
    store.listed = 0
    assert admission.candidate_violations(story.world, policy, begun) == ()
    assert store.listed == 0


@pytest.mark.parametrize("seed", range(3))
def test_whatever_comes_the_cap_holds_and_no_entry_is_too_small(seed: int) -> None:
    chosen = random.Random(seed)
    story, _ = given_intake(max_project_instances=CAP)
    for number in range(60):
        model = chosen.choice(MODELS)
        match chosen.randrange(8):
            case 0:
                given_ended(story, model, is_retired=True)
            case 1 | 2:
                given_ended(story, model)
            case 3:
                story.given_policy(max_project_instances=CAP, max_instances=50 + number)
            case _:
                strategy = chosen.choice(("rolling", "blue_green"))
                rollout = (
                    {"strategy": strategy}
                    if strategy == "rolling"
                    else {"strategy": strategy, "steps": [{"weight": 100}]}
                )
                scaling = {"max": chosen.randint(3, 15)}
                story.when_released(str(number), model, scaling=scaling, rollout=rollout)
        if (present := entries(story)) is not None:
            assert all(present.get(each, 0) >= used(story, each) for each in MODELS)
        assert sum(used(story, each) for each in MODELS) <= CAP
    assert story.quarantine()


def test_an_entry_may_have_a_cost_without_a_price() -> None:
    unknown = Usage(1, 0, float("inf"))
    at = Scenario().clock.now()
    written = ledger.to_fields(ledger.Ledger("basis", at, {"tiny": unknown}))
    found = ledger.read_ledger(written, "basis", at)
    assert found
    assert found.others("large") == unknown
    assert found.covers("tiny", unknown)
    assert not found.covers("large", Usage(1))


@pytest.mark.parametrize("entry", ['["x",1,1]', "[-5,0,0]", "[NaN,0,0]", '["","",""]', "7"])
def test_a_ledger_with_an_entry_that_is_no_usage_does_not_count(entry: str) -> None:
    at = Scenario().clock.now()
    written = ledger.to_fields(ledger.Ledger("basis", at, {}))
    assert ledger.read_ledger(written, "basis", at)
    edited = written | {"usage": f'{{"tiny":{entry}}}'}
    assert ledger.read_ledger(edited, "basis", at) is None
