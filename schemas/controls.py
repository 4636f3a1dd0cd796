"""Generates `docs/controls.md`: what each command does in each state.

`schemas/generate.py` writes it with the other generated files. Each state is built from values, and
each command goes through the functions that the intake uses; the words of a cell are those that
these record. `tests/rollout/test_controls.py` checks each cell against what has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from rollout import controls, transitions
from rollout.accept import accept
from rollout.intents import restored_release
from rollout.model import (
    Baking,
    Desired,
    Intent,
    Kept,
    Pause,
    Release,
    RollingBack,
    Rollout,
    Stepping,
    Transition,
    Verb,
)
from rollout.spec.message import ReleaseRequested, resolve
from rollout.spec.model import digest
from rollout.state import Hold, ModelState
from rollout.transitions import PhaseChange

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BEGAN, GIVEN = NOON + timedelta(minutes=10), NOON + timedelta(hours=2)
APPROVALS = "model-approvals"
AWAITED = {"approve": {"by": APPROVALS, "timeout_seconds": 3600}}
STEPS: tuple[Any, ...] = (
    {"percent": 1},
    {"preview": True},
    {"match": {"header": "x-canary", "value": "1"}},
    {"mirror": 10},
    {"weight": 5},
    AWAITED,
    {"weight": 100},
)
KINDS = ("percent", "preview", "match", "mirror", "weight", "approve")
APPROVE = KINDS.index("approve")


@dataclass(frozen=True)
class Command:
    name: str
    verb: Verb
    is_full: bool = False


COMMANDS = (
    *(Command(verb, verb) for verb in ("approve", "reject", "promote")),
    Command("promote, full", "promote", is_full=True),
    *(Command(verb, verb) for verb in ("pause", "resume", "abort", "rollback", "retry", "retire")),
)


@dataclass(frozen=True)
class Cell:
    """What a command does in a state: `refused` says why nothing, else `transitions` what."""

    state: str
    command: Command
    before: ModelState
    after: ModelState
    transitions: tuple[Transition, ...] = ()
    refused: str = ""


# ---- The states


def release(version: str, **rollout: Any) -> Release:
    fields = {"strategy": "canary", "steps": STEPS, "keep_old_seconds": 7200} | rollout
    patch: dict[str, Any] = {
        "artifact": {"image": f"us-docker.pkg.dev/demo/models/tiny:{version}"},
        "traffic": {"mirror_safe": True},
        "rollout": fields,
    }
    spec = resolve(ReleaseRequested("tiny", version, patch), None)
    generation = int(version)
    at = NOON + timedelta(minutes=generation)
    return Release(
        version, digest(spec), f"tiny-{version}", spec, generation, at, f"event-{version}"
    )


ONE, TWO, THREE, FOUR = (release(version) for version in "1234")
PATIENT = release("3", on_newer="wait")


def _published(of: Release) -> Intent:
    at = of.released_at
    return Intent("release", of.event_id, at, at, of.version, of.generation)


def _with(state: ModelState, of: Release) -> ModelState:
    """The state in which the release has just been accepted."""
    change = accept(state.rollout, state.desired, _published(of), BEGAN, of)
    return replace(state, rollout=change.rollout, desired=change.desired)


def _begun(of: Release = THREE, **fields: Any) -> ModelState:
    """The release is in its first step, unless `fields` say another phase."""
    state = _with(SERVING, of)
    begun = transitions.begin(state.rollout, state.desired, BEGAN)
    return replace(state, rollout=replace(begun.rollout, **fields), desired=begun.desired)


def _at(step: int, **fields: Any) -> ModelState:
    return _begun(phase=Stepping(step, BEGAN, 50 if step > 4 else 0, granted=step, **fields))


def _after(state: ModelState, verb: Verb, **fields: Any) -> ModelState:
    """The state after a command that was given before."""
    at = GIVEN - timedelta(minutes=5)
    given = Intent(verb, f"earlier-{verb}", at, at, **fields)
    change = accept(state.rollout, state.desired, given, at)
    return replace(state, rollout=change.rollout, desired=change.desired)


def _rolled_back(state: ModelState, **fields: Any) -> ModelState:
    why = "2 of 3 instances of release 3 are unhealthy"
    back: PhaseChange = transitions.roll_back(
        state.rollout, state.desired, "rolled_back", "unhealthy", why, BEGAN
    )
    phase = replace(back.rollout.phase, **fields)
    return replace(state, rollout=replace(back.rollout, phase=phase), desired=back.desired)


def _failed(state: ModelState) -> ModelState:
    """The rollback is over."""
    back = _rolled_back(state)
    phase = back.rollout.phase
    assert isinstance(phase, RollingBack)
    ended = transitions.finish_rollback(back.rollout, back.desired, phase)
    return replace(back, rollout=ended.rollout, desired=ended.desired)


def _restored() -> ModelState:
    """A rollback to release 1 is being rolled out."""
    at = NOON + timedelta(minutes=5)
    back = Intent("rollback", "earlier-rollback", at, at, "", 4, ONE)
    change = accept(SERVING.rollout, SERVING.desired, back, BEGAN)
    begun = transitions.begin(change.rollout, change.desired, BEGAN)
    assert begun.rollout.candidate == restored_release(back)
    return replace(SERVING, rollout=begun.rollout, desired=begun.desired)


SERVING = ModelState(
    Desired("tiny", TWO, 2, line=(_published(ONE), _published(TWO))),
    Rollout(stable=TWO, previous=ONE, serving_group="blue"),
)
NEW = ModelState(Desired("tiny", THREE, 3, line=(_published(THREE),)))


@cache
def states() -> Mapping[str, ModelState]:
    """One of each state in which commands differ."""
    first = transitions.begin(NEW.rollout, NEW.desired, BEGAN)
    first_release = replace(NEW, rollout=first.rollout, desired=first.desired)
    kept = Kept(ONE, "green", BEGAN, GIVEN + timedelta(hours=1))
    failing = Pause("2 of 3 instances of release 3 are unhealthy", BEGAN, after_failure=True)
    unread = Pause("no health data for release 3 for 15 min", BEGAN)
    timed_out = Pause("approval was awaited in vain", BEGAN + timedelta(hours=1))
    patient = _begun(PATIENT, phase=Stepping(4, BEGAN))
    hold = Hold("the store was restored", BEGAN, 9)
    return {
        "retired: nothing serves": ModelState(Desired("tiny", generation=2)),
        "settled: the first release has failed": _failed(first_release),
        "settled: 2 serves": SERVING,
        "settled: 2 serves, 3 has failed": _failed(_begun()),
        "settled: 2 serves and is watched": _serving(watched_since=BEGAN),
        "settled: 2 serves, the group of 1 is kept": _serving(kept=kept),
        "3 has not begun, as in a freeze": _with(SERVING, THREE),
        "3 has not begun, and is paused": _after(_with(SERVING, THREE), "pause"),
        "4 waits behind 3 (`on_newer: wait`)": _with(patient, FOUR),
        "first release, in its step": first_release,
        **{f"step `{kind}`": _at(number) for number, kind in enumerate(KINDS[:APPROVE])},
        "step `weight`, granted": _begun(phase=Stepping(4, BEGAN, 50, BEGAN, granted=5)),
        "step `approve`, awaited": _at(APPROVE),
        "step `approve`, approved": _at(APPROVE, approved_by="ann"),
        "step `weight`, promoted": _after(_at(4), "promote"),
        "step `weight`, promoted in full": _after(_at(4), "promote", is_full=True),
        "step `weight`, frozen": _at(4),
        "paused by a person": _after(_at(4), "pause"),
        "paused after a failure": replace(_at(4), rollout=replace(_at(4).rollout, paused=failing)),
        "paused for want of health data": replace(
            _at(4), rollout=replace(_at(4).rollout, paused=unread)
        ),
        "paused by a person, approval awaited": _after(_at(APPROVE), "pause"),
        "paused for want of approval": replace(
            _at(APPROVE), rollout=replace(_at(APPROVE).rollout, paused=timed_out)
        ),
        "baking": _begun(phase=Baking(BEGAN)),
        "baking, paused by a person": _after(_begun(phase=Baking(BEGAN)), "pause"),
        "a rollback to 1 is rolled out": _restored(),
        "3 is rolled back": _rolled_back(_at(4)),
        "3 is rolled back, stalled": _rolled_back(_at(4), stalled="no capacity"),
        "3 is rolled back, 4 follows": _with(_rolled_back(_at(4)), FOUR),
        "3 takes over a stalled rollback": _begun(stable_kept=2),
        "retiring": _after(SERVING, "retire"),
        "retiring, 3 follows": _with(_after(SERVING, "retire"), _late(THREE)),
        "on hold: the store was restored": replace(_at(4), hold=hold),
    }


def _serving(**fields: Any) -> ModelState:
    return replace(SERVING, rollout=replace(SERVING.rollout, **fields))


def _late(of: Release) -> Release:
    """Published after the earlier commands."""
    return replace(of, released_at=GIVEN - timedelta(minutes=1))


# ---- The cells


def cells() -> tuple[Cell, ...]:
    return tuple(
        cell_of(name, state, command) for name, state in states().items() for command in COMMANDS
    )


def cell_of(name: str, state: ModelState, command: Command, event_id: str = "given") -> Cell:
    """What the command does, given by somebody who may approve."""
    if why := controls.refusal(state, command.verb):
        return Cell(name, command, state, state, refused=why)
    if command.verb == "resume" and state.hold:
        resumed = Transition("3", "step_5", "resumed", "the next pass goes on")
        after = replace(state, hold=replace(state.hold, is_resumed=True))
        return Cell(name, command, state, after, (resumed,))
    generation = state.desired.generation + 1
    given = Intent(
        command.verb, event_id, GIVEN, GIVEN, is_full=command.is_full, approver=APPROVALS
    )
    again = None
    if command.verb == "rollback":
        given = replace(given, generation=generation, goal=state.rollout.previous)
    elif command.verb == "retry" and not controls.is_about_candidate(state, ""):
        given = replace(given, version=state.rollout.last_failed, generation=generation)
        again = replace(
            THREE, generation=generation, released_at=GIVEN, event_id=event_id, force=True
        )
    change = accept(state.rollout, state.desired, given, GIVEN, again)
    after = replace(state, rollout=change.rollout, desired=change.desired)
    _, found, because = change.transitions[-1].why.partition(" changes nothing: ")
    if found:
        return Cell(name, command, state, after, refused=because)
    return Cell(name, command, state, after, change.transitions)


# ---- The page

INTRODUCTION = """\
# Controls

