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

MINUTE = 60
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
    candidate, stable = _subjects(rollout, release)
    found = []
    for name, gate in gates_of(rollout).items():
        source, span = source_of(name, gate), _present_span(rollout, name, now)
        if source is None or span is None:
            continue
        since, until = span
        until = min(until, since + timedelta(seconds=seconds) * MOST_WINDOWS)
        baseline = stable if kind_of(name, gate) in COMPARISONS else None
        if baseline and (full_since := _full_since(rollout, _record(rollout, name))):
            # What is late of the time before has a baseline, and is asked for by itself.
            full = _multiple(full_since, seconds, math.ceil)
            baseline, until = (None, until) if since >= full else (baseline, min(until, full))
        found.append(GateQuery(name, source, candidate, baseline, since, until, seconds, now))
    return tuple(_by_age(rollout, found, now))


def _by_age(rollout: Rollout, queries: list[GateQuery], now: datetime) -> list[GateQuery]:
    """The oldest windows first, since a pass may have no time for all. Gates that lack numbers come
    last and alternate, so that one whose query is always late keeps no other from its windows.
    """
    queries.sort(key=lambda each: each.since)
    lacking = [each for each in queries if _record(rollout, each.gate).lacking_since]
    others = [each for each in queries if each not in lacking]
    first = int(now.timestamp() // MINUTE) % len(lacking) if lacking else 0
    return [*others, *lacking[first:], *lacking[:first]]


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
    """The whole windows that a gate has not judged yet; None if there is none. One that has failed
    judges no more, also if it only records.
    """
    release = release_under_test(rollout)
    if release is None or _record(rollout, name).verdict == "fail":
        return None
    seconds = release.spec.rollout.analysis.window_seconds
    since = _first_window(rollout, release, _record(rollout, name), seconds)
    end = rollout.phase.since if isinstance(rollout.phase, RollingBack) else now
    until = _multiple(end, seconds, math.floor)
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
    """The candidate, and the release before it. That one has no requests any more once the
    candidate has all of them (`_full_since`).
    """
    serving, before = rollout.serving_group or FIRST_GROUP, _release_before(rollout)
    if rollout.candidate:
        colour = strategy_of(release).candidate_group(swap_of(rollout, release))
    else:
        colour, serving = serving, rollout.kept.colour if rollout.kept else serving
    stable = Subject(serving, before.version, before.template) if before else None
    return Subject(colour, release.version, release.template), stable


def _release_before(rollout: Rollout) -> Release | None:
    return rollout.stable if rollout.candidate else rollout.previous


def _full_since(rollout: Rollout, record: GateRecord) -> datetime | None:
    """Since when the release has had all requests; None if there is no release to return to."""
    phase = rollout.phase
    if isinstance(phase, Stepping) and _share_now(rollout) < 1:
        return None
    if record.full_since or _release_before(rollout) is None:
        return record.full_since
    if not isinstance(phase, Stepping | Baking):
        return None
    if has_own_group(rollout):
        return phase.routed_since + PROPAGATION if phase.routed_since else None
    return phase.since if isinstance(phase, Baking) else None


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
        full_since = _full_since(rollout, record)
        recent = record.recent if full_since else ()
        record = replace(record, full_since=full_since, recent=recent)
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


def begun_again(rollout: Rollout, now: datetime) -> tuple[GateRecord, ...]:
    """The records of a candidate that is judged anew: with what the stable release had, and from
    the next window on if the candidate has requests.
    """
    release = release_under_test(rollout)
    if release is None:
        return ()
    seconds = release.spec.rollout.analysis.window_seconds
    following = _multiple(now, seconds, math.ceil)
    return tuple(
        GateRecord(
            each.gate,
            evaluated_until=following if _first_window(rollout, release, each, seconds) else None,
            history=each.history,
        )
        for each in rollout.gates
    )


def _record(rollout: Rollout, name: str) -> GateRecord:
    return next((each for each in rollout.gates if each.gate == name), GateRecord(name))


def _questions(rollout: Rollout, gates: Mapping[str, Gate]) -> dict[str, Question]:
    """Half of alpha is for the steps in which gates compare, and shared among these; the other half
    is for the time after that. Both are shared among the gates.
    """
    release = release_under_test(rollout)
    if release is None:
        return {}
    analysis, before = release.spec.rollout.analysis, _release_before(rollout)
    steps = _steps(rollout)
    shares = [_share_of(rollout, step) for step in steps]
    # While the last step of a swap replaces the stable release's instances, both have requests.
    most = 1 if has_own_group(rollout) else math.inf
    asking = sum(share is not None and share < most for share in shares)
    comparing = sum(
        not gate.dry_run and kind_of(name, gate) in COMPARISONS for name, gate in gates.items()
    )
    alpha = analysis.alpha / 2 / max(1, comparing)
    present = _share_now(rollout)
    following = next((each for each in shares if each and each > present), 1.0)
    return {
        name: Question(
            gate,
            analysis,
            *_step_under_test(rollout, kind_of(name, gate)),
            alpha / max(1, asking),
            alpha,
            1 + ((gate.harmful_ratio or HARMFUL_RATIO) - 1) / following,
            min(1.0, _tolerated(gate) / following),
            before.version if before else "",
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
    is_asking = isinstance(phase, Stepping | Baking) and not is_promoted
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


def lacks_of(rollout: Rollout, now: datetime) -> tuple[str, ...]:
    """What the gates of a release that is watched have not been able to judge for long."""
    release, gates = release_under_test(rollout), gates_of(rollout)
    if release is None:
        return ()
    analysis = release.spec.rollout.analysis
    patience = analysis.max_errors * timedelta(seconds=analysis.window_seconds)
    return tuple(
        each.why
        for each in rollout.gates
        if each.gate in gates and each.lacking_since and now - each.lacking_since >= patience
    )


def _must_pass(rollout: Rollout, kind: Kind) -> bool:
    """A comparison needs requests on both sides; in the bake, with all requests, it needs the
    budget of errors. An approval waits for no other gate: what was asked before it has been
    answered.
    """
    phase = rollout.phase
    if isinstance(phase, Baking):
        return rollout.stable is not None and kind in COMPARISONS
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
    """When the hold of the present step, or the bake, is over."""
    phase, candidate = rollout.phase, rollout.candidate
    if not isinstance(phase, Stepping | Baking) or candidate is None:
        return NEVER
    began = phase.since
    if has_own_group(rollout):
        if phase.routed_since is None:
            return NEVER
        began = phase.routed_since + PROPAGATION
    if isinstance(phase, Baking):
        hold = timedelta(seconds=candidate.spec.rollout.bake_seconds)
        began = max(began, phase.since)
    return began + hold
