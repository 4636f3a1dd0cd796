"""The line of a model's intents: what releases and commands ask for, in the order in which they
were published. Pure.

Delivery is unordered, so what is desired is computed from the whole line, whenever an intent joins
it (`rollout/accept.py`) or a release ends (`rollout/transitions.py`): `fold(rollout, desired)`.

    line       release 2 ──> release 3 ──> pause ──> rollback ──> release 4 ──> abort
    desired    2             3             3 paused  1            4             1

Invariant: the fold depends on the order of the line and on what became of the releases, and never
on when an intent arrived. A superseded or aborted release does not come back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field, replace
from datetime import datetime, timedelta

from rollout.deferred import dataclass
from rollout.model import (
    Baking,
    Desired,
    Intent,
    IntentKey,
    Outcome,
    Release,
    Retiring,
    Rollout,
    Stepping,
)
from rollout.spec.steps import approvers_of

REMEMBERED = timedelta(hours=1)
"""How long an intent stays in line without an effect, for one that was published before it and
arrives later. Pub/Sub redelivers at least every ten minutes."""

MAX_LINE = 40
NEWER = "something newer was published before it arrived"
NOT_ROLLED_OUT = "no release is being rolled out"
ALREADY_PROMOTED = "it is promoted already"
PAUSED_ALREADY = "it is paused already"
NOTHING_EXISTS = "nothing of the model exists"
_NO_EFFECT = {
    "pause": PAUSED_ALREADY,
    "promote": ALREADY_PROMOTED,
    "resume": "nothing is paused",
    "retry": "it has not failed",
    "approve": "no approval is awaited",
}
DECIDING = ("release", "retry", "rollback", "retire")
"""The verbs that decide which release is desired; a retry of the candidate is not among them."""


@dataclass(frozen=True)
class Slot:
    """A release that is desired, or would be if those above it ended. `paused` says why."""

    release: Release
    paused: str = ""
    promoted: bool = False


@dataclass(frozen=True)
class Fold:
    """What a line asks for. `slots`: first the release that serves, last the one that should.

    `ends` says for each release of the line that is not desired any more how it ended and why;
    `answers` why an intent changes nothing; `targets` which release a command is about. `newest` is
    the verb of the newest release, rollback or retirement since what serves was published, empty if
    there is none, and `about` the generation of the release that it made the desired one.
    """

    slots: tuple[Slot, ...] = ()
    newest: str = ""
    about: int = 0
    is_retired: bool = False
    ends: dict[int, tuple[Outcome, str]] = field(default_factory=dict, compare=False)
    answers: dict[str, str] = field(default_factory=dict, compare=False)
    targets: dict[str, int] = field(default_factory=dict, compare=False)

    @property
    def top(self) -> Slot | None:
        return self.slots[-1] if self.slots else None

    def slot_of(self, release: Release) -> Slot | None:
        found = (each for each in self.slots if each.release.generation == release.generation)
        return next(found, None)


# ---- The releases of a rollout


def pending_release(rollout: Rollout, desired: Desired) -> Release | None:
    """The desired release, if its rollout has not begun."""
    begun = [release.generation for release in (rollout.stable, rollout.candidate) if release]
    release = desired.release
    return None if release is None or release.generation in begun else release


def release_in_progress(rollout: Rollout) -> Release | None:
    return rollout.candidate if isinstance(rollout.phase, Stepping | Baking) else None


def serving_release(rollout: Rollout) -> Release | None:
    """The release that a newer one replaces: none if the model is being retired."""
    return None if isinstance(rollout.phase, Retiring) else rollout.stable


def is_waited_for(release: Release) -> bool:
    return release.spec.rollout.on_newer == "wait"


def rejecting_release(rollout: Rollout, desired: Desired) -> Release | None:
    """The release in progress that lets no newer one in (`on_newer` is `reject`). One that a
    rollback restored does: a fix may follow it at once.
    """
    for release in (pending_release(rollout, desired), release_in_progress(rollout)):
        if release and release.spec.rollout.on_newer == "reject" and not release.is_restored:
            return release
    return None


def base_of(rollout: Rollout, desired: Desired, key: IntentKey) -> Release | None:
    """The release that one published at `key` inherits from: the newest before it that has not
    failed, been aborted or been paused after a failure.
    """
    progressing = release_in_progress(rollout)
    if rollout.paused and rollout.paused.after_failure:
        progressing = None
    found = [pending_release(rollout, desired)]
    if not isinstance(rollout.phase, Retiring):
        found += [progressing, rollout.stable, rollout.previous]
    return next((release for release in found if release and release.key < key), None)


def is_outdated(rollout: Rollout, desired: Desired, key: IntentKey) -> bool:
    """Whether a release with this place in line could not become the desired one."""
    stable = serving_release(rollout)
    decided = (each.key for each in desired.line if is_deciding(each))
    return any(key < newer for newer in (*decided, *((stable.key,) if stable else ())))


def is_deciding(intent: Intent) -> bool:
    return intent.verb in DECIDING and (intent.verb != "retry" or intent.generation > 0)


def publishes(intent: Intent) -> bool:
    """Whether it is a release, or one that is tried again."""
    return is_deciding(intent) and intent.verb in ("release", "retry")


def restored_release(intent: Intent) -> Release:
    """The release that a rollback makes the desired one again. It counts as published with the
    command: if releases compete for capacity, the earlier request wins, not the older release.
    """
    if intent.goal is None:
        raise ValueError(f"{intent.verb} {intent.event_id} restores no release")
    return replace(
        intent.goal,
        generation=intent.generation,
        force=True,
        released_at=intent.published_at,
        sent_at=intent.sent_at,
        event_id=intent.event_id,
        own_id=intent.own_id,
        is_restored=True,
    )


# ---- The fold


def fold(
    rollout: Rollout, desired: Desired, new: Release | None = None, ended: Release | None = None
) -> Fold:
    """What the line asks for. `new` is a release of the line that was just accepted, `ended` one
    that is ending now.
    """
    base = serving_release(rollout)
    live = (release_in_progress(rollout), pending_release(rollout, desired), new)
    releases = {each.generation: each for each in live if each and each != ended}
    state = Fold((Slot(base),), about=base.generation) if base else Fold()
    for intent in desired.line:
        if base and intent.key <= base.key:
            state.answers[intent.event_id] = NEWER
            state.ends[intent.generation] = ("superseded", f"release {base.version} is newer")
        elif publishes(intent):
            state = _release(state, intent, releases.get(intent.generation), rollout)
        elif intent.verb == "rollback":
            state = _rollback(state, intent, base)
        elif intent.verb == "retire":
            state = _keep(state, intent, (), "superseded", why(intent, "retired"))
            state = replace(state, is_retired=True)
            state.answers[intent.event_id] = NOTHING_EXISTS
        else:
            state = _command(state, intent, base)
    return state


def desired_without(rollout: Rollout, desired: Desired, ended: Release) -> Desired:
    """What is desired after a release has failed. If a rollback restored it, that is no goal any
    more.
    """
    line = tuple(
        replace(each, goal=None) if each.goal and each.generation == ended.generation else each
        for each in desired.line
    )
    desired = replace(desired, line=line)
    return with_top(desired, fold(rollout, desired, ended=ended))


def with_top(desired: Desired, folded: Fold) -> Desired:
    top = folded.top
    release, paused, promoted = (
        (top.release, top.paused, top.promoted) if top else (None, "", False)
    )
    return replace(desired, release=release, paused=paused, promoted=promoted)


def _generation(slot: Slot | None) -> int:
    return slot.release.generation if slot else 0


def _keep(
    state: Fold, intent: Intent, kept: Iterable[Slot], outcome: Outcome, why_ended: str
) -> Fold:
    """The fold with some of its slots; the others end."""
    slots = tuple(kept)
    for slot in state.slots:
        if slot not in slots:
            state.ends[slot.release.generation] = (outcome, why_ended)
    newest = "release" if publishes(intent) else intent.verb
    after = replace(state, slots=slots, newest=newest)
    return replace(after, about=_generation(after.top))


def _push(state: Fold, release: Release) -> Fold:
    return replace(state, slots=(*state.slots, Slot(release)), about=release.generation)


def _release(state: Fold, intent: Intent, release: Release | None, rollout: Rollout) -> Fold:
    """The release supersedes those before it, except for the one that serves, one that the rollout
    finishes first (`on_newer` is `wait`), and one that a rollback restored, to return to.
    """
    progressing = release_in_progress(rollout)
    waited_for = progressing if progressing and is_waited_for(progressing) else None
    kept = (
        slot
        for slot in state.slots
        if slot.release in (rollout.stable, waited_for) or slot.release.is_restored
    )
    state = _keep(state, intent, kept, "superseded", f"release {intent.version} is newer")
    return _push(state, release) if release else replace(state, about=intent.generation)


def _rollback(state: Fold, intent: Intent, base: Release | None) -> Fold:
    """Return to the named release, otherwise to what was desired before the newest release. So a
    second one without a version changes nothing.
    """
    top, is_repeat = state.top, state.newest in ("rollback", "retire")
    done = why(intent, "rolled back")
    if intent.version and not (top and top.release.version == intent.version):
        kept = [slot for slot in state.slots if slot.release == base]
        state = _keep(state, intent, kept, "aborted", done)
        is_base = bool(kept) and kept[0].release.version == intent.version
        return _push(state, restored_release(intent)) if intent.goal and not is_base else state
    if not intent.version and state.newest == "release":
        kept = [slot for slot in state.slots if slot.release == base or slot.release.is_restored]
        if len(kept) < len(state.slots):
            return _keep(state, intent, kept, "aborted", done)
    if not (intent.version or state.newest) and base and not base.is_restored:
        if intent.goal:
            state = _keep(state, intent, state.slots, "aborted", done)
            return _push(state, restored_release(intent))
        state.answers[intent.event_id] = "no release served before this one"
    elif top:
        state.answers[intent.event_id] = f"release {top.release.version} is desired already"
    else:
        state.answers[intent.event_id] = "nothing is desired"
    return state if is_repeat else _keep(state, intent, state.slots, "aborted", done)


def _command(state: Fold, intent: Intent, base: Release | None) -> Fold:
    """A command about a release that is being rolled out."""
    target = _target(state, intent, base)
    if target is None:
        nothing = "nothing is paused" if intent.verb == "resume" else NOT_ROLLED_OUT
        named = f"release {intent.version} is not being rolled out"
        state.answers[intent.event_id] = named if intent.version else nothing
        return state
    state.targets[intent.event_id] = target.release.generation
    if intent.verb == "reject":
        return _reject(state, intent, target)
    if intent.verb == "abort":
        state.ends[target.release.generation] = ("aborted", why(intent, "aborted"))
        return replace(state, slots=tuple(each for each in state.slots if each != target))
    match intent.verb:
        case "pause":
            after = target if target.paused else replace(target, paused=why(intent, "paused"))
        case "promote":
            after = replace(target, paused="", promoted=target.promoted or intent.is_full)
        case "resume" | "retry":
            after = replace(target, paused="")
        case _:  # an approval is about a step, and no step is in the line
            after = target
    if after == target:
        state.answers[intent.event_id] = _NO_EFFECT[intent.verb]
    return replace(state, slots=tuple(after if each == target else each for each in state.slots))


def _reject(state: Fold, intent: Intent, target: Slot) -> Fold:
    """Whoever may approve a release may reject it, from its publication to its end; against an
    approval, too, whichever came first.
    """
    release = target.release
    approvers = approvers_of(release.spec.rollout.steps or ())
    if not approvers or release.is_restored:
        because = f"release {release.version} asks for no approval; abort it"
    elif intent.approver not in approvers:
        because = may_not(intent, f"release {release.version}", sorted(approvers))
    else:
        state.ends[release.generation] = ("rolled_back", why(intent, "rejected"))
        return replace(state, slots=tuple(each for each in state.slots if each != target))
    state.answers[intent.event_id] = because
    return state


def may_not(intent: Intent, about: str, approvers: Iterable[str]) -> str:
    """Why an approval or a rejection does not count."""
    by = " or ".join(approvers)
    origin = f"came by {intent.approver}" if intent.approver else "was neither signed nor"
    origin += "" if intent.approver else " published on a topic for approvals"
    return f"{about} asks for approval by {by}, and this {origin}"


def _target(state: Fold, intent: Intent, base: Release | None) -> Slot | None:
    """The slot that a command is about: of the newest release, or of the one it names. If the
    newest has ended, no other takes its place.
    """
    rolled_out = [slot for slot in state.slots if slot.release != base]
    if intent.version:
        found = (slot for slot in rolled_out if slot.release.version == intent.version)
    else:
        found = (slot for slot in rolled_out if slot.release.generation == state.about)
    return next(found, None)


def why(intent: Intent, done: str) -> str:
    """Who requested it, and why: `paused by ann: wait for bob`."""
    by = f" by {intent.requested_by}" if intent.requested_by else " on command"
    return f"{done}{by}" + (f": {intent.reason}" if intent.reason else "")


# ---- What is remembered


def join(desired: Desired, intent: Intent) -> Desired:
    """The desired state with the intent in its place in line."""
    return replace(desired, line=tuple(sorted((*desired.line, intent), key=lambda each: each.key)))


def forget(rollout: Rollout, desired: Desired, now: datetime) -> Desired:
    """The desired state without the intents that change nothing any more: the old ones, and the
    oldest of a line that is too long. An old one changes nothing if the old ones alone ask for the
    same without it: then what arrives late, and joins after them, finds the same, too.
    """
    for intent in desired.line:
        line = desired.line
        if len(line) <= MAX_LINE:
            line = tuple(each for each in line if now - each.published_at > REMEMBERED)
        rest = tuple(each for each in line if each != intent)
        if intent in line and _asks_for(rollout, desired, rest) == _asks_for(
            rollout, desired, line
        ):
            shorter = (each for each in desired.line if each != intent)
            desired = replace(desired, line=tuple(shorter))
    return desired


def _asks_for(rollout: Rollout, desired: Desired, line: tuple[Intent, ...]) -> Fold:
    return fold(rollout, replace(desired, line=line))