What each command does in each state of a model. The table is generated from the code (`make
schema`), and a test checks every cell. [operations.md](operations.md#commands) says how to send a
command, and who may [approve](operations.md#approvals).

In the examples release 1 served before, release 2 serves, and release 3 is the candidate. It is a
canary with a step of each kind; its sixth step asks for approval by `model-approvals`, and the
approvals and rejections come from there. No command names a `version`.

A cell has the `to` of the [status events](operations.md#status-events) that the command records,
each with its release. `promoted` ends the hold of the present step, or the bake; in full it ends
also what follows, up to an approval. `desired` says which release is rolled out next, as soon as
nothing is in its way; if that release was desired already, it was paused and is not any more. A
phase, such as `step_5`, says that the rollout is not paused any more, and after `retry` that the
phase begins again. A dash with a number: the command is refused, or changes nothing, with the words
below. A second command of the same kind changes nothing more.

A freeze and a failed gate are not commands: a freeze keeps a rollout where it is, whatever was
commanded, and a candidate that fails is rolled back in every state before `baking` ends.
"""


def page() -> str:
    return f"{INTRODUCTION}\n{table()}\n"


def table() -> str:
    """The table, and the sentences of its refusals."""
    refusals: dict[str, int] = {}
    rows: list[str] = []
    found = iter(cells())
    for name in states():
        row = [next(found) for _ in COMMANDS]
        for cell in row:
            if cell.refused:
                refusals.setdefault(cell.refused, len(refusals) + 1)
        rows.append(f"| {name} | " + " | ".join(_text(cell, refusals) for cell in row) + " |")
    head = "| state | " + " | ".join(f"`{each.name}`" for each in COMMANDS) + " |"
    lines = (head, "|---" * (len(COMMANDS) + 1) + "|", *rows)
    sentences = (f"{number}. {sentence}" for sentence, number in refusals.items())
    return "\n".join((*lines, "", "Refused, with these words:", "", *sentences))


def _text(cell: Cell, refusals: Mapping[str, int]) -> str:
    if cell.refused:
        return f"– ({refusals[cell.refused]})"
    return ", ".join(f"{each.release} `{each.to}`" for each in cell.transitions)
