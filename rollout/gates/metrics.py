"""Gate `metrics`: what the release's own gates have said by their windows.

A fail ends the rollout at any time. A step ends when each of its gates has passed; without a
verdict when the hold is over it is waited for, a person is asked, or the release goes back, as
`on_inconclusive` says. An answer that does not come is never a pass, and takes nothing back either.
"""

from __future__ import annotations

from datetime import timedelta

from rollout.gates.base import (
    Failed,
    GateContext,
    GateResults,
    Inconclusive,
    Passed,
    Query,
    Verdict,
    Waiting,
    duration,
)
from rollout.gates.record import GateRecord


class MetricsGate:
    def queries(self, context: GateContext) -> tuple[Query, ...]:
        """None here: windows are asked for in every phase (`rollout/analysis.py`)."""
        return ()

    def judge(self, context: GateContext) -> Verdict:
        results = context.results
        if results is None:
            return Passed("")
        if results.failure:
            return Failed(results.failure.reason, results.failure.why)
        records = {each.gate: each for each in results.records}
        verdicts = [
            _verdict(records.get(name, GateRecord(name)), results, context)
            for name in sorted(results.required)
        ]
        for kind in (Failed, Inconclusive, Waiting):
            for verdict in verdicts:
                if isinstance(verdict, kind):
                    return verdict
        return Passed("; ".join(verdict.why for verdict in verdicts if verdict.why))


def _verdict(record: GateRecord, results: GateResults, context: GateContext) -> Verdict:
    analysis, now = results.analysis, context.now
    is_begun = record.step == results.steps[record.gate]
    why = record.why if is_begun and record.why else f"{record.gate}: no window of the step is over"
    if record.verdict == "pass" and is_begun:
        return Passed(record.why)
    window = timedelta(seconds=analysis.window_seconds)
    if record.lacking_since and now - record.lacking_since >= analysis.max_errors * window:
        span = duration(now - record.lacking_since)
        return Inconclusive(f"{why}, for {span}; repair the source, then resume, or promote")
    over = now - results.due
    is_evaluated = record.evaluated_until is not None and record.evaluated_until >= results.due
    if over < timedelta(0) or not is_evaluated or record.lacking_since:
        longest = timedelta(seconds=analysis.max_inconclusive_seconds)
        return Waiting(why) if over < longest else _asks(why, over)
    match results.gates[record.gate].on_inconclusive or analysis.on_inconclusive:
        case "rollback":
            return Failed("gate", f"{why}, and its hold is over")
        case "pause":
            return _asks(why, over)
        case "wait":
            longest = timedelta(seconds=analysis.max_inconclusive_seconds)
            return Waiting(why) if over < longest else _asks(why, over)


def _asks(why: str, over: timedelta) -> Inconclusive:
    return Inconclusive(
        f"{why}, {duration(over)} after its hold; promote it in spite of that, or abort it"
    )
