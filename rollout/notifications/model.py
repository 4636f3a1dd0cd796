"""The values of notifications: a status event, what the store adds to it, and what is sent.

Made by `infra/bus/status.py` and `handlers/status.py`, read by the other modules of this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Any

from rollout.deferred import dataclass

CONDITIONS: Mapping[str, str] = {
    "Degraded": "degraded",
    "Frozen": "frozen",
    "CapacityScarce": "capacity_scarce",
}
"""What the events of conditions are called that no transition reports."""


@dataclass(frozen=True)
class StatusEvent:
    """A transition, a condition that began (`to` is its event, `from_` the phase), or a refused
    message, as it was published. Texts that it lacks are empty.
    `begun_at` is when the rollout began that the transition belongs to, if any. `data` is the whole
    event.
    """

    id: str
    model: str
    release: str
    from_: str
    to: str
    why: str
    at: datetime
    reason: str = ""
    outcome: str = ""
    begun_at: datetime | None = None
    condition: str = ""
    data: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def name(self) -> str:
        """What a destination's `events` call it: all steps have one name."""
        return "step" if self.to.startswith("step_") else self.to

    @property
    def thread(self) -> str:
        """The same for all events of one release, each try of it included."""
        return f"{self.model}/{self.release}"


@dataclass(frozen=True)
class Facts:
    """What the store says beside an event: who published the release, which release is stable now,
    and which one was stable before it.
    """

    requested_by: str = ""
    stable: str = ""
    previous: str = ""


@dataclass(frozen=True)
class Notification:
    """What is sent, before it takes the form of a destination. Texts of others are one line each,
    without control characters, and not escaped. `undo_command` is empty if there is nothing to
    undo, and `link` if none is configured.
    """

    event: StatusEvent
    title: str
    why: str
    details: tuple[str, ...]
    undo: str = ""
    undo_command: str = ""
    link: str = ""

    @property
    def text(self) -> str:
        """For people, without any markup."""
        undo = f"{self.undo}: {self.undo_command}" if self.undo_command else ""
        lines = (self.title, self.why, " · ".join(self.details), undo, self.link)
        return "\n".join(filter(None, lines))
