"""Records an artifact that is no release, with the reason, for `slipway events`.

Called by `handlers/release.py` for what `handlers/artifact.py` publishes. Invariant: an artifact is
recorded once, however often the message is delivered; nothing but this record depends on it.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from handlers.quarantine import Refuse
from infra.bus.envelope import Payload
from infra.store.port import Conflict, Create
from infra.wiring import World
from rollout.spec.message import decode_json

COLLECTION = "ignored"
KEPT = timedelta(days=7)
"""Firestore deletes a record then (`expires_at`)."""
MAX_TEXT = 2000

_FIELDS = {"source", "about", "why"}


def record_ignored(world: World, payload: Payload) -> None:
    """The ids of records are in the order of time, so that the newest can be read alone."""
    given = decode_json(payload.data)
    is_valid = isinstance(given, dict) and set(given) == _FIELDS
    if not is_valid or not all(isinstance(each, str) for each in given.values()):
        raise Refuse(f"an ignored artifact must have the texts {', '.join(sorted(_FIELDS))}")
    about = {name: text[:MAX_TEXT] for name, text in given.items()}
    path = f"{COLLECTION}/{payload.at:%Y%m%dT%H%M%S}-{payload.key}"
    times = {"at": payload.at, "expires_at": world.clock.now() + KEPT}
    with suppress(Conflict):
        world.store.commit(Create(path, about | times | {"event_id": payload.key}))
