"""Which gates of a release are asked what, in which windows, and what became of it. Pure.

Called by `advance` once per pass: `queries_of` names what to measure, `update` adds the answers to
the records. A rollout's windows begin when the candidate has had requests for its warm-up, and go
on without a gap until the watch after the bake is over, in every phase and also while it is paused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from rollout.gates.base import GateResults
from rollout.gates.clocks import decode
from rollout.gates.record import GateRecord
from rollout.gates.traffic import PROPAGATION
from rollout.gates.windows import Question, judge_answer, judge_verdict
from rollout.measurements import (
    CountSource,
    ExternalVerdict,
    GateQuery,
    LatencySource,
    NoVerdict,
    Subject,
    ValueSource,
    VerdictRequest,
)
from rollout.model import (
    FULL_WEIGHT,
    Baking,
    Evidence,
    LatchedFailure,
    Phase,
    Release,
    RollingBack,
    Rollout,
    Settled,
    Stepping,
    phase_name,
)
from rollout.spec.gates import HARMFUL_RATIO, TOLERATED_SHARE, Gate, Kind, kind_of, resolved
from rollout.spec.steps import PercentStep, Step, WeightStep
from rollout.strategies import has_own_group, strategy_of, swap_of
from rollout.strategies.base import FIRST_GROUP

MOST_WINDOWS = 30
"""So many windows are asked for at once; what is older comes first."""
COMPARISONS: tuple[Kind, ...] = ("counts", "latency")
NEVER = datetime.max.replace(tzinfo=UTC)


def release_under_test(rollout: Rollout) -> Release | None:
    """The release that the gates judge: the candidate as long as it has requests, then the stable
    one while it is watched. What a rollback restores is not judged: it served before.
    """
    phase = rollout.phase
    if isinstance(phase, Settled):
        release = rollout.stable if rollout.watched_since else None
    else:
        release = rollout.candidate if _has_requests(phase) else None
    return None if release is None or release.is_restored else release


def _has_requests(phase: Phase) -> bool:
    """Whether a candidate is judged. One that has failed already is not judged again."""
    if isinstance(phase, RollingBack):
        return phase.outcome in ("superseded", "aborted")
    return isinstance(phase, Stepping | Baking)


def gates_of(rollout: Rollout) -> dict[str, Gate]:
    """The gates that judge now, by name, with their presets' fields."""
    release = release_under_test(rollout)
    if release is None:
        return {}
    return {name: resolved(name, gate) for name, gate in release.spec.rollout.gates.items()}


# ---- What to ask


def queries_of(rollout: Rollout, now: datetime) -> tuple[GateQuery, ...]:
    """The windows that each gate has not judged yet. Those whose data have not arrived are left out
    by the source.
    """
    release = release_under_test(rollout)
    if release is None:
        return ()
    seconds = release.spec.rollout.analysis.window_seconds
    found = []
    for name, gate in gates_of(rollout).items():
        source, span = source_of(name, gate), _present_span(rollout, name, now)
        if source is None or span is None:
            continue
        since, until = span
        until = min(until, since + timedelta(seconds=seconds) * MOST_WINDOWS)
        candidate, baseline = _subjects(rollout, release)
        is_compared = kind_of(name, gate) in COMPARISONS
        compared_with = baseline if is_compared else None
        found.append(GateQuery(name, source, candidate, compared_with, since, until, seconds))
    return tuple(found)


def verdict_requests(rollout: Rollout, model: str, now: datetime) -> tuple[VerdictRequest, ...]:
    """What each evaluation job is asked about the time that it has not judged yet."""
    release = release_under_test(rollout)
    if release is None:
        return ()
    stable = rollout.stable if rollout.candidate else None
    found = []
    for name, gate in gates_of(rollout).items():
        span = _present_span(rollout, name, now)
        if gate.url and span:
            request = VerdictRequest(
                name,
                gate.url,
                model,
                release.version,
                release.generation,
                stable.version if stable else "",
                phase_name(rollout.phase),
                100 * _share_now(rollout),
                *span,
            )
            found.append(request)
    return tuple(found)


def _present_span(rollout: Rollout, name: str, now: datetime) -> tuple[datetime, datetime] | None:
    """The whole windows that a gate has not judged yet; None if there is none."""
    release = release_under_test(rollout)
    if release is None:
        return None
    seconds = release.spec.rollout.analysis.window_seconds
    since = _first_window(rollout, release, _record(rollout, name), seconds)
    until = _multiple(now, seconds, math.floor)
    return (since, until) if since and since < until else None


