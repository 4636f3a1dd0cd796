"""What is accepted can be stored in every later phase."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from infra.store import repository
from infra.store.capacity import GATE_BYTES, INSTANCE_BYTES, RESERVE_BYTES, problem_of
from infra.store.documents import gate_record, to_document
from infra.store.limits import MAX_DOCUMENT_BYTES, document_bytes, value_bytes
from rollout.gates.burn import LONG
from rollout.gates.record import GateRecord
from rollout.model import Condition, Desired, Intent, Pause, Progress, Rollout, Stepping
from rollout.state import ModelState
from tests.rollout.build import NOON, release

LARGE = release(
    "1",
    artifact={
        "image": "eu-docker.pkg.dev/p/r/tiny:1",
        "env": {f"V{number}": "x" * 4000 for number in range(15)},
        "args": ["y" * 4000] * 15,
    },
)
ROLLBACK = Intent("rollback", "event-9", NOON, NOON, "1", 9, LARGE)


def accepted(rollbacks: int) -> ModelState:
    return ModelState(Desired("tiny", LARGE, line=(ROLLBACK,) * rollbacks))


def test_what_may_outgrow_its_document_is_refused_and_the_reason_names_the_largest_field() -> None:
    assert problem_of(ModelState(Desired("tiny"))) is None
    most = next(count for count in range(40) if problem_of(accepted(count + 1)))
    assert most >= 3
    why = problem_of(accepted(most + 1))
    assert why is not None
    assert why.startswith("artifact.env: release 1 with all that it inherits has")
    full = replace(
        accepted(most),
        rollout=Rollout(
            Stepping(1, NOON),
            stable=LARGE,
            candidate=LARGE,
            previous=LARGE,
            progress=Progress(3, NOON),
            paused=Pause("p" * 1000, NOON),
            failed_digests=("0" * 64,) * 20,
        ),
        conditions=(Condition("Degraded", "c" * 2000, NOON),) * 10,
        recent_events=("e" * 32,) * 50,
        waiting_for="w" * 2000,
        requeue_at=NOON + timedelta(hours=1),
    )
    size = document_bytes(repository.model_path("tiny"), to_document(full))
    clocks = LARGE.spec.scaling.max * INSTANCE_BYTES
    assert size + clocks <= MAX_DOCUMENT_BYTES
    assert size + clocks > MAX_DOCUMENT_BYTES - RESERVE_BYTES - 130_000, (
        "the check is not too strict"
    )


def test_the_record_of_a_gate_has_its_place() -> None:
    hundred = tuple(map(float, range(100)))
    record = GateRecord(
        "g" * 40,
        why="w" * 1500,
        since=NOON,
        query="q" * 2500,
        evaluated_until=NOON,
        lacking_since=NOON,
        edges=hundred,
        baseline_below=hundred,
        candidate_below=hundred,
        second_opinion="o" * 200,
        full_since=NOON,
        recent=((1e9, 1e9),) * LONG,
    )
    assert value_bytes(gate_record(record)) <= GATE_BYTES
