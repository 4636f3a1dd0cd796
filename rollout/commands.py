"""What people's commands change: `apply_commands(rollout, desired, now)` takes the pending ones in order and
says what each did.

Called by `advance` before anything else. Pure. Invariant: every command is answered by a transition
on record, also one that changes nothing, and a command never makes a phase claim that the world has
not shown."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

from rollout.model import (
    Baking,
    Command,
    Desired,
    Pause,
    Release,
    Retiring,
    RollingBack,
    Rollout,
    Settled,
    Stepping,
    Transition,
    phase_name,
)


@dataclass(frozen=True)
class CommandResult:
    rollout: Rollout
    desired: Desired
    transitions: tuple[Transition, ...] = ()


def apply_commands(rollout: Rollout, desired: Desired, now: datetime) -> CommandResult:
    obeyed = CommandResult(rollout, replace(desired, commands=()))
    for command in desired.commands:
        one = _obey_one(obeyed.rollout, obeyed.desired, command, now)
        obeyed = replace(one, transitions=(*obeyed.transitions, *one.transitions))
    return obeyed


def _obey_one(rollout: Rollout, desired: Desired, command: Command, now: datetime) -> CommandResult:
    if (
        command.version
        and command.verb not in ("rollback", "retire")
        and command.version != _subject(rollout)
    ):
        return _nothing(
            rollout, desired, command, f"release {command.version} is not the one on its way"
        )
    match command.verb:
        case "pause":
            return _pause(rollout, desired, command, now)
        case "resume":
            return _resume(rollout, desired, command, now)
        case "promote":
            return _promote(rollout, desired, command)
        case "abort":
            return _abort(rollout, desired, command, now)
        case "rollback":
            return _rollback(rollout, desired, command, now)
        case "retire":
            return _retire(rollout, desired, command, now)
        case _:
            assert_never(command.verb)


def _pause(rollout: Rollout, desired: Desired, command: Command, now: datetime) -> CommandResult:
    if not isinstance(rollout.phase, Stepping | Baking):
        return _nothing(rollout, desired, command, "no release is on its way")
    why = _said(command, "paused")
    return _told(replace(rollout, paused=Pause(why, now)), desired, rollout, "paused", why)


def _resume(rollout: Rollout, desired: Desired, command: Command, now: datetime) -> CommandResult:
    """Go on. The time of the pause counts neither for the bake nor for a deadline."""
    if rollout.paused is None:
        return _nothing(rollout, desired, command, "nothing is paused")
    resumed = replace(shift(rollout, now - rollout.paused.since), paused=None)
    return _told(resumed, desired, rollout, phase_name(rollout.phase), _said(command, "resumed"))


def shift(rollout: Rollout, span: timedelta) -> Rollout:
    """The rollout as if its present phase had begun, and got on, that much later."""
    phase, progress = rollout.phase, rollout.progress
    if isinstance(phase, Stepping | Baking):
        phase = replace(phase, since=phase.since + span)
    if progress:
        unwell = progress.degraded_since + span if progress.degraded_since else None
        progress = replace(progress, at=progress.at + span, degraded_since=unwell)
    return replace(rollout, phase=phase, progress=progress)


def _promote(rollout: Rollout, desired: Desired, command: Command) -> CommandResult:
    """Skip what is left of pauses, steps and bake time. The health gates still hold."""
    if not isinstance(rollout.phase, Stepping | Baking):
        return _nothing(rollout, desired, command, "no release is on its way")
    why = _said(command, "promoted")
    return _told(replace(rollout, paused=None, promoted=True), desired, rollout, "promoted", why)


def _abort(rollout: Rollout, desired: Desired, command: Command, now: datetime) -> CommandResult:
    if not isinstance(rollout.phase, Stepping | Baking):
        return _nothing(rollout, desired, command, "no release is on its way")
    return _turn_back(rollout, desired, _said(command, "aborted"), now)


def _rollback(rollout: Rollout, desired: Desired, command: Command, now: datetime) -> CommandResult:
    """Back to a kept release: the named one, else what served before. In mid-rollout the way back
    is to abort. A kept release has baked once, so it takes everything in one step, and its health
    is enough."""
    goal = command.release
    if isinstance(rollout.phase, Stepping | Baking):
        if goal is None or (rollout.stable and goal.version == rollout.stable.version):
            return _turn_back(rollout, desired, _said(command, "rolled back"), now)
    elif goal is None and isinstance(rollout.phase, RollingBack):
        return _nothing(rollout, desired, command, "it goes back already")
    elif goal is None:
        goal = rollout.previous
    if goal is None:
        return _nothing(rollout, desired, command, "no release served before this one")
    if isinstance(rollout.phase, Retiring):
        return _nothing(rollout, desired, command, "the model is being retired")
    if rollout.stable and goal.version == rollout.stable.version:
        return _nothing(rollout, desired, command, f"release {goal.version} serves already")
    # It is asked for now: a project's room goes to whoever asked first, and not to whoever served
    # long ago.
    wanted = replace(
        goal, generation=desired.generation + 1, force=True, released_at=command.given_at
    )
    why = f"{_said(command, 'rolled back')} to release {goal.version}"
    told = (
        *superseded(rollout, desired, why),
        Transition(goal.version, phase_name(rollout.phase), "asked", why),
    )
    if isinstance(rollout.phase, Settled):
        rollout = replace(rollout, promoted=True)
    return CommandResult(
        rollout, replace(desired, release=wanted, generation=wanted.generation), told
    )


def _retire(rollout: Rollout, desired: Desired, command: Command, now: datetime) -> CommandResult:
    why, unwanted = _said(command, "retired"), replace(desired, release=None)
    if rollout.stable is None and rollout.candidate is None:
        told = _nothing(rollout, unwanted, command, "nothing of the model exists")
    else:
        retiring = replace(
            rollout, phase=Retiring(now, why), paused=None, progress=None, promoted=False
        )
        told = _told(retiring, unwanted, rollout, "retiring", why)
    return replace(told, transitions=(*superseded(rollout, desired, why), *told.transitions))


def superseded(rollout: Rollout, desired: Desired, why: str) -> tuple[Transition, ...]:
    """The end of a desired release that something newer displaces before its rollout began; none
    that is on its way or serves."""
    waiting = desired.release
    begun = [release.generation for release in (rollout.stable, rollout.candidate) if release]
    if waiting is None or waiting.generation in begun:
        return ()
    return (Transition(waiting.version, "desired", "superseded", why, "superseded", "superseded"),)


def _turn_back(rollout: Rollout, desired: Desired, why: str, now: datetime) -> CommandResult:
    """The candidate goes. What is newer than it stays desired; otherwise the stable release is
    desired again."""
    candidate = rollout.candidate
    newer = desired.release and candidate and desired.release.generation != candidate.generation
    turned = replace(
        rollout,
        phase=RollingBack("aborted", "aborted", why, now),
        progress=None,
        paused=None,
        promoted=False,
    )
    return _told(
        turned,
        desired if newer else replace(desired, release=rollout.stable),
        rollout,
        "rolling_back",
        why,
    )


def _nothing(rollout: Rollout, desired: Desired, command: Command, because: str) -> CommandResult:
    return _told(
        rollout,
        desired,
        rollout,
        phase_name(rollout.phase),
        f"{command.verb} changes nothing: {because}",
    )


def _told(after: Rollout, desired: Desired, before: Rollout, to: str, why: str) -> CommandResult:
    return CommandResult(
        after, desired, (Transition(_subject(before), phase_name(before.phase), to, why),)
    )


def _subject(rollout: Rollout) -> str:
    release: Release | None = rollout.candidate or rollout.stable
    return release.version if release else ""


def _said(command: Command, done: str) -> str:
    by = f" by {command.requested_by}" if command.requested_by else " on command"
    return f"{done}{by}" + (f": {command.reason}" if command.reason else "")
