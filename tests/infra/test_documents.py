"""A model's state as a stored document: what is written is read back equal, and what this Slipway
does not know is refused.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from console.views import status_view
from infra.store.documents import (
    SCHEMA,
    SUMMARY_FIELDS,
    Summary,
    UnknownSchema,
    from_document,
    intent_from_document,
    intent_to_document,
    read_summary,
    release_from_document,
    release_from_record,
    release_to_document,
    release_to_record,
    to_document,
)
from infra.store.live import LIVE_FIELDS, read_live
from infra.store.port import value_at, with_fields
from infra.store.settled import SETTLED_FIELDS, is_settled, read_settled
from rollout.counts import Counts, ReleaseCount
from rollout.course import Course, PhaseStart, PhaseTime, Prediction
from rollout.gates.burn import History
from rollout.gates.record import GateRecord
from rollout.gates.statistics import Dispersion, Tally
from rollout.model import (
    Baking,
    Bounds,
    CapacityLease,
    Condition,
    Demand,
    Desired,
    Intent,
    Kept,
    LatchedFailure,
    Loan,
    Moved,
    Observed,
    Pause,
    Phase,
    Progress,
    Release,
    Retiring,
    RollingBack,
    Rollout,
    Settled,
    Stepping,
)
from rollout.policy.usage import live_releases
from rollout.spec.model import dump
from rollout.state import Hold, Lease, ModelState, Verified
from rollout.targets import target_of
from tests.assurance.golden.histories import list_files, load
from tests.rollout.build import NOON, at, release

ONE, TWO, THREE = (
    release("1"),
    release("2"),
    replace(
        release("3"),
        patch_digest="abc",
        requested_by="ann",
        reason="why not",
        force=True,
        sent_at=NOON,
        inherits_from="2",
        plan="0a1b2c3d",
        is_restored=True,
        not_inherited="rollout.steps",
    ),
)
PHASES: dict[str, Phase] = {
    "settled": Settled(),
    "stepping": Stepping(2, at(1), 50, at(6), 2, True, "ann", at(9)),
    "baking": Baking(at(2), routed_since=at(6)),
    "rolling_back": RollingBack(
        "rolled_back",
        "unhealthy",
        "it was unhealthy",
        at(3),
        5,
        at(5),
        True,
        "no progress",
        is_drained=False,
        routed_since=at(6),
        weight=500,
    ),
    "retiring": Retiring(at(4), "retired by ann", is_drained=False, routed_since=at(6)),
}
EMPTIER = (
    ModelState(Desired("tiny")),
    ModelState(Desired("tiny", ONE, 1), Rollout(stable=ONE)),
    ModelState(Desired("tiny", TWO, 2, paused="by ann"), Rollout(stable=ONE)),
)
KEPT = Kept(ONE, "blue", at(2), at(15))
FULL = ModelState(
    desired=Desired(
        "tiny",
        THREE,
        7,
        "paused by bob",
        True,
        (
            Intent(
                "rollback",
                "event-9",
                at(5),
                at(6),
                "1",
                7,
                ONE,
                6,
                "bob",
                "slow",
                "9",
                True,
                "model-approvals",
            ),
        ),
    ),
    rollout=Rollout(
        phase=PHASES["stepping"],
        stable=TWO,
        candidate=THREE,
        previous=ONE,
        steps_digest="0123456789ab",
        begun_at=at(0),
        progress=Progress(
            3, at(7), at(8), "preempted", 3, 4, "healthy@1767268800:x7k2", "1767268800", 4
        ),
        paused=Pause("paused by ann", at(9), True),
        promoted=True,
        last_observed_at=at(10),
        watched_since=at(11),
        failed_digests=("d1", "d2"),
        last_failed="3",
        serving_group="green",
        stable_kept=4,
        kept=KEPT,
        route_edits=1,
        capacity="wait",
        capacity_lease=CapacityLease(
            at(1), at(61), (Loan("blue", "us-central1", Bounds(1, 5), 3),)
        ),
        demand=Demand(8, 42.5),
        gates=(
            GateRecord(
                "http_errors",
                "fail",
                "http_errors: 37 of 1,500",
                at(3),
                "lb_requests_total",
                2,
                at(4),
                at(5),
                573.7,
                100.0,
                Tally(3, 45, 4500, 37, 1500, (1.0,) * 6, (2.0,) * 6, (3.0,) * 6),
                Dispersion(1.5, 2, 3, 82, 37, 12.5, 119, 4800),
                1,
                2,
                (0.5, 1.0),
                (90.0, 95.0),
                (80.0, 85.0),
                "slower than 0.5 s are 20.0% against 10.0%",
                History(20, 45, 4500, 101.25),
                at(2),
                ((37.0, 1500.0), (2.0, 1400.0)),
                "pass",
                at(3),
            ),
        ),
        failure=LatchedFailure("gate", "http_errors: 37 of 1,500", at(3)),
        starting_since=at(3),
        step_seconds=75,
        moved=(Moved(ONE, at(15), is_leaving=True),),
    ),
    conditions=(Condition("Paused", "paused by ann", at(9)),),
    outputs={"group": "https://example.com/group"},
    lease=Lease("token", at(11)),
    requeue_at=at(12),
    revision=41,
    recent_events=("event-1", "event-2"),
    hold=Hold("restored", at(13), 50, True, "2", "ann"),
    waiting_for="paused by ann",
    seconds_to_roll_back=180,
    counts=Counts(at(8), (ReleaseCount("1", 2, 3, 3, 950), ReleaseCount("2", 1, 1, 1, 50))),
    course=Course(
        7,
        (PhaseStart("step_1", at(0)),),
        Prediction((PhaseTime("step_1", 60),), 7, 14, 3.5, 6, 180, 0.5, None, "USD"),
        6,
        12,
        3.0,
        5,
        170,
    ),
    wakeups=17,
    verified=Verified(at(14), "0123456789abcdef"),
)
OTHER_SCHEMA = (
    "{path}: the document has schema {schema!r}, and this Slipway reads schema 3 alone; deploy the"
    " version that wrote it, or retire its models with that version first"
)


def stored(of: Release) -> dict[str, Any]:
    """A release in a document, field by field."""
    return {
        "version": of.version,
        "digest": of.digest,
        "template": of.template,
        "spec": dump(of.spec),
        "generation": of.generation,
        "released_at": of.released_at,
        "event_id": of.event_id,
        "patch_digest": of.patch_digest,
        "requested_by": of.requested_by,
        "sent_at": of.sent_at,
        "own_id": of.own_id,
        "inherits_from": of.inherits_from,
        "plan": of.plan,
        "not_inherited": of.not_inherited,
        "is_restored": of.is_restored,
        "reason": of.reason,
        "force": of.force,
    }


# ---- Models


def test_the_document_of_a_model_has_the_fields_of_schema_3() -> None:
    assert to_document(FULL) == {
        "schema": 3,
        "model": "tiny",
        "revision": 41,
        "desired": {
            "release": stored(THREE),
            "generation": 7,
            "paused": "paused by bob",
            "promoted": True,
            "line": [
                {
                    "verb": "rollback",
                    "event_id": "event-9",
                    "published_at": at(5),
                    "sent_at": at(6),
                    "version": "1",
                    "generation": 7,
                    "goal": stored(ONE),
                    "target": 6,
                    "requested_by": "bob",
                    "reason": "slow",
                    "own_id": "9",
                    "is_full": True,
                    "approver": "model-approvals",
                }
            ],
        },
        "stable": stored(TWO),
        "candidate": stored(THREE),
        "previous": stored(ONE),
        "rollout": {
            "phase": {
                "name": "stepping",
                "step": 2,
                "since": at(1),
                "weight": 50,
                "routed_since": at(6),
                "granted": 2,
                "is_promoted": True,
                "approved_by": "ann",
                "unmeasured_since": at(9),
            },
            "serving_group": "green",
            "stable_kept": 4,
            "kept": {
                "release": stored(ONE),
                "colour": "blue",
                "since": at(2),
                "until": at(15),
                "is_leaving": False,
            },
            "route_edits": 1,
            "capacity": "wait",
            "demand": {"instances": 8, "requests_per_second": 42.5},
            "gates": [
                {
                    "gate": "http_errors",
                    "verdict": "fail",
                    "why": "http_errors: 37 of 1,500",
                    "since": at(3),
                    "query": "lb_requests_total",
                    "step": 2,
                    "evaluated_until": at(4),
                    "lacking_since": at(5),
                    "evidence": 573.7,
                    "threshold": 100.0,
                    "tally": {
                        "windows": 3,
                        "baseline_bad": 45,
                        "baseline_total": 4500,
                        "candidate_bad": 37,
                        "candidate_total": 1500,
                        "against": [1.0] * 6,
                        "in_favour": [2.0] * 6,
                        "since": [3.0] * 6,
                    },
                    "dispersion": {
                        "chi_squared": 1.5,
                        "degrees": 2,
                        "windows": 3,
                        "bad": 82,
                        "candidate_bad": 37,
                        "squares": 12.5,
                        "total_bad": 119,
                        "total_squares": 4800,
                    },
                    "beyond": 1,
                    "failures": 2,
                    "edges": [0.5, 1.0],
                    "baseline_below": [90.0, 95.0],
                    "candidate_below": [80.0, 85.0],
                    "second_opinion": "slower than 0.5 s are 20.0% against 10.0%",
                    "history": {"windows": 20, "bad": 45, "total": 4500, "squares": 101.25},
                    "full_since": at(2),
                    "recent": [37.0, 1500.0, 2.0, 1400.0],
                    "logged": "pass",
                    "logged_at": at(3),
                }
            ],
            "failure": {"reason": "gate", "why": "http_errors: 37 of 1,500", "since": at(3)},
            "starting_since": at(3),
            "step_seconds": 75,
            "moved": [{"release": stored(ONE), "since": at(15), "is_leaving": True}],
            "steps_digest": "0123456789ab",
            "begun_at": at(0),
            "progress": {
                "healthy": 3,
                "improved_at": at(7),
                "halted_since": at(8),
                "halted_by": "preempted",
                "initial_size": 3,
                "size": 4,
                "clocks": "healthy@1767268800:x7k2",
                "flaps": "1767268800",
                "needed": 4,
            },
            "paused": {"why": "paused by ann", "since": at(9), "after_failure": True},
            "promoted": True,
            "last_observed_at": at(10),
            "failed_digests": ["d1", "d2"],
            "last_failed": "3",
            "watched_since": at(11),
        },
        "capacity_lease": {
            "since": at(1),
            "expires_at": at(61),
            "loans": [
                {
                    "colour": "blue",
                    "region": "us-central1",
                    "bounds": {"min": 1, "max": 5, "may_scale_in": True},
                    "size": 3,
                }
            ],
        },
        "waiting_for": "paused by ann",
        "seconds_to_roll_back": 180,
        "counts": {
            "at": at(8),
            "releases": [
                {"release": "1", "healthy": 2, "all": 3, "needed": 3, "per_mille": 950},
                {"release": "2", "healthy": 1, "all": 1, "needed": 1, "per_mille": 50},
            ],
        },
        "course": {
            "generation": 7,
            "begun": [{"phase": "step_1", "at": at(0)}],
            "predicted": {
                "phases": [{"phase": "step_1", "seconds": 60}],
                "instances": 7,
                "accelerators": 14,
                "cost": 3.5,
                "lowest": 6,
                "seconds_to_roll_back": 180,
                "stable_cost": 0.5,
                "candidate_cost": None,
                "currency": "USD",
            },
            "instances": 6,
            "accelerators": 12,
            "cost": 3.0,
            "lowest": 5,
            "seconds_to_roll_back": 170,
        },
        "conditions": [{"type": "Paused", "why": "paused by ann", "since": at(9)}],
        "outputs": {"group": "https://example.com/group"},
        "lease": {"token": "token", "expires": at(11)},
        "requeue_at": at(12),
        "is_routine": True,
        "recent_events": ["event-1", "event-2"],
        "hold": {
            "why": "restored",
            "since": at(13),
            "revision": 50,
            "is_resumed": True,
            "version": "2",
            "resumed_by": "ann",
        },
        "wakeups": 17,
        "verified": {"at": at(14), "target": "0123456789abcdef"},
    }


def test_a_promotion_of_an_earlier_slipway_was_a_full_one() -> None:
    promoted = intent_to_document(Intent("promote", "event-9", at(5), at(6), is_full=True))
    del promoted["is_full"], promoted["approver"]
    assert intent_from_document(promoted).is_full
    assert not intent_from_document(promoted | {"verb": "pause"}).is_full


def test_a_document_of_an_earlier_slipway_has_no_counts_and_no_course() -> None:
    document = to_document(FULL)
    del document["counts"], document["course"]
    assert from_document(document) == replace(FULL, counts=None, course=None)


def test_an_empty_model_has_a_document_too() -> None:
    document = to_document(ModelState(Desired("tiny")))
    assert from_document(document) == ModelState(Desired("tiny"))
    empty = {name for name, value in document.items() if value is None}
    assert empty == {
        "stable",
        "candidate",
        "previous",
        "capacity_lease",
        "lease",
        "requeue_at",
        "hold",
        "verified",
        "seconds_to_roll_back",
        "counts",
        "course",
    }
    assert document["desired"] == {
        "release": None,
        "generation": 0,
        "paused": "",
        "promoted": False,
        "line": [],
    }
    assert (document["rollout"]["progress"], document["rollout"]["paused"]) == (None, None)
    assert document["rollout"]["serving_group"] is None


@pytest.mark.parametrize("name", PHASES)
def test_a_state_is_read_back_equal_in_every_phase(name: str) -> None:
    state = replace(FULL, rollout=replace(FULL.rollout, phase=PHASES[name]))
    document = to_document(state)
    assert document["rollout"]["phase"]["name"] == name
    assert from_document(document) == state


@pytest.mark.parametrize("name", PHASES)
def test_a_summary_says_what_the_state_says(name: str) -> None:
    states = [replace(FULL, rollout=replace(FULL.rollout, phase=PHASES[name])), *EMPTIER]
    for state in states:
        document = to_document(state)
        found = read_summary(
            with_fields((each, value_at(document, each)) for each in SUMMARY_FIELDS)
        )
        view = status_view(state)
        assert found == Summary(
            model=view.model,
            stable=view.stable,
            candidate=view.candidate,
            desired=view.desired,
            phase=view.phase,
            on_hold=view.on_hold,
            paused=view.paused,
            warning=view.conditions[0].why if view.conditions else "",
            waiting_for=view.waiting_for,
            last_failed=view.last_failed,
        )


@pytest.mark.parametrize("name", PHASES)
def test_a_settled_model_has_the_same_target_by_fewer_fields(name: str) -> None:
    stable = FULL.rollout.stable
    settled = replace(FULL.rollout, phase=PHASES[name], candidate=None)
    desired = replace(FULL.desired, release=stable)
    states = [
        replace(FULL, rollout=settled, desired=desired, requeue_at=None),
        replace(FULL, rollout=settled, requeue_at=None),
        *(replace(each, requeue_at=None) for each in EMPTIER),
    ]
    for state in states:
        document = to_document(state)
        data = with_fields((each, value_at(document, each)) for each in SETTLED_FIELDS)
        assert is_settled(data) == isinstance(state.rollout.phase, Settled)
        found = read_settled(data)
        if not is_settled(data):
            continue
        if found is None:
            assert state.desired.release != state.rollout.stable
            continue
        target, whole = (
            target_of(each.rollout, each.desired, Observed()) for each in (found.state, state)
        )
        kept = target.kept_templates | (found.templates if target.groups else set())
        assert replace(target, kept_templates=kept) == whole
        for field in ("conditions", "revision", "hold"):
            assert getattr(found.state, field) == getattr(state, field)


@pytest.mark.parametrize("state", [FULL, *EMPTIER])
def test_live_releases_are_read_from_few_fields(state: ModelState) -> None:
    document = to_document(state)
    data = with_fields((each, value_at(document, each)) for each in LIVE_FIELDS)
    rollout, desired = read_live(data)
    assert desired.model == state.desired.model
    assert live_releases(rollout, desired) == live_releases(state.rollout, state.desired)


def test_each_phase_is_stored_with_its_fields() -> None:
    stored_phases = [
        to_document(ModelState(Desired("tiny"), Rollout(phase)))["rollout"]["phase"]
        for phase in PHASES.values()
    ]
    assert stored_phases == [
        {"name": "settled"},
        {
            "name": "stepping",
            "step": 2,
            "since": at(1),
            "weight": 50,
            "routed_since": at(6),
            "granted": 2,
            "is_promoted": True,
            "approved_by": "ann",
            "unmeasured_since": at(9),
        },
        {"name": "baking", "since": at(2), "routed_since": at(6), "is_promoted": False},
        {
            "name": "rolling_back",
            "outcome": "rolled_back",
            "reason": "unhealthy",
            "why": "it was unhealthy",
            "since": at(3),
            "remaining": 5,
            "improved_at": at(5),
            "in_place": True,
            "stalled": "no progress",
            "is_drained": False,
            "routed_since": at(6),
            "weight": 500,
        },
        {
            "name": "retiring",
            "since": at(4),
            "why": "retired by ann",
            "is_drained": False,
            "routed_since": at(6),
        },
    ]


@pytest.mark.parametrize("place", ["stable", "candidate", "previous"])
def test_a_release_in_one_place_is_read_back_in_that_place_alone(place: str) -> None:
    places: dict[str, Any] = {place: TWO}
    state = ModelState(Desired("tiny"), Rollout(**places))
    assert from_document(to_document(state)) == state


def test_one_release_in_several_places_is_read_once() -> None:
    state = ModelState(Desired("tiny", TWO), Rollout(stable=TWO, candidate=THREE, previous=ONE))
    found = from_document(json.loads(json.dumps(to_document(state), default=str)))
    assert found.desired.release is found.rollout.stable
    assert found.rollout.candidate != found.rollout.stable != found.rollout.previous


def test_a_document_shares_nothing_with_the_state_it_was_made_from() -> None:
    document = to_document(FULL)
    document["rollout"]["progress"]["healthy"] = 99
    document["rollout"]["paused"]["why"] = "changed"
    document["lease"]["token"] = "another's"
    document["conditions"][0]["why"] = "changed"
    document["outputs"]["group"] = "changed"
    document["stable"]["version"] = "99"
    document["desired"]["line"][0]["reason"] = "changed"
    assert from_document(to_document(FULL)) == FULL
    assert FULL.rollout.progress == Progress(
        3, at(7), at(8), "preempted", 3, 4, "healthy@1767268800:x7k2", "1767268800", 4
    )
    assert FULL.outputs == {"group": "https://example.com/group"}


@pytest.mark.parametrize("schema", [0, 2, 4, "3", None])
def test_a_document_of_another_schema_is_refused_with_its_path_and_schema(schema: object) -> None:
    with pytest.raises(UnknownSchema) as refused:
        from_document(to_document(FULL) | {"schema": schema})
    assert str(refused.value) == OTHER_SCHEMA.format(path="models/tiny", schema=schema)


def test_a_document_without_a_schema_is_refused() -> None:
    with pytest.raises(UnknownSchema) as refused:
        from_document({})
    assert str(refused.value) == OTHER_SCHEMA.format(path="models/None", schema=None)


def test_an_unknown_phase_is_refused_by_its_name() -> None:
    document = to_document(FULL)
    document["rollout"]["phase"] = {"name": "shadowing", "since": NOON}
    with pytest.raises(UnknownSchema) as refused:
        from_document(document)
    assert str(refused.value) == "rollout phase 'shadowing' is not known to this Slipway"


def with_later_fields(part: Any, path: tuple[str, ...] = ()) -> Any:
    """With a field in every map that a newer version of the same schema might extend."""
    if isinstance(part, list):
        return [with_later_fields(each, path) for each in part]
    if not isinstance(part, dict) or "$time" in part:  # a time, in these files
        return part
    inner = {name: with_later_fields(value, (*path, name)) for name, value in part.items()}
    is_open = path[-1:] != ("outputs",) and "spec" not in path
    return inner | ({"a_later_field": 1} if is_open else {})


@pytest.mark.parametrize("file", list_files(), ids=lambda file: file.stem)
def test_fields_that_a_newer_version_of_the_schema_added_are_ignored(file: Path) -> None:
    document = load(file)["documents"].get("models/tiny")
    if document is None or document["schema"] != SCHEMA:
        return
    assert from_document(with_later_fields(document)) == from_document(document)


def test_all_of_a_full_state_may_have_later_fields() -> None:
    assert from_document(with_later_fields(to_document(FULL))) == FULL


# ---- Releases


def test_a_release_is_read_back_from_a_document_that_holds_more() -> None:
    document = release_to_document(THREE)
    assert document == stored(THREE)
    assert release_from_document(document | {"outcome": "succeeded", "model": "tiny"}) == THREE


def test_the_record_of_a_release_carries_its_schema() -> None:
    record = release_to_record(THREE)
    assert record == {"schema": 3, **stored(THREE)}
    assert release_from_record(record | {"outcome": "succeeded"}, "models/tiny/releases/3") == THREE


@pytest.mark.parametrize("schema", [2, 4, None])
def test_the_record_of_a_release_of_another_schema_is_refused(schema: object) -> None:
    path = "models/tiny/releases/3"
    with pytest.raises(UnknownSchema) as refused:
        release_from_record(release_to_record(THREE) | {"schema": schema}, path)
    assert str(refused.value) == OTHER_SCHEMA.format(path=path, schema=schema)


def test_a_field_that_a_stored_release_lacks_has_its_default() -> None:
    document = release_to_document(ONE)
    del document["patch_digest"], document["force"]
    assert release_from_document(document) == ONE


def test_a_stored_spec_that_cannot_be_read_is_an_unknown_schema_and_not_an_invalid_message() -> (
    None
):
    document = release_to_document(TWO)
    document["spec"] = document["spec"] | {"scaling": {"max": "lots"}}
    with pytest.raises(UnknownSchema) as refused:
        release_from_document(document)
    assert (
        str(refused.value)
        == "the stored spec of release '2' is not known to this Slipway: scaling.max: must be an"
        ' integer from 1 to 2000, got "lots"'
    )
