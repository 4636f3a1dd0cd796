"""Reads from a model's document the releases that it may run, and nothing else. Pure.

Called by `handlers/admission.py`, which adds them up over all models.
"""

from __future__ import annotations

from typing import Any

from infra.store.documents import check_phase, check_schema, read_kept, release_from_document
from rollout.model import Desired, Release, Rollout

Json = dict[str, Any]

LIVE_FIELDS = (
    "schema",
    "model",
    "stable",
    "candidate",
    "desired.release",
    "rollout.phase.name",
    "rollout.kept",
)


def read_live(document: Json) -> tuple[Rollout, Desired]:
    """From the `LIVE_FIELDS` of a document. Raises `UnknownSchema` for what this Slipway cannot
    read: it must not count as nothing.
    """
    check_schema(document, f"models/{document.get('model')}")
    rollout = document["rollout"]
    check_phase(rollout["phase"]["name"])
    stable, candidate = _release(document.get("stable")), _release(document.get("candidate"))
    desired = (document.get("desired") or {}).get("release")
    return (
        Rollout(stable=stable, candidate=candidate, kept=read_kept(rollout.get("kept"))),
        Desired(document["model"], _release(desired)),
    )


def _release(document: Json | None) -> Release | None:
    return release_from_document(document) if document else None
