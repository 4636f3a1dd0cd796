"""Checks when something is accepted that the model's document can be stored in every later phase.
Pure.

Called by `handlers/save_change.py`. A document has at most 1 MiB, and a release that inherits
grows with each event. In some later phase each of the four places of the document may hold the
largest of the model's releases:

    desired, stable, candidate, previous      4 x the largest release
    the line of intents                       as it is; the next intent is checked when it comes
    clocks of instances                       for the most instances that a release allows
    records of gates                          for the most gates of a release
    conditions, reasons, outputs, events      a reserve
"""

from __future__ import annotations

from infra.store import repository
from infra.store.documents import release_to_document, to_document
from infra.store.limits import MAX_DOCUMENT_BYTES, document_bytes, value_bytes
from rollout.model import Release
from rollout.spec.model import dump
from rollout.state import ModelState

PLACES = 4
RESERVE_BYTES = 100_000
INSTANCE_BYTES = 128
GATE_BYTES = 10_000
"""60 windows, sums by 100 edges of a histogram, the query and the sentence."""


def problem_of(state: ModelState) -> str | None:
    """Why the state may outgrow its document; None if it cannot. Raises `Unstorable` if it cannot
    be stored now.
    """
    rollout = state.rollout
    places = (state.desired.release, rollout.stable, rollout.candidate, rollout.previous)
    found = (*places, *(intent.goal for intent in state.desired.line))
    releases = [release for release in found if release]
    if not releases:
        return None
    present = document_bytes(repository.model_path(state.desired.model), to_document(state))
    largest = max(releases, key=_release_bytes)
    instances = max(_most_instances(release) for release in releases)
    rest = present - sum(_release_bytes(release) for release in places if release)
    gates = max(len(release.spec.rollout.gates) for release in releases)
    records = instances * INSTANCE_BYTES + gates * GATE_BYTES
    total = rest + PLACES * _release_bytes(largest) + records + RESERVE_BYTES
    if total <= MAX_DOCUMENT_BYTES:
        return None
    path, size = _largest_field(largest)
    return (
        f"{path}: release {largest.version} with all that it inherits has"
        f" {_release_bytes(largest):,} bytes, of which this field has {size:,}; with"
        f" {PLACES} releases of that size the model's document could have {total:,} bytes, and the"
        f" limit is {MAX_DOCUMENT_BYTES:,}; shorten it, or reset what is inherited with null"
    )


def _release_bytes(release: Release) -> int:
    return value_bytes(release_to_document(release))


def _most_instances(release: Release) -> int:
    return release.spec.scaling.max + (release.spec.rollout.surge or 0)


def _largest_field(release: Release) -> tuple[str, int]:
    sizes = {
        f"{section}.{field}": value_bytes(value)
        for section, fields in dump(release.spec).items()
        if isinstance(fields, dict)
        for field, value in fields.items()
    }
    return max(sizes.items(), key=lambda item: item[1], default=("artifact", 0))