def source_of(name: str, gate: Gate) -> CountSource | LatencySource | ValueSource | None:
    match kind_of(name, gate):
        case "counts":
            return CountSource(gate.bad or "", gate.total or "")
        case "latency":
            return LatencySource(gate.slower_than_seconds or 0.0, gate.histogram or "")
        case "limit":
            return ValueSource(gate.query or "")
        case "verdict":
            return None


def _first_window(
    rollout: Rollout, release: Release, record: GateRecord, seconds: int
) -> datetime | None:
    """When the next window begins; None if the candidate has no requests yet."""
    if record.evaluated_until:
        return record.evaluated_until
    began = _requests_since(rollout, kind_of(record.gate, release.spec.rollout.gates[record.gate]))
    if began is None:
        return None
    warm = began + timedelta(seconds=release.spec.rollout.analysis.warm_up_seconds)
    return _multiple(warm, seconds, math.ceil)


def _requests_since(rollout: Rollout, kind: Kind) -> datetime | None:
    """Since when requests reach the candidate: a share of all, or for other kinds than comparisons
    any, such as those of a preview.
    """
    phase = rollout.phase
    if not isinstance(phase, Stepping | Baking):
        return None
    if rollout.candidate and has_own_group(rollout):
        if isinstance(phase, Stepping) and not _is_reached(phase, kind):
            return None
        return phase.routed_since
    clocks = decode(rollout.progress.clocks) if rollout.progress else {}
    healthy = [clock.since for clock in clocks.values() if clock.state == "healthy"]
    return min(healthy, default=None)


def _is_reached(phase: Stepping, kind: Kind) -> bool:
    return phase.weight > 0 if kind in COMPARISONS else phase.granted > 0


def _subjects(rollout: Rollout, release: Release) -> tuple[Subject, Subject | None]:
    """The candidate and, while it has requests, the stable release."""
    serving, stable = rollout.serving_group or FIRST_GROUP, rollout.stable
    if rollout.candidate is None:
        return Subject(serving, release.version), None
    colour = strategy_of(release).candidate_group(swap_of(rollout, release))
    candidate = Subject(colour, release.version)
    if stable is None or _share_now(rollout) >= 1.0:
        return candidate, None
    return candidate, Subject(serving, stable.version)


def whole_windows(since: datetime, until: datetime, seconds: int) -> tuple[datetime, datetime]:
    """The span from the first to the last multiple of a window's length."""
    return _multiple(since, seconds, math.ceil), _multiple(until, seconds, math.floor)


def _multiple(time: datetime, seconds: int, round_to: Callable[[float], int]) -> datetime:
    return datetime.fromtimestamp(round_to(time.timestamp() / seconds) * seconds, UTC)


# ---- What they answer


def update(rollout: Rollout, evidence: Evidence, now: datetime) -> Rollout:
    """The rollout with what the answers add to its records. A fail is latched: it acts until the
    rollout is over, or a person has the release judged anew.
    """
    gates = gates_of(rollout)
    if not gates:
        return rollout
    questions = _questions(rollout, gates)
    records = []
    for name in gates:
        record, answer = _record(rollout, name), evidence.windows.get(name)
        if isinstance(answer, ExternalVerdict | NoVerdict):
            record = judge_verdict(record, questions[name], answer, now)
        elif answer is not None:
            record = judge_answer(record, questions[name], answer, now)
        records.append(record)
    failed = (each for each in records if each.verdict == "fail" and not gates[each.gate].dry_run)
    first = next(failed, None)
    failure = rollout.failure
    if failure is None and first:
        failure = LatchedFailure("gate", first.why, now)
    return replace(rollout, gates=tuple(records), failure=failure)


def _record(rollout: Rollout, name: str) -> GateRecord:
    return next((each for each in rollout.gates if each.gate == name), GateRecord(name))


