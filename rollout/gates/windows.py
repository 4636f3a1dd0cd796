"""Judges a release by windows of requests, or of a value: one more answer, one more record. Pure.

Called by `rollout/analysis.py` once per pass for each gate. Each window counts once, in order, and
a window without numbers is never a pass:

    pass          harm is ruled out for the weight of the next step
    fail          the candidate is worse than the stable release, or beyond a limit
    inconclusive  neither yet, or no numbers: no series, or a counter began anew
    error         the source failed: a time-out, an answer that cannot be read, a missing label

A fail stays; every other verdict may change with the next window.
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime

from rollout.deferred import dataclass
from rollout.gates import burn
from rollout.gates.band import Difference, difference
from rollout.gates.record import GateRecord, VerdictKind
from rollout.gates.statistics import (
    Tally,
    Window,
    add,
    add_dispersion,
    factor,
    log_evidence_against_now,
    log_evidence_below,
    log_evidence_for,
    log_mean_exp,
    next_step,
)
from rollout.measurements import (
    Counts,
    Delayed,
    NoVerdict,
    Unmeasured,
    VerdictAnswer,
    WindowAnswer,
    WindowMeasured,
    Windows,
)
from rollout.spec.gates import HARMFUL_RATIO, TOLERATED_SHARE, Analysis, Gate

PASS_ALPHA = 0.01
MOST_EVIDENCE = 1e12
INCONCLUSIVE_LACKS = frozenset({"no-series", "reset", "partial"})
"""What a source lacks though it works; every other lack is an error."""


@dataclass(frozen=True)
class Question:
    """What a gate is asked in one step. `since`: when the step's weight had reached everybody, so
    that a window from then on belongs to it; before, windows count for the step before. `alpha` is
    the gate's share for this step, and `burn_alpha` the one for the time after it has all requests.
    `harmful_ratio` and `tolerated_share` are those for the weight of the next step. `baseline`: the
    version with which the candidate is compared.
    """

    gate: Gate
    analysis: Analysis
    step: int
    since: datetime
    alpha: float
    burn_alpha: float
    harmful_ratio: float
    tolerated_share: float
    baseline: str


def judge_answer(
    record: GateRecord, question: Question, answer: WindowAnswer, now: datetime
) -> GateRecord:
    """The record after the windows of an answer. What a source could not say at all is asked again:
    no window is lost by that.
    """
    if record.verdict == "fail":
        return record
    match answer:
        case Delayed(why=why):
            return record if record.why else _with_why(record, record.verdict, why, now)
        case Unmeasured():
            return _lacking(record, answer, now)
        case Windows():
            after = replace(record, query=answer.query)
            for window in answer.windows:
                if after.evaluated_until and window.start < after.evaluated_until:
                    continue
                after = _with_window(after, question, window, now, is_estimate=answer.is_estimate)
                if after.verdict == "fail":
                    break
            return after


def _with_window(
    record: GateRecord,
    question: Question,
    window: WindowMeasured,
    now: datetime,
    *,
    is_estimate: bool,
) -> GateRecord:
    if record.step != question.step and window.start >= question.since:
        record = _begun(record, question.step)
    record = replace(record, evaluated_until=window.end)
    lack = next(
        (each for each in (window.candidate, window.baseline) if isinstance(each, Unmeasured)), None
    )
    if lack:
        return _lacking(record, lack, now)
    record = replace(record, lacking_since=None)
    if isinstance(window.candidate, Counts):
        if record.full_since and window.start >= record.full_since:
            record = _with_recent(record, question, window.candidate)
            return _judge_burn(record, question, now, is_estimate=is_estimate)
        baseline = window.baseline if isinstance(window.baseline, Counts) else Counts(0, 0)
        record = _with_counts(record, question, window.candidate, baseline)
        return _judge_counts(record, question, now, is_estimate=is_estimate)
    assert isinstance(window.candidate, float | int)
    return _judge_value(record, question, float(window.candidate), now)


def _begun(record: GateRecord, step: int) -> GateRecord:
    return replace(
        record,
        step=step,
        tally=Tally(),
        dispersion=next_step(record.dispersion),
        verdict="inconclusive",
        beyond=0,
        failures=0,
        edges=(),
        baseline_below=(),
        candidate_below=(),
        second_opinion="",
        evidence=None,
        threshold=None,
        logged="inconclusive",
        logged_at=None,
    )


def _lacking(record: GateRecord, lack: Unmeasured, now: datetime) -> GateRecord:
    kind: VerdictKind = "inconclusive" if lack.kind in INCONCLUSIVE_LACKS else "error"
    record = replace(record, lacking_since=record.lacking_since or now)
    return _with_why(record, kind, f"{record.gate}: {lack.why} → {kind}", now)


def _with_why(record: GateRecord, verdict: VerdictKind, why: str, now: datetime) -> GateRecord:
    since = record.since if record.verdict == verdict and record.since else now
    return replace(record, verdict=verdict, why=why, since=since)


# ---- Evaluation jobs


def judge_verdict(
    record: GateRecord, question: Question, answer: VerdictAnswer, now: datetime
) -> GateRecord:
    """The record after what an evaluation job said. Without a verdict it is asked again."""
    if record.verdict == "fail":
        return record
    if record.step != question.step:
        record = _begun(record, question.step)
    if isinstance(answer, NoVerdict):
        record = replace(record, lacking_since=record.lacking_since or now)
        return _with_why(record, "error", f"{record.gate}: {answer.why} → error", now)
    url = question.gate.url or ""
    record = replace(record, evaluated_until=answer.until, lacking_since=None, query=url)
    why = f"{record.gate}: {answer.why} → {answer.verdict}"
    return _with_why(record, answer.verdict, why, now)


# ---- Counts


def _with_counts(
    record: GateRecord, question: Question, candidate: Counts, baseline: Counts
) -> GateRecord:
    window = Window(baseline.bad, baseline.total, candidate.bad, candidate.total)
    after = replace(
        record,
        tally=add(record.tally, window, question.harmful_ratio),
        dispersion=add_dispersion(record.dispersion, window),
        history=burn.add_history(record.history, baseline.bad, baseline.total),
    )
    return _with_edges(after, question, candidate, baseline)


def _with_edges(
    record: GateRecord, question: Question, candidate: Counts, baseline: Counts
) -> GateRecord:
    """The sums by edge, as long as the edges are those of the first window of the step."""
    edges = tuple(edge for edge, _ in candidate.below if math.isfinite(edge))
    if not edges or not baseline.below:
        return record
    if record.edges != edges:
        if record.edges:
            return record
        nothing = (0.0,) * len(edges)
        record = replace(record, edges=edges, baseline_below=nothing, candidate_below=nothing)
    before, after = _sums(baseline), _sums(candidate)
    if len(before) != len(edges):
        return record
    record = replace(
        record,
        baseline_below=tuple(map(sum, zip(record.baseline_below, before, strict=True))),
        candidate_below=tuple(map(sum, zip(record.candidate_below, after, strict=True))),
    )
    found = difference(
        dict(zip(edges, record.baseline_below, strict=True))
        | {math.inf: record.tally.baseline_total},
        dict(zip(edges, record.candidate_below, strict=True))
        | {math.inf: record.tally.candidate_total},
        question.alpha,
    )
    return replace(record, second_opinion=_opinion(found))


def _sums(side: Counts) -> tuple[float, ...]:
    return tuple(count for edge, count in side.below if math.isfinite(edge))


def _opinion(found: Difference | None) -> str:
    if found is None or found.excess <= 0:
        return ""
    return (
        f"slower than {found.edge:g} s are {found.candidate_slower:.1%} against"
        f" {found.baseline_slower:.1%}"
    )


def _judge_counts(
    record: GateRecord, question: Question, now: datetime, *, is_estimate: bool
) -> GateRecord:
    tally, analysis, spread = record.tally, question.analysis, factor(record.dispersion)
    is_enough = (
        tally.windows >= analysis.min_windows and tally.candidate_total >= analysis.min_requests
    )
    against = log_evidence_against_now(tally) / spread
    has_bad = tally.candidate_bad >= analysis.min_bad
    if is_enough and has_bad and against >= -math.log(question.alpha):
        return _with_verdict(record, question, "fail", against, question.alpha, now, is_estimate)
    below = log_evidence_below(tally, question.tolerated_share)
    both = log_mean_exp((log_evidence_for(tally), below))  # the mean of two e-processes is one
    in_favour = both / spread
    passes = is_enough and in_favour >= -math.log(PASS_ALPHA)
    kind: VerdictKind = "pass" if passes else "inconclusive"
    return _with_verdict(record, question, kind, in_favour, PASS_ALPHA, now, is_estimate)


def _with_verdict(
    record: GateRecord,
    question: Question,
    kind: VerdictKind,
    log_evidence: float,
    alpha: float,
    now: datetime,
    is_estimate: bool,
) -> GateRecord:
    evidence = _exp(log_evidence)
    sides = _sides(record, question, evidence, is_against=kind == "fail", is_estimate=is_estimate)
    record = replace(record, evidence=evidence, threshold=1 / alpha)
    return _with_why(record, kind, f"{record.gate}: {sides} → {kind}", now)


def _sides(
    record: GateRecord,
    question: Question,
    evidence: float,
    *,
    is_against: bool,
    is_estimate: bool,
) -> str:
    """For people: `37 of 1,500 against 45 of 4,500 on release 4 (ratio 2.5, evidence 574:1
    against)`.
    """
    tally = record.tally
    about = "about " if is_estimate else ""
    ratio = "" if tally.ratio is None else f"ratio {tally.ratio:.2g}, "
    side = "against"
    if not is_against:
        side = f"that it is not harmful, of {1 / PASS_ALPHA:.0f}:1 needed"
        side += _minimum(question.analysis, tally.windows, tally.candidate_total)
    stable = f"{tally.baseline_bad:,.0f} of {tally.baseline_total:,.0f}"
    stable = f" against {stable} on release {question.baseline}" if question.baseline else ""
    return (
        f"{about}{tally.candidate_bad:,.0f} of {tally.candidate_total:,.0f}{stable}"
        f" ({ratio}evidence {evidence:,.3g}:1 {side})"
    )


def _minimum(analysis: Analysis, windows: int, requests: float) -> str:
    """What no verdict is given without, of what there is too little."""
    lacks = [f"{analysis.min_requests:,} requests"] * (requests < analysis.min_requests)
    lacks += [f"{analysis.min_windows} windows"] * (windows < analysis.min_windows)
    return f"; needs {' and '.join(lacks)}" if lacks else ""


def _exp(log_evidence: float) -> float:
    return min(MOST_EVIDENCE, math.exp(min(log_evidence, 700.0)))


# ---- Error budgets


def _with_recent(record: GateRecord, question: Question, counts: Counts) -> GateRecord:
    """A window without requests shows nothing. What the steps have shown stays on record."""
    if not record.recent:
        record = replace(record, verdict="inconclusive", evidence=None, threshold=None)
        record = replace(record, logged="inconclusive", logged_at=None)
    pair = [(counts.bad, counts.total)] * (counts.total > 0)
    return replace(record, step=question.step, recent=(*record.recent, *pair)[-burn.LONG :])


def _judge_burn(
    record: GateRecord, question: Question, now: datetime, *, is_estimate: bool
) -> GateRecord:
    """Half of the error of the first kind is for the budget, which is an estimate."""
    gate, analysis, recent = question.gate, question.analysis, record.recent
    alpha, harmful_ratio = question.burn_alpha / 2, gate.harmful_ratio or HARMFUL_RATIO
    budget = burn.budget_of(
        record.history,
        recent,
        gate.objective_share,
        harmful_ratio,
        TOLERATED_SHARE if gate.tolerated_share is None else gate.tolerated_share,
        alpha,
    )
    if budget is None:
        why = f"{record.gate}: nothing says which share release {question.baseline} had"
        return _with_why(record, "inconclusive", f"{why} → inconclusive", now)
    burns = burn.measure(recent, budget)
    bad, total = (sum(each) for each in zip(*recent, strict=True)) if recent else (0.0, 0.0)
    is_enough = len(recent) >= analysis.min_windows and total >= analysis.min_requests
    is_sure = bad >= analysis.min_bad and burns.log_evidence >= -math.log(alpha)
    is_declared = gate.objective_share is not None
    limits = burn.limits(harmful_ratio, is_declared=is_declared)
    is_burning = burns.is_above(limits)
    is_harmless = not is_declared or burns.log_evidence_for >= -math.log(PASS_ALPHA)
    kind: VerdictKind
    if is_enough and is_burning and is_sure:
        kind, evidence, threshold = "fail", _exp(burns.log_evidence), 1 / alpha
        side = f"evidence {evidence:,.3g}:1 against"
    else:
        kind = "pass" if is_enough and not is_burning and is_harmless else "inconclusive"
        evidence, threshold = _exp(burns.log_evidence_for), 1 / PASS_ALPHA
        side = f"evidence {evidence:,.3g}:1 that it is not harmful"
        side += f", of {threshold:.0f}:1 needed" if is_declared else f"; {limits[0]:g} times fail"
        side += _minimum(analysis, len(recent), total)
    about = "about " if is_estimate else ""
    origin = "the objective" if is_declared else f"release {question.baseline}"
    why = (
        f"{record.gate}: {about}{bad:,.0f} of {total:,.0f} with all requests; burns the budget of"
        f" {100 * budget.share:.3g} % ({origin}) {burns.short:.3g} times as fast as allowed, and"
        f" {burns.long:.3g} times over {len(recent)} windows ({side})"
    )
    record = replace(record, evidence=evidence, threshold=threshold)
    return _with_why(record, kind, f"{why} → {kind}", now)


# ---- Limits


def _judge_value(record: GateRecord, question: Question, value: float, now: datetime) -> GateRecord:
    gate = question.gate
    limit, is_beyond = _limit(gate, value)
    tally = replace(record.tally, windows=record.tally.windows + 1)
    beyond = record.beyond + 1 if is_beyond else 0
    failures = record.failures + is_beyond
    record = replace(
        record,
        tally=tally,
        beyond=beyond,
        failures=failures,
        evidence=value,
        threshold=gate.max if limit == "max" else gate.min,
    )
    in_a_row = gate.consecutive or (None if gate.failures else 3)
    is_failed = (in_a_row is not None and beyond >= in_a_row) or (
        gate.failures is not None and failures >= gate.failures
    )
    text = f"{record.gate}: {value:.4g}, {limit} {record.threshold:.4g}"
    if is_failed:
        why = f"{text}, {beyond} windows in a row and {failures} in all beyond it → fail"
        return _with_why(record, "fail", why, now)
    has_enough = tally.windows >= question.analysis.min_windows
    kind: VerdictKind = "pass" if has_enough and not is_beyond else "inconclusive"
    return _with_why(record, kind, f"{text} → {kind}", now)


def _limit(gate: Gate, value: float) -> tuple[str, bool]:
    """Which limit counts, and whether the value is beyond it."""
    if gate.max is not None and (gate.min is None or value > gate.min):
        return "max", value > gate.max
    return "min", gate.min is not None and value < gate.min
