"""Reads what a model's log says of past rollouts.

Called for a plan, and by the pass that begins a rollout: both say how long it will take.
"""

from __future__ import annotations

from infra.store.port import Store
from rollout.start_times import LogEntry
from rollout.state import ModelState

LOG_REVISIONS = 400
"""Of how many revisions of the model the log is read."""


def recent_log(store: Store, state: ModelState) -> tuple[LogEntry, ...]:
    after = f"{max(0, state.revision - LOG_REVISIONS):08d}"
    found = store.list(f"models/{state.desired.model}/log", 2 * LOG_REVISIONS, after)
    return tuple(
        LogEntry(each["release"], each["from"], each["to"], each["at"])
        for each in (document.data for document in found)
        if "to" in each
    )
