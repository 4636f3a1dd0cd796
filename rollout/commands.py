"""Applies people's commands to a rollout: `apply_commands(rollout, desired, now)`. Pure.

Called by `advance` before anything else. Invariant: each command is answered by a recorded
transition, including one that changes nothing, and no command claims a phase that has not been
observed.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import assert_never

from rollout import transitions
from rollout.model import (
    Baking,
    Command,
    Desired,
    Retiring,
    RollingBack,
    Rollout,
    Settled,
    Stepping,
    Transition,
    phase_name,
)
from rollout.state import release_in_focus
from rollout.transitions import PhaseChange


def apply_commands(rollout: Rollout, desired: Desired, now: datetime) -> PhaseChange:
    """The rollout after all pending commands, in order."""
    result = PhaseChange(rollout, replace(desired, commands=()))
    for command in desired.commands:
        one = _apply(result.rollout, result.desired, command, now)
        result = PhaseChange(
            one.rollout, one.desired, (*result.transitions, *one.transitions), one.waiting_for
        )
    return result


def _apply(rollout: Rollout, desired: Desired, command: Command, now: datetime) -> PhaseChange:
    is_about_candidate = command.verb not in ("rollback", "retire")
    if command.version and is_about_candidate and command.version != _version(rollout):
        why = f"release {command.version} is not being rolled out"
        return _change_nothing(rollout, desired, command, why)
    match command.verb:
        case "rollback":
            return _rollback(rollout, desired, command, now)
        case "retire":
            return _retire(rollout, desired, command, now)
        case "resume":
            if rollout.paused is None:
                return _change_nothing(rollout, desired, command, "nothing is paused")
            why = _why(command, "resumed")
            return transitions.resume(rollout, desired, rollout.paused, why, now)
    if not isinstance(rollout.phase, Stepping | Baking):
        return _change_nothing(rollout, desired, command, "no release is being rolled out")
    match command.verb:
        case "pause":
            return transitions.pause(rollout, desired, _why(command, "paused"), now)
        case "promote":
            return transitions.promote(rollout, desired, _why(command, "promoted"))
        case "abort":
            return _abort(rollout, desired, _why(command, "aborted"), now)
        case _:
            assert_never(command.verb)


def _abort(rollout: Rollout, desired: Desired, why: str, now: datetime) -> PhaseChange:
    return transitions.roll_back(rollout, desired, "aborted", "aborted", why, now)


def _rollback(rollout: Rollout, desired: Desired, command: Command, now: datetime) -> PhaseChange:
    """Return to an earlier release: the one the command names, otherwise the one that served
    before.

    During a rollout the way back to the stable release is to abort. An earlier release has baked
    once, so it takes over in one step and needs no bake.
    """
    goal = command.release
    if isinstance(rollout.phase, Stepping | Baking):
        if goal is None or (rollout.stable and goal.version == rollout.stable.version):
            return _abort(rollout, desired, _why(command, "rolled back"), now)
    elif goal is None and isinstance(rollout.phase, RollingBack):
        return _change_nothing(rollout, desired, command, "it is being rolled back already")
    elif goal is None:
        goal = rollout.previous
    if goal is None:
        return _change_nothing(rollout, desired, command, "no release served before this one")
    if isinstance(rollout.phase, Retiring):
        return _change_nothing(rollout, desired, command, "the model is being retired")
    if rollout.stable and goal.version == rollout.stable.version:
        why = f"release {goal.version} serves already"
        return _change_nothing(rollout, desired, command, why)
    # Published now: if releases compete for capacity, the earlier request wins, not the older
    # release.
    release = replace(
        goal, generation=desired.generation + 1, force=True, released_at=command.given_at
    )
    why = f"{_why(command, 'rolled back')} to release {goal.version}"
    requested = Transition(goal.version, phase_name(rollout.phase), "desired", why)
    ended = transitions.supersede_pending(rollout, desired, why)
    if isinstance(rollout.phase, Settled):
        rollout = replace(rollout, promoted=True)
    desired = replace(desired, release=release, generation=release.generation)
    return PhaseChange(rollout, desired, (*ended, requested))


def _retire(rollout: Rollout, desired: Desired, command: Command, now: datetime) -> PhaseChange:
    why = _why(command, "retired")
    ended = transitions.supersede_pending(rollout, desired, why)
    if rollout.stable is None and rollout.candidate is None:
        undesired = replace(desired, release=None)
        change = _change_nothing(rollout, undesired, command, "nothing of the model exists")
    else:
        change = transitions.retire(rollout, desired, why, now)
    return replace(change, transitions=(*ended, *change.transitions))


def _change_nothing(
    rollout: Rollout, desired: Desired, command: Command, because: str
) -> PhaseChange:
    phase = phase_name(rollout.phase)
    why = f"{command.verb} changes nothing: {because}"
    return PhaseChange(rollout, desired, (Transition(_version(rollout), phase, phase, why),))


def _version(rollout: Rollout) -> str:
    release = release_in_focus(rollout)
    return release.version if release else ""


def _why(command: Command, done: str) -> str:
    by = f" by {command.requested_by}" if command.requested_by else " on command"
    return f"{done}{by}" + (f": {command.reason}" if command.reason else "")
