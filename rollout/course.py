"""The course of a rollout: what was predicted of it when it began, and what was observed. Pure.

Kept in the model's document while the rollout lasts, and in its release's record when it has ended,
for people to compare. Nothing is decided by it. What a pass observes changes it only if a phase
begins or a number exceeds all before, so that it causes few writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from rollout.counts import Counts
from rollout.deferred import dataclass
from rollout.model import Baking, Condition, Rollout, Stepping, phase_name
from rollout.step_controls import awaited_step

MOST_PHASES = 64
SUSPENDING = frozenset({"Frozen", "Restored", "Stopped"})
"""Conditions of a rollout that must not go on now."""


@dataclass(frozen=True)
class PhaseTime:
    """How long a phase takes: `step_1`, ..., `baking`."""

    phase: str
    seconds: int


@dataclass(frozen=True)
class PhaseStart:
    phase: str
    at: datetime


@dataclass(frozen=True)
class Prediction:
    """What a rollout was expected to take, from its first step to its success, without approvals.
    `instances`, `accelerators`, `cost` (per hour): at most. `lowest`: healthy instances of all
    releases at least. `seconds_to_roll_back`: at most. `stable_cost`, `candidate_cost`: of one
    instance of each release for an hour. A cost is None without a price.
    """

    phases: tuple[PhaseTime, ...] = ()
    instances: int = 0
    accelerators: int = 0
    cost: float | None = None
    lowest: int = 0
    seconds_to_roll_back: int | None = None
    stable_cost: float | None = None
    candidate_cost: float | None = None
    currency: str = ""


@dataclass(frozen=True)
class Course:
    """Of the rollout of release `generation`. `begun`: when each phase first began. The numbers are
    those of `Prediction`, as the passes observed them; None before the first observation.
    """

    generation: int
    begun: tuple[PhaseStart, ...] = ()
    predicted: Prediction | None = None
    instances: int = 0
    accelerators: int = 0
    cost: float | None = None
    lowest: int | None = None
    seconds_to_roll_back: int | None = None


def follow(
    course: Course | None, before: Rollout, after: Rollout, counts: Counts | None, now: datetime
) -> Course | None:
    """The course after a pass that led from `before` to `after`. None without a rollout, or if its
    beginning was not observed. `counts`: None if nothing was known about health.
    """
    candidate = after.candidate
    if candidate is None:
        return None
    if course is None or course.generation != candidate.generation:
        is_same = before.candidate and before.candidate.generation == candidate.generation
        if is_same or not isinstance(after.phase, Stepping):
            return None
        course = Course(candidate.generation)
    course = _in_phase(course, phase_name(after.phase), now)
    return _counted(course, after, counts) if counts else course


def seconds_overdue(
    course: Course | None, rollout: Rollout, conditions: Iterable[Condition], now: datetime
) -> int:
    """How much longer than predicted the present phase of a rollout takes; 0 if it does not, if
    nothing was predicted, or while it must not go on or people may approve the step.
    """
    phase = rollout.phase
    if course is None or course.predicted is None or rollout.paused or awaited_step(rollout):
        return 0
    if any(each.type in SUSPENDING for each in conditions):
        return 0
    if not isinstance(phase, Stepping | Baking):
        return 0
    name = phase_name(phase)
    expected = sum(each.seconds for each in course.predicted.phases if each.phase == name)
    return max(0, round((now - phase.since).total_seconds()) - expected)


def with_way_back(course: Course | None, seconds: int | None) -> Course | None:
    """`seconds`: how long a rollback would take now."""
    if course is None or seconds is None:
        return course
    longest = course.seconds_to_roll_back
    return replace(course, seconds_to_roll_back=max(seconds, longest or 0))


def _in_phase(course: Course, phase: str, now: datetime) -> Course:
    is_recorded = any(each.phase == phase for each in course.begun)
    if is_recorded or len(course.begun) >= MOST_PHASES:
        return course
    return replace(course, begun=(*course.begun, PhaseStart(phase, now)))


def _counted(course: Course, rollout: Rollout, counts: Counts) -> Course:
    healthy = sum(each.healthy for each in counts.releases)
    accelerators = sum(each.all * _accelerators(rollout, each.release) for each in counts.releases)
    return replace(
        course,
        instances=max(course.instances, sum(each.all for each in counts.releases)),
        accelerators=max(course.accelerators, accelerators),
        cost=_highest_cost(course, rollout, counts),
        lowest=healthy if course.lowest is None else min(course.lowest, healthy),
    )


def _accelerators(rollout: Rollout, version: str) -> int:
    for release in (rollout.candidate, rollout.stable):
        if release and release.version == version:
            accelerator = release.spec.machine.accelerator
            return accelerator.count if accelerator else 0
    return 0


def _highest_cost(course: Course, rollout: Rollout, counts: Counts) -> float | None:
    """None if an instance has no price. A release that is neither of both costs as the stable."""
    predicted, candidate = course.predicted, rollout.candidate
    if predicted is None:
        return None
    present = 0.0
    for each in counts.releases:
        is_new = candidate is not None and each.release == candidate.version
        price = predicted.candidate_cost if is_new else predicted.stable_cost
        if each.all and price is None:
            return course.cost
        present += each.all * (price or 0.0)
    return max(course.cost or 0.0, present)
