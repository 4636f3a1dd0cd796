"""What each command does in each state, cell by cell of `docs/controls.md`: what was recorded has
happened, and what was refused has changed nothing.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollout.intents import NEWER, pending_release
from rollout.model import Desired, Retiring, RollingBack, Stepping, Transition, phase_name
from rollout.state import ModelState
from schemas.controls import Cell, Command, cell_of, cells

CELLS = cells()


def without_line(state: ModelState) -> ModelState:
    """What a command may change. The line remembers each, for those that arrive late; how a release
    begins matters until it has begun.
    """
    desired = state.desired
    bare = Desired(desired.model, desired.release)
    if pending_release(state.rollout, desired):
        bare = replace(bare, paused=desired.paused, promoted=desired.promoted)
    return replace(state, desired=bare)


def has_happened(made: Transition, after: ModelState, command: Command) -> bool:
    """Whether the state is as the transition says."""
    rollout, desired, phase = after.rollout, after.desired, after.rollout.phase
    pending = pending_release(rollout, desired)
    is_pending = pending is not None and pending.version == made.release
    match made.to:
        case "paused":
            return bool(desired.paused if is_pending else rollout.paused)
        case "promoted" if is_pending:
            return desired.promoted and not desired.paused
        case "promoted":
            has_ended_hold = getattr(phase, "is_promoted", False)
            return (rollout.promoted if command.is_full else has_ended_hold) and not rollout.paused
        case "approved":
            return isinstance(phase, Stepping) and phase.approved_by == "model-approvals"
        case "rolling_back":
            return isinstance(phase, RollingBack) and pending != rollout.candidate
        case "retiring":
            return isinstance(phase, Retiring) and desired.release is None
        case "desired":
            return is_pending and not desired.paused
        case "resumed":
            return after.hold is not None and after.hold.is_resumed
        case "aborted" | "rolled_back" | "superseded":
            return made.outcome == made.to and not is_pending
        case name:
            is_in_phase = phase_name(phase) == name and rollout.paused is None
            return is_in_phase and made.release == (rollout.candidate and rollout.candidate.version)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.state}: {cell.command.name}")
def test_a_command_does_what_it_records_or_changes_nothing_and_says_why(cell: Cell) -> None:
    if cell.refused:
        assert without_line(cell.after) == without_line(cell.before)
        assert cell.refused != NEWER
        return
    assert cell.transitions
    assert without_line(cell.after) != without_line(cell.before)
    for made in cell.transitions:
        assert has_happened(made, cell.after, cell.command), made
    again = cell_of(cell.state, cell.after, cell.command, event_id="given-again")
    assert without_line(again.after) == without_line(cell.after)


def test_a_rejection_wins_and_a_retirement_always_works() -> None:
    """Whatever is being rolled out, whoever may approve can stop it, and a person can remove it."""
    for cell in CELLS:
        begins = pending_release(cell.before.rollout, cell.before.desired)
        candidate = cell.before.rollout.candidate
        is_live = cell.before.hold is None and (begins or candidate)
        if cell.command.verb == "retire" and is_live:
            assert cell.after.desired.release is None, cell.state
