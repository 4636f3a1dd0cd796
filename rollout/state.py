"""The stored state of one model, and how one pass changes it. Pure.

Called by `handlers/`; `infra/store/documents.py` turns the state into a document and back.
Invariant: a pass over a settled model with nothing to change leaves the state equal, so that
nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from datetime import datetime, timedelta

from rollout import conditions, requeue
from rollout.counts import Counts
from rollout.course import Course
from rollout.deferred import dataclass
from rollout.model import Condition, Decision, Desired, Release, Rollout, Settled, Transition

VERIFIED = timedelta(minutes=5)
VERIFIED_PAUSED = timedelta(hours=1)
VERIFIED_PASSES = 60
"""So many routine passes more, while there are so many models that they are further apart."""


@dataclass(frozen=True)
class Lease:
    """Who reconciles the model, and until when. A lease is for efficiency; compare-and-set is the
    fence.
    """

    token: str
    expires: datetime


@dataclass(frozen=True)
class Hold:
    """Nothing is changed, because Compute Engine is newer than this state: it was changed at
    `revision`. `version`: the release with which a person wants to resume, if not the running one.
    """

    why: str
    since: datetime
    revision: int
    is_resumed: bool = False
    version: str = ""
    resumed_by: str = ""


@dataclass(frozen=True)
class Verified:
    """When a pass last read everything and found nothing to change, and the digest of the target
    that it compared with.
    """

    at: datetime
    target: str


@dataclass(frozen=True)
class ModelState:
    """The hot document of one model.

    `revision` counts the saves that changed more than the lease, `waiting_for` or an estimate:
    request ids are derived from it. `recent_events` holds the ids of the latest events, so that a
    duplicate changes nothing. `wakeups` counts the waits: how often a worker released the lease.
    `seconds_to_roll_back`: see `rollout/way_back_time.py`. `counts`: what the last pass that wrote
    this document counted; they alone are no reason to write it. `course`: what was predicted and
    observed of the present rollout.
    """

    desired: Desired
    rollout: Rollout = field(default_factory=Rollout)
    conditions: tuple[Condition, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    lease: Lease | None = None
    requeue_at: datetime | None = None
    revision: int = 0
    recent_events: tuple[str, ...] = ()
    waiting_for: str = ""
    hold: Hold | None = None
    wakeups: int = 0
    verified: Verified | None = None
    seconds_to_roll_back: int | None = None
    counts: Counts | None = None
    course: Course | None = None

    @property
    def is_routine(self) -> bool:
        """Whether the next pass is expected to find nothing to do."""
        release, focus = self.desired.release, release_in_focus(self.rollout)
        is_same = release and focus and release.generation == focus.generation
        return bool(is_same) and requeue.is_routine(self.rollout)


@dataclass(frozen=True)
class Settlement:
    """A decision together with the state to save."""

    state: ModelState
    decision: Decision


def settle(
    state: ModelState,
    decision: Decision,
    changes: Iterable[str],
    outputs: Mapping[str, str] | None,
    now: datetime,
) -> Settlement:
    """The state after one pass. `changes` are the reasons of the actions that the pass will apply.
    `outputs`: None if too little was read to know them.

    A model needs another pass until it is settled and nothing is left to change. A change to a
    settled model that was not due is drift and is recorded as such.
    """
    why = "; ".join(changes)
    if isinstance(decision.rollout.phase, Settled) and why:
        decision = replace(decision, requeue_at=now)
        kept = decision.rollout.kept
        was_settled = state.requeue_at is None or state.rollout.watched_since or kept
        leaving = [each for each in (kept, *decision.rollout.moved) if each and each.is_leaving]
        if was_settled and not leaving and not decision.transitions:
            decision = _with_drift(decision, why, now)
    if outputs is None or (not outputs and decision.rollout.stable):
        outputs = state.outputs
    after = replace(
        state,
        desired=decision.desired,
        rollout=decision.rollout,
        conditions=conditions.keep_since(state.conditions, decision.conditions),
        outputs=outputs,
        requeue_at=requeue.merge(state.requeue_at, decision.requeue_at, now),
        waiting_for=decision.waiting_for,
        seconds_to_roll_back=decision.seconds_to_roll_back,
    )
    return Settlement(after, decision)


def _with_drift(decision: Decision, why: str, now: datetime) -> Decision:
    stable = decision.rollout.stable
    repaired = Transition(stable.version if stable else "", "settled", "repaired", why)
    drifted = Condition("Drifted", why, now)
    return replace(decision, transitions=(repaired,), conditions=(*decision.conditions, drifted))


def next_revision(before: ModelState, after: ModelState, *, is_takeover: bool) -> int:
    """The revision to save. `is_takeover`: an earlier worker's lease expired. What that worker did
    may not be known from the document, so its request ids must not be used again.
    """
    is_same = _without_progress(before) == _without_progress(after)
    revision = max(before.revision, after.revision)
    return revision if is_same and not is_takeover else revision + 1


def _without_progress(state: ModelState) -> ModelState:
    return replace(
        state,
        lease=None,
        waiting_for="",
        revision=0,
        wakeups=0,
        verified=None,
        seconds_to_roll_back=None,
        counts=None,
        course=None,
    )


def is_verified(state: ModelState, now: datetime, least: timedelta = timedelta(0)) -> bool:
    """Whether everything was read so lately that a pass may read only what changes by itself.
    `least`: how far routine passes are apart, since there are many models.
    """
    if state.verified is None:
        return False
    valid = VERIFIED_PAUSED if state.rollout.paused else VERIFIED
    if state.is_routine:
        valid += least * VERIFIED_PASSES
    return now - state.verified.at < valid


def release_in_focus(rollout: Rollout) -> Release | None:
    """The release that a log line or a command is about: the candidate, else the stable one."""
    return rollout.candidate or rollout.stable
