"""What became of a message, and whether what it asked for has ended. Pure.

The intake answers each message in the documents: it writes log entries that carry the event's id,
in the same commit as the model's state, or a quarantine record under the Pub/Sub message's id.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from console.views import EntryView, Json, attempt_of, is_over
from rollout.model import Verb
from rollout.spec.message import CommandGiven, ReleaseRequested
from rollout.state import ModelState

Kind = Literal["accepted", "unchanged", "superseded", "refused"]
FORWARD: tuple[Verb, ...] = ("approve", "promote", "resume", "retry")
"""Commands that let a rollout go on, so that what they lead to is how the rollout ends."""


@dataclass(frozen=True)
class Answer:
    """`release`: the version that the message is about, or the one that it made desired again."""

    kind: Kind
    why: str
    release: str = ""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReleaseEnds:
    """Wait until the attempt that the event began has ended. It has to succeed."""

    version: str
    event_id: str


@dataclass(frozen=True)
class ModelSettles:
    """Wait until nothing of the model is under way."""


@dataclass(frozen=True)
class RolloutPauses:
    """Wait until the rollout is paused, or over."""


Goal = ReleaseEnds | ModelSettles | RolloutPauses


@dataclass(frozen=True)
class Ending:
    outcome: str
    why: str
    is_good: bool


def refused(record: Json) -> Answer:
    """The answer in a quarantine record."""
    problems = tuple(map(str, record.get("problems") or (record["why"],)))
    return Answer("refused", str(record["why"]), problems=problems)


def answer_in(
    entries: Iterable[EntryView], request: ReleaseRequested | CommandGiven, event_id: str
) -> Answer:
    """The answer to a message that the model's state remembers."""
    found = [each for each in entries if each.event_id == event_id]
    if isinstance(request, ReleaseRequested):
        return _answer_to_release([each for each in found if each.release == request.version])
    nothing = f"{request.command} changes nothing: "
    for each in found:
        if each.why.startswith(nothing) or each.to == "unchanged":
            return Answer("unchanged", each.why)
    about = [each.release for each in (*(e for e in found if e.to == "desired"), *found)]
    why = "; ".join(f"release {each.release} is {each.to}: {each.why}" for each in found)
    return Answer(
        "accepted", why or "it takes effect with the next pass", about[0] if about else ""
    )


def _answer_to_release(found: list[EntryView]) -> Answer:
    for each in found:
        if each.to == "unchanged":
            return Answer("unchanged", each.why, each.release)
        if each.outcome:
            return Answer("superseded", f"{each.outcome}: {each.why}", each.release)
    first = found[0] if found else None
    why, version = (first.why, first.release) if first else ("", "")
    return Answer("accepted", why, version)


def goal_of(
    request: ReleaseRequested | CommandGiven, answer: Answer, event_id: str, record: Json | None
) -> Goal:
    """What `--wait` waits for, once the message is accepted. `record`: that of the release which
    the answer is about. Whether it is under way does not count: it may have ended since.
    """
    if isinstance(request, ReleaseRequested):
        return ReleaseEnds(request.version, event_id)
    began_by = str(record["event_id"]) if record else ""
    is_its_own = request.command == "rollback" and began_by == event_id
    if began_by and (is_its_own or request.command in FORWARD):
        return ReleaseEnds(answer.release, began_by)
    return RolloutPauses() if request.command == "pause" else ModelSettles()


def ending_of(goal: Goal, state: ModelState, record: Json | None) -> Ending | None:
    """How it ended; None if it has not. `record`: the release's, if the goal names one."""
    match goal:
        case ReleaseEnds():
            attempt = attempt_of(record, goal.event_id)
            if attempt is None:
                return None
            outcome = str(attempt["outcome"])
            return Ending(outcome, str(attempt["why"]), outcome == "succeeded")
        case RolloutPauses():
            paused = state.rollout.paused
            why = paused.why if paused else state.desired.paused
            if why:
                return Ending("paused", why, is_good=True)
            return (
                Ending("settled", "the rollout is over", is_good=False) if is_over(state) else None
            )
        case ModelSettles():
            stable = state.rollout.stable
            serving = f"release {stable.version} serves" if stable else "nothing serves"
            return Ending("settled", serving, is_good=True) if is_over(state) else None
