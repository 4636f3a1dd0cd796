"""Converts a model's state to and from the plain document that the store keeps. Pure.

Called by `infra/store/repository.py`. Invariant: what is written is read back equal, and a document
of another schema is refused (`UnknownSchema`), never interpreted: an older Slipway must not act on
a newer one's state, nor a newer one on what it would misread.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, assert_never

from rollout.counts import Counts, ReleaseCount
from rollout.course import Course, PhaseStart, PhaseTime, Prediction
from rollout.deferred import dataclass
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
    Pause,
    Phase,
    Progress,
    Release,
    Retiring,
    RollingBack,
    Rollout,
    Settled,
    Stepping,
    step_name,
)
from rollout.spec.model import dump, load
from rollout.spec.problems import Invalid
from rollout.state import Hold, Lease, ModelState, Verified

SCHEMA = 3

T = TypeVar("T")
Json = dict[str, Any]


class UnknownSchema(Exception):
    """The document was written by a Slipway with another schema than this one reads."""


# ---- Models


def to_document(state: ModelState) -> Json:
    rollout = state.rollout
    return {
        "schema": SCHEMA,
        "model": state.desired.model,
        "revision": state.revision,
        "desired": {
            "release": _release(state.desired.release),
            "generation": state.desired.generation,
            "paused": state.desired.paused,
            "promoted": state.desired.promoted,
            "line": [intent_to_document(intent) for intent in state.desired.line],
        },
        "stable": _release(rollout.stable),
        "candidate": _release(rollout.candidate),
        "previous": _release(rollout.previous),
        "rollout": {
            "phase": _phase(rollout.phase),
            "serving_group": rollout.serving_group,
            "stable_kept": rollout.stable_kept,
            "steps_digest": rollout.steps_digest,
            "begun_at": rollout.begun_at,
            "progress": vars(rollout.progress) | {} if rollout.progress else None,
            "paused": vars(rollout.paused) | {} if rollout.paused else None,
            "promoted": rollout.promoted,
            "last_observed_at": rollout.last_observed_at,
            "failed_digests": list(rollout.failed_digests),
            "last_failed": rollout.last_failed,
            "watched_since": rollout.watched_since,
            "kept": _kept(rollout.kept),
            "route_edits": rollout.route_edits,
            "capacity": rollout.capacity,
            "demand": vars(rollout.demand) | {} if rollout.demand else None,
            "gates": [gate_record(each) for each in rollout.gates],
            "failure": vars(rollout.failure) | {} if rollout.failure else None,
            "starting_since": rollout.starting_since,
            "step_seconds": rollout.step_seconds,
            "moved": [vars(each) | {"release": _release(each.release)} for each in rollout.moved],
        },
        "capacity_lease": _capacity_lease(rollout.capacity_lease),
        "waiting_for": state.waiting_for,
        "seconds_to_roll_back": state.seconds_to_roll_back,
        "counts": counts_to_document(state.counts) if state.counts else None,
        "course": course_to_document(state.course) if state.course else None,
        "conditions": [vars(condition) | {} for condition in state.conditions],
        "outputs": dict(state.outputs),
        "lease": vars(state.lease) | {} if state.lease else None,
        "requeue_at": state.requeue_at,
        "is_routine": state.is_routine,
        "recent_events": list(state.recent_events),
        "hold": vars(state.hold) | {} if state.hold else None,
        "wakeups": state.wakeups,
        "verified": vars(state.verified) | {} if state.verified else None,
    }


def _build(kind: Callable[..., T], fields: Mapping[str, Any]) -> T:
    """The value with these fields. Those that a newer version of the same schema added are ignored;
    what must not be ignored raises the schema.
    """
    try:
        return kind(**fields)
    except TypeError:
        names = inspect.signature(kind).parameters
        return kind(**{name: value for name, value in fields.items() if name in names})


def from_document(document: Json) -> ModelState:
    check_schema(document, f"models/{document.get('model')}")
    desired, rollout = document["desired"], document["rollout"]
    release, stable, candidate, previous = _read_releases(
        (desired["release"], document["stable"], document["candidate"], document["previous"])
    )
    return ModelState(
        desired=Desired(
            document["model"],
            release,
            desired["generation"],
            desired["paused"],
            desired["promoted"],
            tuple(intent_from_document(intent) for intent in desired["line"]),
        ),
        rollout=Rollout(
            phase=_read_phase(rollout["phase"]),
            stable=stable,
            candidate=candidate,
            previous=previous,
            steps_digest=rollout["steps_digest"],
            begun_at=rollout.get("begun_at"),
            progress=_build(Progress, rollout["progress"]) if rollout["progress"] else None,
            paused=_build(Pause, rollout["paused"]) if rollout["paused"] else None,
            promoted=rollout["promoted"],
            last_observed_at=rollout["last_observed_at"],
            failed_digests=tuple(rollout["failed_digests"]),
            last_failed=rollout.get("last_failed", ""),
            serving_group=rollout["serving_group"],
            watched_since=rollout["watched_since"],
            stable_kept=rollout.get("stable_kept"),
            kept=read_kept(rollout.get("kept")),
            route_edits=rollout.get("route_edits", 0),
            capacity=rollout.get("capacity"),
            capacity_lease=_read_capacity_lease(document.get("capacity_lease")),
            demand=_build(Demand, rollout["demand"]) if rollout.get("demand") else None,
            gates=tuple(_read_gate_record(each) for each in rollout.get("gates", ())),
            failure=_build(LatchedFailure, rollout["failure"]) if rollout.get("failure") else None,
            starting_since=rollout.get("starting_since"),
            step_seconds=rollout.get("step_seconds"),
            moved=tuple(_read_moved(each) for each in rollout.get("moved", ())),
        ),
        waiting_for=document["waiting_for"],
        conditions=read_conditions(document["conditions"]),
        outputs=document["outputs"],
        lease=_build(Lease, document["lease"]) if document["lease"] else None,
        requeue_at=document["requeue_at"],
        revision=document["revision"],
        recent_events=tuple(document["recent_events"]),
        hold=read_hold(document.get("hold")),
        wakeups=document.get("wakeups", 0),
        verified=_build(Verified, document["verified"]) if document.get("verified") else None,
        seconds_to_roll_back=document.get("seconds_to_roll_back"),
        counts=_read_counts(document.get("counts")),
        course=read_course(document.get("course")),
    )


def read_hold(document: Json | None) -> Hold | None:
    return _build(Hold, document) if document else None


def read_conditions(records: Iterable[Json]) -> tuple[Condition, ...]:
    return tuple(_build(Condition, each) for each in records)


def check_schema(document: Json, path: str) -> None:
    """Raises `UnknownSchema` for a document that another Slipway wrote."""
    schema = document.get("schema")
    if schema != SCHEMA:
        raise UnknownSchema(
            f"{path}: the document has schema {schema!r}, and this Slipway reads schema {SCHEMA}"
            " alone; deploy the version that wrote it, or retire its models with that version first"
        )


# ---- Summaries

SUMMARY_FIELDS = (
    "schema",
    "model",
    "desired.release.version",
    "desired.release.generation",
    "desired.paused",
    "stable.version",
    "stable.generation",
    "candidate.version",
    "candidate.generation",
    "rollout.phase.name",
    "rollout.phase.step",
    "rollout.paused.why",
    "rollout.last_failed",
    "waiting_for",
    "conditions",
    "hold.why",
)


@dataclass(frozen=True)
class Summary:
    """What lists say of a model. `desired`: the version whose rollout has not begun, if any.
    `warning`: what the first condition says.
    """

    model: str
    stable: str
    candidate: str
    desired: str
    phase: str
    on_hold: str
    paused: str
    warning: str
    waiting_for: str
    last_failed: str


def read_summary(document: Json) -> Summary:
    """From the `SUMMARY_FIELDS` of a model's document, in a fiftieth of the time that its state
    takes. Raises as `from_document`.
    """
    check_schema(document, f"models/{document.get('model')}")
    rollout, desired = document["rollout"], document["desired"]
    begun = [release for name in ("stable", "candidate") if (release := document.get(name))]
    newest = desired.get("release")
    is_begun = newest and newest["generation"] in [each["generation"] for each in begun]
    conditions = document.get("conditions") or ()
    phase = rollout["phase"]
    check_phase(phase["name"])
    return Summary(
        model=document["model"],
        stable=_version(document.get("stable")),
        candidate=_version(document.get("candidate")),
        desired="" if is_begun else _version(newest),
        phase=step_name(phase["step"]) if phase["name"] == "stepping" else phase["name"],
        on_hold=_text(document.get("hold"), "why"),
        paused=_text(rollout.get("paused"), "why") or _text(desired, "paused"),
        warning=_text(conditions[0], "why") if conditions else "",
        waiting_for=_text(document, "waiting_for"),
        last_failed=_text(rollout, "last_failed"),
    )


def _version(release: Json | None) -> str:
    return _text(release, "version")


def _text(part: Json | None, name: str) -> str:
    value = part.get(name, "") if part else ""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text, got {value!r}")
    return value


# ---- Releases


def release_to_record(release: Release) -> Json:
    """The document of a release in `models/<model>/releases/<version>`."""
    return {"schema": SCHEMA} | release_to_document(release)


def release_from_record(document: Json, path: str) -> Release:
    check_schema(document, path)
    return release_from_document(document)


def release_to_document(release: Release) -> Json:
    return vars(release) | {"spec": dump(release.spec)}


def release_from_document(document: Json) -> Release:
    fields = {name: document[name] for name in Release.__dataclass_fields__ if name in document}
    try:
        return Release(**fields | {"spec": load(document["spec"], document.get("digest", ""))})
    except Invalid as unknown:  # not the fault of the message being handled: it must not be refused
        raise UnknownSchema(
            f"the stored spec of release {document.get('version')!r} is not known to this Slipway:"
            f" {unknown}"
        ) from unknown


def _release(release: Release | None) -> Json | None:
    return release_to_document(release) if release else None


def _read_release(document: Json | None) -> Release | None:
    return release_from_document(document) if document else None


def _read_releases(documents: tuple[Json | None, ...]) -> list[Release | None]:
    """Most of them are the same release, which is read once."""
    found: list[Release | None] = []
    for number, document in enumerate(documents):
        first = documents.index(document)
        found.append(found[first] if first < number else _read_release(document))
    return found


# ---- Intents and phases


def _kept(kept: Kept | None) -> Json | None:
    return vars(kept) | {"release": _release(kept.release)} if kept else None


def read_kept(document: Json | None) -> Kept | None:
    if document is None:
        return None
    return _build(Kept, document | {"release": release_from_document(document["release"])})


def _read_moved(document: Json) -> Moved:
    return _build(Moved, document | {"release": release_from_document(document["release"])})


def counts_to_document(counts: Counts) -> Json:
    return {"at": counts.at, "releases": [vars(each) | {} for each in counts.releases]}


def _read_counts(document: Json | None) -> Counts | None:
    if document is None:
        return None
    return Counts(document["at"], read_release_counts(document["releases"]))


def read_release_counts(records: Iterable[Json]) -> tuple[ReleaseCount, ...]:
    return tuple(_build(ReleaseCount, each) for each in records)


def course_to_document(course: Course) -> Json:
    found = course.predicted
    phases = [vars(each) | {} for each in found.phases] if found else []
    predicted = vars(found) | {"phases": phases} if found else None
    begun = [vars(each) | {} for each in course.begun]
    return vars(course) | {"begun": begun, "predicted": predicted}


def read_course(document: Json | None) -> Course | None:
    if document is None:
        return None
    found = document["predicted"]
    predicted = None
    if found:
        phases = tuple(_build(PhaseTime, each) for each in found["phases"])
        predicted = _build(Prediction, found | {"phases": phases})
    begun = tuple(_build(PhaseStart, each) for each in document["begun"])
    return _build(Course, document | {"begun": begun, "predicted": predicted})


_BY_RATIO = ("against", "in_favour", "since")
_BY_EDGE = ("edges", "baseline_below", "candidate_below")


def gate_record(record: GateRecord) -> Json:
    """`recent` is a flat list, since a Firestore array contains no arrays."""
    tally = record.tally
    sums = {name: list(getattr(tally, name)) for name in _BY_RATIO}
    lists = {name: list(getattr(record, name)) for name in _BY_EDGE}
    return (
        vars(record)
        | lists
        | {
            "tally": vars(tally) | sums,
            "dispersion": vars(record.dispersion) | {},
            "history": vars(record.history) | {},
            "recent": [number for pair in record.recent for number in pair],
        }
    )


def _read_gate_record(document: Json) -> GateRecord:
    tally = document["tally"]
    sums = {name: tuple(tally.get(name, ())) for name in _BY_RATIO}
    by_edge = {name: tuple(document.get(name, ())) for name in _BY_EDGE}
    recent = document["recent"]
    return _build(
        GateRecord,
        document
        | by_edge
        | {
            "tally": _build(Tally, tally | sums),
            "dispersion": _build(Dispersion, document["dispersion"]),
            "history": _build(History, document["history"]),
            "recent": tuple(zip(recent[::2], recent[1::2], strict=True)),
        },
    )


def _capacity_lease(lease: CapacityLease | None) -> Json | None:
    if lease is None:
        return None
    loans = [vars(loan) | {"bounds": vars(loan.bounds) | {}} for loan in lease.loans]
    return vars(lease) | {"loans": loans}


def _read_capacity_lease(document: Json | None) -> CapacityLease | None:
    if document is None:
        return None
    loans = (
        _build(Loan, loan | {"bounds": _build(Bounds, loan["bounds"])})
        for loan in document["loans"]
    )
    return _build(CapacityLease, document | {"loans": tuple(loans)})


def read_capacity_lease(document: Json) -> CapacityLease | None:
    """The capacity lease of a model's document, whatever else in it cannot be read."""
    check_schema(document, f"models/{document.get('model')}")
    return _read_capacity_lease(document.get("capacity_lease"))


