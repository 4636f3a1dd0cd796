"""A model's state to and from the plain document that the store keeps. Pure.

Called by `handlers/`. Invariant: what is written is read back equal, and a document of a schema
that this code does not know is refused (`UnknownSchema`), never guessed at: an older Slipway must
not act on a newer one's state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, assert_never

from rollout.model import (
    Baking,
    Command,
    Condition,
    Desired,
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
from rollout.spec.model import dump, load
from rollout.spec.problems import Invalid

SCHEMA = 2

Json = dict[str, Any]


class UnknownSchema(Exception):
    """The document was written by another Slipway than this one can read."""


@dataclass(frozen=True)
class Lease:
    """Who is working on the model, and until when others keep off. A claim is for efficiency; the
    fence is compare-and-set."""

    token: str
    expires: datetime


@dataclass(frozen=True)
class State:
    """The hot document of one model. `revision` counts its saves (not its claims): request ids are
    derived from it. `seen` holds the ids of the latest events, so that a duplicate of one changes
    nothing."""

    desired: Desired
    rollout: Rollout = field(default_factory=Rollout)
    conditions: tuple[Condition, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    lease: Lease | None = None
    requeue_at: datetime | None = None
    revision: int = 0
    seen: tuple[str, ...] = ()


def to_document(state: State) -> Json:
    rollout = state.rollout
    return {
        "schema": SCHEMA,
        "model": state.desired.model,
        "revision": state.revision,
        "desired": {
            "release": _release(state.desired.release),
            "generation": state.desired.generation,
            "commands": [_command(command) for command in state.desired.commands],
            "latest": state.desired.latest,
        },
        "stable": _release(rollout.stable),
        "candidate": _release(rollout.candidate),
        "previous": _release(rollout.previous),
        "rollout": {
            "phase": _phase(rollout.phase),
            "ladder": rollout.steps,
            "progress": vars(rollout.progress) | {} if rollout.progress else None,
            "paused": vars(rollout.paused) | {} if rollout.paused else None,
            "promoted": rollout.promoted,
            "last_observed_at": rollout.last_observed_at,
            "failed": list(rollout.failed),
        },
        "conditions": [vars(condition) | {} for condition in state.conditions],
        "outputs": dict(state.outputs),
        "claim": vars(state.lease) | {} if state.lease else None,
        "requeue_at": state.requeue_at,
        "seen": list(state.seen),
    }


def from_document(document: Json) -> State:
    if document.get("schema") != SCHEMA:
        raise UnknownSchema(
            f"model document {document.get('model')!r} has schema {document.get('schema')!r}, not"
            f" {SCHEMA}"
        )
    desired, rollout = document["desired"], document["rollout"]
    places = (desired["release"], document["stable"], document["candidate"], document["previous"])
    release, stable, candidate, previous = _read_releases(places)
    return State(
        desired=Desired(
            document["model"],
            release,
            desired["generation"],
            tuple(_read_command(command) for command in desired["commands"]),
            desired["latest"],
        ),
        rollout=Rollout(
            phase=_read_phase(rollout["phase"]),
            stable=stable,
            candidate=candidate,
            previous=previous,
            steps=rollout["ladder"],
            progress=Progress(**rollout["progress"]) if rollout["progress"] else None,
            paused=Pause(**rollout["paused"]) if rollout["paused"] else None,
            promoted=rollout["promoted"],
            last_observed_at=rollout["last_observed_at"],
            failed=tuple(rollout["failed"]),
        ),
        conditions=tuple(Condition(**condition) for condition in document["conditions"]),
        outputs=document["outputs"],
        lease=Lease(**document["claim"]) if document["claim"] else None,
        requeue_at=document["requeue_at"],
        revision=document["revision"],
        seen=tuple(document["seen"]),
    )


def release_to_document(release: Release) -> Json:
    return vars(release) | {"spec": dump(release.spec)}


def release_from_document(document: Json) -> Release:
    fields = {name: document[name] for name in Release.__dataclass_fields__ if name in document}
    try:
        return Release(**fields | {"spec": load(document["spec"])})
    except Invalid as strange:  # by no fault of the message that is being handled, which must not be refused for it
        raise UnknownSchema(
            f"release {document.get('version')!r} on record has a spec that is not known here:"
            f" {strange}"
        ) from strange


def _release(release: Release | None) -> Json | None:
    return release_to_document(release) if release else None


def _read_release(document: Json | None) -> Release | None:
    return release_from_document(document) if document else None


def _read_releases(documents: tuple[Json | None, ...]) -> list[Release | None]:
    """Most of them are one release in several places: it is read once."""
    found: list[Release | None] = []
    for number, document in enumerate(documents):
        at = documents.index(document)
        found.append(found[at] if at < number else _read_release(document))
    return found


def _command(command: Command) -> Json:
    return vars(command) | {"release": _release(command.release)}


def _read_command(document: Json) -> Command:
    return Command(**document | {"release": _read_release(document["release"])})


def _phase(phase: Phase) -> Json:
    match phase:
        case Settled():
            return {"name": "settled"}
        case Stepping(step, since):
            return {"name": "stepping", "step": step, "since": since}
        case Baking(since):
            return {"name": "baking", "since": since}
        case RollingBack(outcome, reason, why, since):
            return {
                "name": "rolling_back",
                "outcome": outcome,
                "reason": reason,
                "why": why,
                "since": since,
            }
        case Retiring(since, why):
            return {"name": "retiring", "since": since, "why": why}
        case _:
            assert_never(phase)


def _read_phase(document: Json) -> Phase:
    kinds: dict[str, type[Phase]] = {
        "settled": Settled,
        "stepping": Stepping,
        "baking": Baking,
        "rolling_back": RollingBack,
        "retiring": Retiring,
    }
    name = document["name"]
    if name not in kinds:
        raise UnknownSchema(f"a rollout phase called {name!r} is not known here")
    return kinds[name](**{key: value for key, value in document.items() if key != "name"})
