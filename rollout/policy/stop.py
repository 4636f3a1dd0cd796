"""The switch `stop` of the policy: while it is set, nothing is changed in Compute Engine. Pure.

    {"reason": "incident 42", "by": "ann", "since": "2026-01-01T12:00:00Z"}
    {"reason": "quota incident", "rollbacks": true}

Rollbacks go on, unless `rollbacks` says that they stop too. `rollout/stopped.py` says what a pass
does meanwhile. `slipway stop` writes the field and `slipway start` removes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rollout.deferred import dataclass
from rollout.visible import is_visible

FIELDS = ("reason", "by", "since", "rollbacks")
MAX_TEXT = 500


@dataclass(frozen=True)
class Stop:
    """`since`: when somebody stopped Slipway, as they wrote it. `rollbacks`: these stop too."""

    reason: str
    by: str = ""
    since: str = ""
    rollbacks: bool = False

    @property
    def why(self) -> str:
        who = f" by {self.by}" if self.by else ""
        since = f" since {self.since}" if self.since else ""
        scope = ", rollbacks too" if self.rollbacks else ""
        return f"stopped{who}{since}{scope}: {self.reason}"


def load_stop(value: Any) -> Stop | None:
    """None if nothing is stopped. Raises ValueError with the field that is wrong."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ValueError(f'stop must be an object such as {{"reason": "incident"}}, got {value!r}')
    unknown = sorted(set(value) - set(FIELDS))
    if unknown:
        raise ValueError(
            f"stop has unknown fields {', '.join(unknown)}; known fields are {', '.join(FIELDS)}"
        )
    texts = {name: value.get(name) or "" for name in ("reason", "by", "since")}
    for name, text in texts.items():
        if not isinstance(text, str) or len(text) > MAX_TEXT or not is_visible(text):
            raise ValueError(
                f"stop.{name} must be printable text of at most {MAX_TEXT} characters, got {text!r}"
            )
    if not texts["reason"]:
        raise ValueError("stop.reason must say why; remove stop to start again")
    rollbacks = value.get("rollbacks", False)
    if not isinstance(rollbacks, bool):
        raise ValueError(f"stop.rollbacks must be true or false, got {rollbacks!r}")
    return Stop(texts["reason"], texts["by"], texts["since"], rollbacks)


def stop_of(policy: Mapping[str, Any] | None) -> Stop | None:
    """The switch in a document `settings/policy`, whatever else is in it. One that cannot be read
    stops: rollbacks go on only if nothing says otherwise.
    """
    value = policy.get("stop") if policy else None
    try:
        return load_stop(value)
    except ValueError as error:
        rollbacks = not isinstance(value, Mapping) or value.get("rollbacks", False) is not False
        return Stop(f"settings/policy: {error}", rollbacks=rollbacks)
