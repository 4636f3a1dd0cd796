"""A model's state as the document that the store keeps: what is written is read back equal, and
what is not known is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from infra.store.documents import (
    UnknownSchema,
    from_document,
    release_from_document,
    release_to_document,
    to_document,
)
from rollout.model import (
    Baking,
    Command,
    Condition,
    Desired,
    Pause,
    Phase,
    Progress,
    Retiring,
    RollingBack,
    Rollout,
    Settled,
    Stepping,
)
from rollout.spec.model import dump
from rollout.state import Lease, ModelState
from tests.rollout.build import NOON, at, release

ONE, TWO, THREE = (
    release("1"),
    release("2"),
    replace(release("3"), asked="abc", requested_by="ann", reason="why not", force=True),
)
PHASES: dict[str, Phase] = {
    "settled": Settled(),
    "stepping": Stepping(2, at(1)),
    "baking": Baking(at(2)),
    "rolling_back": RollingBack("rolled_back", "unhealthy", "it was sick", at(3)),
    "retiring": Retiring(at(4), "retired by ann"),
}
FULL = ModelState(
    desired=Desired(
        "tiny", THREE, 7, (Command("rollback", "event-9", at(5), "1", ONE, "bob", "slow"),), at(6)
    ),
    rollout=Rollout(
        phase=PHASES["stepping"],
        stable=TWO,
        candidate=THREE,
        previous=ONE,
        steps_digest="0123456789ab",
        progress=Progress(3, at(7), 2, at(8)),
        paused=Pause("paused by ann", at(9), True),
        promoted=True,
        last_observed_at=at(10),
        failed_digests=("d1", "d2"),
    ),
    conditions=(Condition("Paused", "paused by ann", at(9)),),
    outputs={"group": "https://example.com/group"},
    lease=Lease("token", at(11)),
    requeue_at=at(12),
    revision=41,
    seen=("event-1", "event-2"),
)


def stored(of: Any) -> dict[str, Any]:
    """What a release looks like in a document, field by field."""
    return {
        "version": of.version,
        "digest": of.digest,
        "template": of.template,
        "spec": dump(of.spec),
        "generation": of.generation,
        "released_at": of.released_at,
        "event_id": of.event_id,
        "asked": of.asked,
        "requested_by": of.requested_by,
        "reason": of.reason,
        "force": of.force,
    }


def test_the_document_of_a_model_has_the_fields_that_other_slipways_read() -> None:
    assert to_document(FULL) == {
        "schema": 1,
        "model": "tiny",
        "revision": 41,
        "desired": {
            "release": stored(THREE),
            "generation": 7,
            "commands": [
                {
                    "verb": "rollback",
                    "event_id": "event-9",
                    "given_at": at(5),
                    "version": "1",
                    "release": stored(ONE),
                    "requested_by": "bob",
                    "reason": "slow",
                }
            ],
            "latest": at(6),
        },
        "stable": stored(TWO),
        "candidate": stored(THREE),
        "previous": stored(ONE),
        "rollout": {
            "phase": {"name": "stepping", "step": 2, "since": at(1)},
            "ladder": "0123456789ab",
            "progress": {"healthy": 3, "at": at(7), "flaps": 2, "degraded_since": at(8)},
            "paused": {"why": "paused by ann", "since": at(9), "after_failure": True},
            "promoted": True,
            "last_observed_at": at(10),
            "failed": ["d1", "d2"],
        },
        "conditions": [{"type": "Paused", "why": "paused by ann", "since": at(9)}],
        "outputs": {"group": "https://example.com/group"},
        "claim": {"token": "token", "expires": at(11)},
        "requeue_at": at(12),
        "seen": ["event-1", "event-2"],
    }


def test_a_model_of_which_nothing_is_known_has_a_document_as_well() -> None:
    document = to_document(ModelState(Desired("tiny")))
    assert from_document(document) == ModelState(Desired("tiny"))
    empty = {name for name, value in document.items() if value is None}
    assert empty == {"stable", "candidate", "previous", "claim", "requeue_at"}
    assert document["desired"] == {"release": None, "generation": 0, "commands": [], "latest": None}
    assert (document["rollout"]["progress"], document["rollout"]["paused"]) == (None, None)


@pytest.mark.parametrize("name", PHASES)
def test_what_is_written_is_read_back_equal_in_every_phase(name: str) -> None:
    state = replace(FULL, rollout=replace(FULL.rollout, phase=PHASES[name]))
    document = to_document(state)
    assert document["rollout"]["phase"]["name"] == name
    assert from_document(document) == state


def test_each_part_of_a_phase_is_stored_under_its_name() -> None:
    stored_phases = [
        to_document(ModelState(Desired("tiny"), Rollout(phase)))["rollout"]["phase"]
        for phase in PHASES.values()
    ]
    assert stored_phases == [
        {"name": "settled"},
        {"name": "stepping", "step": 2, "since": at(1)},
        {"name": "baking", "since": at(2)},
        {
            "name": "rolling_back",
            "outcome": "rolled_back",
            "reason": "unhealthy",
            "why": "it was sick",
            "since": at(3),
        },
        {"name": "retiring", "since": at(4), "why": "retired by ann"},
    ]


@pytest.mark.parametrize("place", ["stable", "candidate", "previous"])
def test_a_release_in_one_place_alone_is_read_there_and_nowhere_else(place: str) -> None:
    places: dict[str, Any] = {place: TWO}
    state = ModelState(Desired("tiny"), Rollout(**places))
    assert from_document(to_document(state)) == state


def test_one_release_in_several_places_is_read_once() -> None:
    state = ModelState(Desired("tiny", TWO), Rollout(stable=TWO, candidate=THREE, previous=ONE))
    found = from_document(json.loads(json.dumps(to_document(state), default=str)))
    assert found.desired.release is found.rollout.stable
    assert found.rollout.candidate != found.rollout.stable != found.rollout.previous


def test_writing_shares_nothing_with_what_was_written() -> None:
    document = to_document(FULL)
    document["rollout"]["progress"]["healthy"] = 99
    document["rollout"]["paused"]["why"] = "changed"
    document["claim"]["token"] = "another's"
    document["conditions"][0]["why"] = "changed"
    document["outputs"]["group"] = "changed"
    document["stable"]["version"] = "99"
    document["desired"]["commands"][0]["reason"] = "changed"
    assert from_document(to_document(FULL)) == FULL
    assert FULL.rollout.progress == Progress(3, at(7), 2, at(8))
    assert FULL.outputs == {"group": "https://example.com/group"}


@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_a_document_of_another_schema_is_refused_with_its_model_and_its_schema(
    schema: object,
) -> None:
    with pytest.raises(UnknownSchema) as refused:
        from_document(to_document(FULL) | {"schema": schema})
    assert str(refused.value) == f"model document 'tiny' has schema {schema!r}, not 1"


def test_a_document_that_says_no_schema_is_refused_too() -> None:
    with pytest.raises(UnknownSchema, match="model document None has schema None, not 1"):
        from_document({})


def test_a_phase_that_is_not_known_is_refused_by_its_name() -> None:
    document = to_document(FULL)
    document["rollout"]["phase"] = {"name": "shadowing", "since": NOON}
    with pytest.raises(UnknownSchema) as refused:
        from_document(document)
    assert str(refused.value) == "a rollout phase called 'shadowing' is not known here"


def test_a_release_has_its_own_document_and_is_read_back_from_one_with_more_in_it() -> None:
    document = release_to_document(THREE)
    assert document == stored(THREE)
    assert release_from_document(document | {"outcome": "succeeded", "model": "tiny"}) == THREE


def test_a_release_written_before_a_field_was_there_has_its_default() -> None:
    document = release_to_document(ONE)
    del document["asked"], document["force"]
    assert release_from_document(document) == ONE


def test_a_release_whose_spec_cannot_be_read_is_another_slipways_and_no_fault_of_a_message() -> (
    None
):
    document = release_to_document(TWO)
    document["spec"] = document["spec"] | {"scaling": {"max": "lots"}}
    with pytest.raises(UnknownSchema) as refused:
        release_from_document(document)
    assert (
        str(refused.value)
        == "release '2' on record has a spec that is not known here: scaling.max: must be an"
        ' integer from 1 to 2000, got "lots"'
    )
