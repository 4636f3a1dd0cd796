"""What the commands show, from what is stored. Pure.

Each view is a frozen value whose fields are those of `--output json`; `read.py` makes tables of
them. Nothing here reads or formats for a terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from console.course import Comparison, Measures, comparison_of
from infra.store.documents import Summary, read_release_counts
from rollout.counts import ReleaseCount
from rollout.gates.clocks import decode
from rollout.gates.traffic import PROPAGATION
from rollout.intents import pending_release
from rollout.model import (
    FULL_WEIGHT,
    Baking,
    Release,
    Retiring,
    RollingBack,
    Rollout,
    Settled,
    Stepping,
    phase_name,
)
from rollout.spec.steps import ApproveStep, Step
from rollout.state import ModelState
from rollout.strategies import has_own_group
from rollout.targets import plan_of

Json = Mapping[str, Any]
NO_COMPARISON = Comparison()


# ---- A model


@dataclass(frozen=True)
class ModelView:
    """A line of `slipway models`: what serves, and how."""

    model: str
    stable: str
    candidate: str
    phase: str
    region: str
    machine: str
    instances: str
    strategy: str
    conditions: tuple[str, ...]
    address: str


Urgency = Literal["attention", "under way", "settled"]
URGENCIES: tuple[Urgency, ...] = ("attention", "under way", "settled")


@dataclass(frozen=True)
class OverviewView:
    """A line of `slipway status` without MODEL, and of the dashboard's first page. `urgency`: that
    something is wrong or a person has to act, that a rollout is under way, or neither.
    """

    model: str
    stable: str
    coming: str
    phase: str
    waiting_for: str
    urgency: Urgency

    @property
    def key(self) -> tuple[int, str]:
        """Sorts what needs attention first."""
        return URGENCIES.index(self.urgency), self.model


@dataclass(frozen=True)
class StepView:
    number: int
    goal: str
    state: str  # passed, present or next


@dataclass(frozen=True)
class GateView:
    """`step`: in which step it judged, from 1; 0 before the first one."""

    gate: str
    verdict: str
    why: str
    step: int
    evaluated_until: datetime | None


@dataclass(frozen=True)
class ConditionView:
    type: str
    why: str
    since: datetime


@dataclass(frozen=True)
class StatusView:
    """What `slipway status MODEL` shows. `why`: why it rolls back or is retired. `healthy` and
    `needed` are those of the release that is judged, and None if none is. `until`: when what the
    model waits for happens at the earliest, or what follows if it does not, as `until_what`
    says.
    """

    model: str
    stable: str
    candidate: str
    desired: str
    previous: str
    phase: str
    phase_since: datetime | None
    why: str
    step: int
    steps: tuple[StepView, ...]
    weight_percent: float | None
    healthy: int | None
    needed: int | None
    waiting_for: str
    until: datetime | None
    until_what: str
    paused: str
    on_hold: str
    next_pass: datetime | None
    last_observed_at: datetime | None
    seconds_to_roll_back: int | None
    last_failed: str
    counts: tuple[ReleaseCount, ...] = ()
    counted_at: datetime | None = None
    gates: tuple[GateView, ...] = ()
    conditions: tuple[ConditionView, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)


def model_view(state: ModelState) -> ModelView:
    rollout = state.rollout
    release = rollout.stable or rollout.candidate or state.desired.release
    spec = release.spec if release else None
    return ModelView(
        model=state.desired.model,
        stable=_version(rollout.stable),
        candidate=_version(rollout.candidate),
        phase=phase_name(rollout.phase),
        region=spec.placement.region if spec else "",
        machine=_machine(release) if release else "",
        instances=f"{spec.scaling.min} to {spec.scaling.max}" if spec else "",
        strategy=spec.rollout.strategy if spec else "",
        conditions=tuple(each.type for each in state.conditions),
        address=state.outputs.get("address", ""),
    )


def overview_view(summary: Summary) -> OverviewView:
    failed = f"last failed: release {summary.last_failed}" if summary.last_failed else ""
    stops = summary.on_hold or summary.paused
    is_wrong = stops or summary.warning or summary.phase == "rolling_back"
    is_over = summary.phase == "settled" and not summary.desired
    return OverviewView(
        model=summary.model,
        stable=summary.stable,
        coming=summary.candidate or summary.desired,
        phase="paused" if summary.paused else "on hold" if summary.on_hold else summary.phase,
        waiting_for=stops or summary.warning or summary.waiting_for or failed,
        urgency="attention" if is_wrong else "settled" if is_over else "under way",
    )


def unreadable_view(model: str, why: str) -> OverviewView:
    """A model whose document was written by another Slipway, or is damaged."""
    return OverviewView(model, "?", "?", "?", why, "attention")


def status_view(state: ModelState) -> StatusView:
    rollout, phase = state.rollout, state.rollout.phase
    healthy, needed = _health(rollout)
    until, until_what = _until(rollout)
    pending = pending_release(rollout, state.desired)
    return StatusView(
        model=state.desired.model,
        stable=_version(rollout.stable),
        candidate=_version(rollout.candidate),
        desired=_version(pending),
        previous=_version(rollout.previous),
        phase=phase_name(phase),
        phase_since=None if isinstance(phase, Settled) else phase.since,
        why=phase.why if isinstance(phase, RollingBack | Retiring) else "",
        step=phase.step + 1 if isinstance(phase, Stepping) else 0,
        steps=_steps(rollout),
        weight_percent=_weight(rollout),
        healthy=healthy,
        needed=needed,
        waiting_for=state.waiting_for,
        until=until,
        until_what=until_what,
        paused=rollout.paused.why if rollout.paused else state.desired.paused,
        on_hold=state.hold.why if state.hold else "",
        next_pass=state.requeue_at,
        last_observed_at=rollout.last_observed_at,
        seconds_to_roll_back=state.seconds_to_roll_back,
        last_failed=rollout.last_failed,
        counts=state.counts.releases if state.counts else (),
        counted_at=state.counts.at if state.counts else None,
        gates=tuple(
            GateView(each.gate, each.verdict, each.why, each.step + 1, each.evaluated_until)
            for each in rollout.gates
        ),
        conditions=tuple(
            ConditionView(each.type, each.why, each.since) for each in state.conditions
        ),
        outputs=dict(state.outputs),
    )


def is_over(state: ModelState) -> bool:
    """Whether no rollout, rollback or removal is under way or about to begin."""
    is_settled = isinstance(state.rollout.phase, Settled)
    return is_settled and pending_release(state.rollout, state.desired) is None


def steps_of(rollout: Rollout) -> tuple[Step, ...]:
    return plan_of(rollout)[2] if rollout.candidate else ()


def _version(release: Release | None) -> str:
    return release.version if release else ""


def _machine(release: Release) -> str:
    machine = release.spec.machine
    gpus = machine.accelerator
    return f"{machine.type}, {gpus.count} x {gpus.type}" if gpus else machine.type


def _steps(rollout: Rollout) -> tuple[StepView, ...]:
    phase = rollout.phase
    if not isinstance(phase, Stepping | Baking):
        return ()
    steps = steps_of(rollout)
    present = phase.step if isinstance(phase, Stepping) else len(steps)
    return tuple(
        StepView(
            number + 1,
            step.goal,
            "passed" if number < present else "present" if number == present else "next",
        )
        for number, step in enumerate(steps)
    )


def _weight(rollout: Rollout) -> float | None:
    """The percentage of the requests that the candidate has; None without a group of its own."""
    phase = rollout.phase
    if not has_own_group(rollout):
        return None
    if isinstance(phase, Stepping | RollingBack):
        return 100 * phase.weight / FULL_WEIGHT
    return 100.0 if isinstance(phase, Baking) else None


def _health(rollout: Rollout) -> tuple[int | None, int | None]:
    progress = rollout.progress
    if progress is None or isinstance(rollout.phase, RollingBack | Retiring):
        return None, None
    clocks = decode(progress.clocks)
    healthy = sum(each.state == "healthy" for each in clocks.values())
    return healthy, progress.needed or None


def _until(rollout: Rollout) -> tuple[datetime | None, str]:
    phase, paused = rollout.phase, rollout.paused
    match phase:
        case _ if paused:
            return None, ""
        case Stepping():
            return _until_of_step(rollout, phase)
        case Baking() if rollout.candidate:
            seconds = rollout.candidate.spec.rollout.bake_seconds
            return phase.since + timedelta(seconds=seconds), "the bake ends at the earliest"
        case Settled() if rollout.kept:
            return rollout.kept.until, f"the {rollout.kept.colour} group is kept until then"
        case Settled() if rollout.watched_since and rollout.stable:
            seconds = rollout.stable.spec.rollout.watch_seconds
            return rollout.watched_since + timedelta(seconds=seconds), "the watch ends"
    return None, ""


def _until_of_step(rollout: Rollout, phase: Stepping) -> tuple[datetime | None, str]:
    steps = steps_of(rollout)
    step = steps[min(phase.step, len(steps) - 1)]
    if isinstance(step, ApproveStep) and not phase.approved_by:
        seconds = step.approve.timeout_seconds
        until = phase.since + timedelta(seconds=seconds)
        return until, f"then {step.approve.on_timeout}, if nobody approves it"
    hold = timedelta(seconds=step.hold_seconds)
    since = phase.since
    if has_own_group(rollout):
        if not phase.is_granted or phase.routed_since is None:
            return None, ""
        since = phase.routed_since + (PROPAGATION if step.is_routed else timedelta(0))
    return since + hold, "the step ends at the earliest"


# ---- Releases


@dataclass(frozen=True)
class ReleaseView:
    """A line of `slipway history MODEL`. `rollback`: whether `rollback --version` may name it.
    `lasted_seconds`: from when it was released to its end. `course`: what was predicted and
    observed of its last rollout.
    """

    version: str
    generation: int
    outcome: str
    reason: str
    why: str
    released_at: datetime
    lasted_seconds: int | None
    requested_by: str
    rollback: bool
    image: str
    attempts: int
    course: Comparison = NO_COMPARISON


def history_view(
    records: Iterable[Json], state: ModelState | None, now: datetime
) -> tuple[ReleaseView, ...]:
    """The releases of a model, newest first."""
    found = [_release_view(record, state, now) for record in records]
    return tuple(sorted(found, key=lambda each: each.generation, reverse=True))


def _release_view(record: Json, state: ModelState | None, now: datetime) -> ReleaseView:
    ended = record.get("ended") or {}
    stable = state.rollout.stable if state else None
    is_stable = stable is not None and stable.version == record["version"]
    lasted = (ended["at"] - record["released_at"]).total_seconds() if ended else None
    return ReleaseView(
        version=record["version"],
        generation=record["generation"],
        outcome=record.get("outcome") or _present(record, state),
        reason=ended.get("reason") or "",
        why=ended.get("why") or "",
        released_at=record["released_at"],
        lasted_seconds=None if lasted is None else max(0, round(lasted)),
        requested_by=record.get("requested_by", ""),
        rollback=bool(record.get("baked_at")) and not is_stable and stable is not None,
        image=(record.get("spec") or {}).get("artifact", {}).get("image") or "",
        attempts=len(record.get("attempts", ())),
        course=comparison_of(record, state, now),
    )


def _present(record: Json, state: ModelState | None) -> str:
    """What a release that has not ended is."""
    rollout = state.rollout if state else Rollout()
    candidate = rollout.candidate
    if candidate and candidate.generation == record["generation"]:
        return phase_name(rollout.phase)
    return "desired"


def attempt_of(record: Json | None, event_id: str) -> Json | None:
    """The end of the attempt that an event began; None if it has not ended."""
    attempts = record.get("attempts", ()) if record else ()
    return next((each for each in attempts if each.get("event_id") == event_id), None)


# ---- Decisions


@dataclass(frozen=True)
class EntryView:
    """One entry of a model's log."""

    id: str
    at: datetime
    model: str
    release: str
    from_: str
    to: str
    why: str
    reason: str
    outcome: str
    evidence: tuple[str, ...]
    problems: tuple[str, ...]
    seconds_to_roll_back: int | None
    gates: tuple[str, ...]
    event_id: str
    counts: tuple[ReleaseCount, ...] = ()