def intent_to_document(intent: Intent) -> Json:
    return vars(intent) | {"goal": _release(intent.goal)}


def intent_from_document(document: Json) -> Intent:
    """A promotion of an earlier Slipway was a full one."""
    older = {"is_full": document["verb"] == "promote"}
    return _build(Intent, older | document | {"goal": _read_release(document["goal"])})


_PHASES: dict[str, Callable[..., Phase]] = {
    "settled": Settled,
    "stepping": Stepping,
    "baking": Baking,
    "rolling_back": RollingBack,
    "retiring": Retiring,
}


def _phase(phase: Phase) -> Json:
    match phase:
        case Settled():
            return {"name": "settled"}
        case Stepping():
            return {"name": "stepping"} | vars(phase)
        case Baking():
            return {"name": "baking"} | vars(phase)
        case RollingBack():
            return {"name": "rolling_back"} | vars(phase)
        case Retiring():
            return {"name": "retiring"} | vars(phase)
        case _:
            assert_never(phase)


def check_phase(name: str) -> None:
    """Raises `UnknownSchema` for a phase that only a newer Slipway has."""
    if name not in _PHASES:
        raise UnknownSchema(f"rollout phase {name!r} is not known to this Slipway")


def _read_phase(document: Json) -> Phase:
    name = document["name"]
    check_phase(name)
    fields = {key: value for key, value in document.items() if key != "name"}
    phase: Phase = _build(_PHASES[name], fields)
    return phase
