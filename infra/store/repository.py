"""Reads and writes a model's documents: its state under a fence, its log, its releases' outcomes.

Called by every handler that changes anything. Functions return writes, and the caller commits them
together. Invariant: what happened and the status event that reports it are in one commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from infra.store import outbox
from infra.store.documents import (
    counts_to_document,
    course_to_document,
    from_document,
    gate_record,
    release_to_record,
    to_document,
)
from infra.store.port import Conflict, Create, Document, Put, Replace, Store, Write
from rollout.counts import Counts
from rollout.course import Course
from rollout.deferred import dataclass
from rollout.model import Release, Transition, phase_name
from rollout.state import ModelState

if TYPE_CHECKING:
    from infra.wiring import World

MAX_RECENT_EVENTS = 50
REPORTED = ("Degraded", "Frozen", "Stopped", "CapacityScarce")
"""Conditions that begin without a transition."""
MAX_ATTEMPTS = 200  # of one release
TRIES = 24  # about 20 seconds
FIRST_BACK_OFF_SECONDS = 0.05
LONGEST_BACK_OFF_SECONDS = 2.0

T = TypeVar("T")


def model_path(model: str) -> str:
    return f"models/{model}"


def release_path(model: str, version: str) -> str:
    return f"models/{model}/releases/{version}"


# ---- State


@dataclass(frozen=True)
class StoredState:
    """A model's state and the document version it was read at, which fences the next write. Without
    a version the document does not exist yet.
    """

    state: ModelState
    version: str | None


def stored_state(document: Document | None) -> StoredState | None:
    return StoredState(from_document(document.data), document.version) if document else None


def load_state(store: Store, model: str) -> StoredState | None:
    return stored_state(store.get(model_path(model)))


def write_state(before: StoredState, state: ModelState) -> Write:
    path, data = model_path(state.desired.model), to_document(state)
    return Create(path, data) if before.version is None else Replace(path, data, before.version)


def with_event(state: ModelState, event_id: str) -> ModelState:
    """The state that remembers the event, so that a duplicate of it changes nothing."""
    return replace(state, recent_events=(*state.recent_events, event_id)[-MAX_RECENT_EVENTS:])


def retry_on_conflict(world: World, attempt: Callable[[], T]) -> T:
    """Repeat a read-decide-write until no other writer interferes. Before each further try it backs
    off, at random up to twice as long as before, so that many writers of one document do not stay
    in step. After so many lost races the message is left to redelivery.
    """
    longest = FIRST_BACK_OFF_SECONDS
    for _ in range(TRIES - 1):
        with suppress(Conflict):
            return attempt()
        world.clock.sleep(longest * world.jitter())
        longest = min(2 * longest, LONGEST_BACK_OFF_SECONDS)
    return attempt()


# ---- Log and releases


def record_transitions(
    state: ModelState,
    transitions: Iterable[Transition],
    now: datetime,
    event_id: str,
    counts: Counts | None = None,
) -> tuple[Write, ...]:
    """The log entry and the status event of each transition. `counts`: what the deciding pass
    counted.
    """
    writes: list[Write] = []
    for number, transition in enumerate(transitions):
        model, key = state.desired.model, f"{state.revision:08d}-{number}"
        entry: dict[str, Any] = {
            "model": model,
            "release": transition.release,
            "from": transition.from_,
            "to": transition.to,
            "why": transition.why,
            "reason": transition.reason,
            "outcome": transition.outcome,
            "evidence": list(transition.evidence),
            "at": now,
            "begun_at": state.rollout.begun_at,
            "event_id": event_id,
            "generation": state.desired.generation,
            "outputs": dict(state.outputs) if transition.outcome == "succeeded" else {},
            "seconds_to_roll_back": state.seconds_to_roll_back,
        }
        if transition.gates:
            entry["gates"] = [gate_record(each) for each in transition.gates]
        if counts:
            entry["instances"] = counts_to_document(counts)["releases"]
        if transition.inherits_from:
            entry["inherits_from"] = transition.inherits_from
        writes.append(Put(f"models/{model}/log/{key}", entry))
        writes.append(outbox.status_event(f"{model}-{key}", entry, now))
    return tuple(writes)


def report_conditions(before: ModelState, after: ModelState, now: datetime) -> tuple[Write, ...]:
    """The status events of conditions that begin. A condition may come and go, so each is published
    under one id in an hour, by which readers recognize it.
    """
    earlier = {each.type for each in before.conditions}
    begun = [each for each in after.conditions if each.type not in earlier]
    rollout, model = after.rollout, after.desired.model
    release = rollout.candidate or after.desired.release or rollout.stable
    writes: list[Write] = []
    for kind in REPORTED:
        whys = [each.why for each in begun if each.type == kind]
        if whys:
            key = f"{model}-{kind}-{now:%Y%m%dT%H}"
            entry = {
                "model": model,
                "release": release.version if release else "",
                "condition": kind,
                "phase": phase_name(rollout.phase),
                "why": "; ".join(whys),
                "at": now,
                "begun_at": rollout.begun_at,
            }
            writes.append(outbox.status_event(key, entry, now, "condition"))
    return tuple(writes)


def accept_release(store: Store, model: str, release: Release) -> Write:
    """The record of a release that was just accepted. A forced one may exist: what earlier attempts
    left in its record stays.
    """
    path, record = release_path(model, release.version), release_to_record(release)
    if not release.force:
        return Create(path, record)
    return Put(path, record | _lasting(_data(store.get(path))))


def reopen_restored(store: Store, before: ModelState, after: ModelState) -> tuple[Write, ...]:
    """The record of a release that a rollback has just made desired again: a new attempt, without
    an end yet.
    """
    release, stable = after.desired.release, after.rollout.stable
    serving = (before.desired.release, stable)
    known = [each.generation for each in serving if each]
    if release is None or not release.is_restored or release.generation in known:
        return ()
    return (accept_release(store, after.desired.model, release),)


def record_outcomes(
    store: Store,
    model: str,
    releases: Iterable[Release | None],
    transitions: Iterable[Transition],
    now: datetime,
    course: Course | None = None,
) -> tuple[Write, ...]:
    """The records of those releases that ended. Each end is appended to the record's attempts, and
    that a release has served and baked is never taken away. `course`: of the rollout that ends; the
    record has that of the last one. The caller commits these writes with the model's state, whose
    fence protects them too.
    """
    known = {release.version: release for release in releases if release}
    records: dict[str, dict[str, Any]] = {}
    for transition in transitions:
        release = known.get(transition.release)
        if transition.outcome and release:
            path = release_path(model, release.version)
            before = records[path] if path in records else _data(store.get(path))
            is_own = course is not None and course.generation == release.generation
            own = course_to_document(course) if course and is_own else None
            records[path] = _ended_record(release, before, transition, now, own)
    return tuple(Put(path, record) for path, record in records.items())


def _ended_record(
    release: Release,
    before: Mapping[str, Any],
    transition: Transition,
    now: datetime,
    course: Mapping[str, Any] | None,
) -> dict[str, Any]:
    end = {"why": transition.why, "reason": transition.reason, "at": now}
    attempt = {
        "generation": release.generation,
        "event_id": release.event_id,
        "released_at": release.released_at,
        "requested_by": release.requested_by,
        "outcome": transition.outcome,
    }
    lasting = _lasting(before)
    attempts = (*lasting["attempts"], attempt | end)[-MAX_ATTEMPTS:]
    baked_at = lasting["baked_at"] or (now if transition.outcome == "succeeded" else None)
    outcome = {"outcome": transition.outcome, "ended": end}
    ends = {"attempts": [*attempts], "baked_at": baked_at} | outcome
    return release_to_record(release) | lasting | ends | ({"course": course} if course else {})


def _data(document: Document | None) -> Mapping[str, Any]:
    return document.data if document else {}


def _lasting(record: Mapping[str, Any]) -> dict[str, Any]:
    """What every later version of a release's record keeps."""
    return {
        "attempts": record.get("attempts", []),
        "baked_at": record.get("baked_at"),
        "resolved_without": record.get("resolved_without", []),
        "course": record.get("course"),
    }