@dataclass(frozen=True)
class WhyView:
    """What `slipway why` shows: the decision that explains the release best, and all of them.
    `observed` is the evidence of that decision: what Compute Engine reported, in its own words.
    `seconds`: how long the last rollout of the release took; None until it has ended. `predicted`,
    `actual`: what was predicted and observed of it.
    """

    model: str
    version: str
    state: str
    reason: str
    why: str
    observed: tuple[str, ...]
    decisions: tuple[EntryView, ...]
    seconds: float | None = None
    predicted: Measures | None = None
    actual: Measures | None = None


def entry_view(entry_id: str, data: Json) -> EntryView:
    return EntryView(
        id=entry_id,
        at=data["at"],
        model=data["model"],
        release=data["release"],
        from_=data["from"],
        to=data["to"],
        why=data["why"],
        reason=data.get("reason") or "",
        outcome=data.get("outcome") or "",
        evidence=tuple(data.get("evidence") or ()),
        problems=tuple(data.get("problems") or ()),
        seconds_to_roll_back=data.get("seconds_to_roll_back"),
        gates=tuple(
            f"{each['gate']}: {each['verdict']}: {each['why']}" for each in data.get("gates") or ()
        ),
        event_id=data.get("event_id") or "",
        counts=read_release_counts(data.get("instances") or ()),
    )


