"""Reads from a model's document what decides the resources of a settled model, and nothing else.
Pure.

Called by the drift scan, which reads the documents of all models, with `SETTLED_FIELDS` alone: the
half of a document. Invariant: what they do not decide is said so, and never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.store.documents import (
    check_phase,
    check_schema,
    read_capacity_lease,
    read_conditions,
    read_hold,
    read_kept,
    release_from_document,
)
from rollout.deferred import dataclass
from rollout.model import Desired, Rollout
from rollout.state import ModelState

Json = dict[str, Any]

SETTLED_FIELDS = (
    "schema",
    "model",
    "revision",
    "requeue_at",
    "hold",
    "conditions",
    "capacity_lease",
    "stable",
    "candidate.version",
    "previous.template",
    "desired.release.generation",
    "rollout.phase.name",
    "rollout.serving_group",
    "rollout.kept",
    "rollout.paused.since",
)


@dataclass(frozen=True)
class SettledModel:
    """`state` is that of the document as far as it decides what exists. `templates` are kept beside
    those of its releases.
    """

    state: ModelState
    templates: frozenset[str] = frozenset()


def is_settled(document: Json) -> bool:
    """Whether nothing but drift can change the model's resources. Raises `UnknownSchema`."""
    check_schema(document, f"models/{document.get('model')}")
    phase: str = document["rollout"]["phase"]["name"]
    check_phase(phase)
    return phase == "settled" and document.get("requeue_at") is None


def is_paused(document: Json) -> bool:
    """Whether the model's rollout is paused, so that nothing but failures and drift is expected."""
    return bool((document.get("rollout") or {}).get("paused"))


def read_settled(document: Json) -> SettledModel | None:
    """The settled model; None if the whole document must be read, because it has releases that are
    not among the fields.
    """
    stable = document.get("stable")
    if document.get("candidate") or _generation(_desired(document)) != _generation(stable):
        return None
    release = release_from_document(stable) if stable else None
    rollout = document["rollout"]
    previous: Mapping[str, str] = document.get("previous") or {}
    state = ModelState(
        Desired(document["model"], release),
        Rollout(
            stable=release,
            serving_group=rollout.get("serving_group"),
            kept=read_kept(rollout.get("kept")),
            capacity_lease=read_capacity_lease(document),
        ),
        conditions=read_conditions(document.get("conditions") or ()),
        revision=document["revision"],
        hold=read_hold(document.get("hold")),
    )
    return SettledModel(state, frozenset(previous.values()))


def _desired(document: Json) -> Json | None:
    release: Json | None = (document.get("desired") or {}).get("release")
    return release


def _generation(release: Json | None) -> int | None:
    return release["generation"] if release else None