def _questions(rollout: Rollout, gates: Mapping[str, Gate]) -> dict[str, Question]:
    """Alpha is shared among the gates that compare, and the steps in which they do."""
    release = release_under_test(rollout)
    if release is None:
        return {}
    analysis, stable = release.spec.rollout.analysis, rollout.stable
    steps = _steps(rollout)
    shares = [_share_of(rollout, step) for step in steps]
    asking = sum(share is not None and share < 1 for share in shares)
    comparing = sum(
        not gate.dry_run and kind_of(name, gate) in COMPARISONS for name, gate in gates.items()
    )
    alpha = analysis.alpha / max(1, comparing) / max(1, asking)
    present = _share_now(rollout)
    following = next((each for each in shares if each and each > present), 1.0)
    return {
        name: Question(
            gate,
            analysis,
            *_step_under_test(rollout, kind_of(name, gate)),
            alpha,
            1 + ((gate.harmful_ratio or HARMFUL_RATIO) - 1) / following,
            min(1.0, _tolerated(gate) / following),
            stable.version if stable else "",
        )
        for name, gate in gates.items()
    }


def _tolerated(gate: Gate) -> float:
    return TOLERATED_SHARE if gate.tolerated_share is None else gate.tolerated_share


def _steps(rollout: Rollout) -> tuple[Step, ...]:
    candidate = rollout.candidate
    return strategy_of(candidate).steps(swap_of(rollout, candidate)) if candidate else ()


def _step_under_test(rollout: Rollout, kind: Kind) -> tuple[int, datetime]:
    """The last step that gave the candidate requests (-1: none has), and since when it is in effect
    everywhere. A comparison is about steps that split requests; other kinds are about each step
    that changes the route.
    """
    phase, steps = rollout.phase, _steps(rollout)
    if not isinstance(phase, Stepping):
        return len(steps) - 1, phase.since if isinstance(phase, Baking) else NEVER
    if not has_own_group(rollout):
        return phase.step, phase.since
    granted = [
        number
        for number, step in enumerate(steps[: phase.granted])
        if (isinstance(step, WeightStep) if kind in COMPARISONS else step.is_routed)
    ]
    since = phase.routed_since + PROPAGATION if phase.routed_since else NEVER
    return (granted[-1] if granted else -1), since


def _share_of(rollout: Rollout, step: Step) -> float | None:
    """Which part of the requests the candidate has in a step; None if it changes none."""
    if isinstance(step, WeightStep):
        return step.per_mille / FULL_WEIGHT
    is_counted = isinstance(step, PercentStep) and not has_own_group(rollout)
    return step.percent / 100 if is_counted and isinstance(step, PercentStep) else None


def _share_now(rollout: Rollout) -> float:
    phase = rollout.phase
    if not isinstance(phase, Stepping):
        return 1.0 if isinstance(phase, Baking) else 0.0
    if has_own_group(rollout):
        return phase.weight / FULL_WEIGHT
    steps = _steps(rollout)
    return _share_of(rollout, steps[min(phase.step, len(steps) - 1)]) or 0.0


# ---- What a step needs


def results_of(rollout: Rollout, hold: timedelta) -> GateResults | None:
    """What the gates have said, and which of them must pass before the step ends."""
    release, gates = release_under_test(rollout), gates_of(rollout)
    if release is None or not (gates or rollout.failure):
        return None
    phase = rollout.phase
    is_promoted = rollout.promoted or getattr(phase, "is_promoted", False)
    is_asking = isinstance(phase, Stepping) and not is_promoted
    required = {
        name
        for name, gate in gates.items()
        if is_asking and not gate.dry_run and _must_pass(rollout, kind_of(name, gate))
    }
    return GateResults(
        rollout.failure,
        rollout.gates,
        {name: _step_under_test(rollout, kind_of(name, gate))[0] for name, gate in gates.items()},
        gates,
        release.spec.rollout.analysis,
        frozenset(required),
        _due(rollout, hold),
    )


def _must_pass(rollout: Rollout, kind: Kind) -> bool:
    """A comparison needs requests on both sides. An approval waits for no other gate: what was
    asked before it has been answered.
    """
    phase = rollout.phase
    if not isinstance(phase, Stepping):
        return False
    step = _steps(rollout)[phase.step]
    share = _share_of(rollout, step)
    if has_own_group(rollout) and not phase.is_granted:
        return False
    if kind in COMPARISONS:
        return rollout.stable is not None and share is not None and share < 1
    return step.is_routed or share is not None


def _due(rollout: Rollout, hold: timedelta) -> datetime:
    """When the hold of the present step is over."""
    phase = rollout.phase
    if not isinstance(phase, Stepping):
        return NEVER
    if not has_own_group(rollout):
        return phase.since + hold
    return phase.routed_since + PROPAGATION + hold if phase.routed_since else NEVER