def release_to_explain(state: ModelState, releases: Iterable[ReleaseView]) -> str:
    """The one that people ask about: the one in progress, else the newest."""
    rollout = state.rollout
    present = rollout.candidate or pending_release(rollout, state.desired)
    if present:
        return present.version
    return next((each.version for each in releases), "")


def why_view(
    model: str, version: str, entries: Iterable[EntryView], course: Comparison = NO_COMPARISON
) -> WhyView | None:
    """None if nothing of the release is in the log."""
    decisions = tuple(each for each in entries if each.release == version)
    if not decisions:
        return None
    changes = [each for each in decisions if _is_change(each)] or [*decisions]
    reasons = [each for each in changes if each.reason] or changes
    decisive = reasons[-1]
    observed = next((each.evidence for each in reversed(reasons) if each.evidence), ())
    last = changes[-1]
    return WhyView(
        model=model,
        version=version,
        state=last.outcome or last.to,
        reason=decisive.reason,
        why=decisive.why,
        observed=observed,
        decisions=decisions,
        seconds=_seconds_of_rollout(decisions),
        predicted=course.predicted,
        actual=course.actual,
    )


def _seconds_of_rollout(decisions: Iterable[EntryView]) -> float | None:
    """From the first phase after the release was last accepted to the end; what it had to wait for
    before is left out. None if it did not begin, or has not ended.
    """
    began: datetime | None = None
    took: float | None = None
    for entry in decisions:
        if entry.to == "desired":
            began = took = None
        elif began is None and not entry.outcome and _is_change(entry):
            began = entry.at
        elif began and took is None and entry.outcome:
            took = (entry.at - began).total_seconds()
    return took


def _is_change(entry: EntryView) -> bool:
    """Whether the entry says more than that a message changed nothing."""
    return entry.to not in ("quarantined", "unchanged", entry.from_)


# ---- Refused messages


@dataclass(frozen=True)
class QuarantineView:
    """A message that was refused. `message` has no value that could be a secret."""

    id: str
    at: datetime
    model: str
    version: str
    problems: tuple[str, ...]
    size: int
    message: str


def quarantine_view(key: str, data: Json, message: str) -> QuarantineView:
    return QuarantineView(
        id=key,
        at=data["at"],
        model=data.get("model") or "",
        version=data.get("version") or "",
        problems=tuple(data.get("problems") or (data.get("why", ""),)),
        size=data.get("size", 0),
        message=message,
    )
