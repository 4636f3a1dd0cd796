"""Slipway's gates on a simulated rollout: what they ask for, what becomes of the answers, and
whether a step may end are the decisions of `rollout/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

from bench.gates.releases import ERRORS, LATENCY
from bench.gates.rollouts import Answer, Moment
from bench.gates.traffic import Minute
from rollout import analysis
from rollout.gates.base import Failed, GateContext, Inconclusive, Passed
from rollout.gates.metrics import MetricsGate
from rollout.judging import context_of, health_of
from rollout.measurements import Counts, GateQuery, WindowMeasured, Windows
from rollout.model import Baking, Evidence, Observed, Release, Rollout, Stepping
from rollout.spec.message import ReleaseRequested, resolve
from rollout.spec.model import digest
from rollout.spec.steps import DEFAULT_WEIGHTS

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
GATES: Mapping[str, Mapping[str, float]] = {ERRORS: {}, LATENCY: {"slower_than_seconds": 0.5}}


def at(minute: float) -> datetime:
    return NOON + timedelta(minutes=minute)


@cache
def release(version: str, gates: tuple[str, ...] = tuple(GATES)) -> Release:
    """A canary with the default steps and these gates."""
    sections = {
        "artifact": {"image": f"eu-docker.pkg.dev/p/r/tiny:{version}"},
        "traffic": {"path": "/tiny"},
        "rollout": {"strategy": "canary", "gates": {gate: GATES[gate] for gate in gates}},
    }
    spec = resolve(ReleaseRequested(model="tiny", version=version, patch=sections), None)
    template = f"tiny-{version}"
    return Release(version, digest(spec), template, spec, int(version), NOON, template)


@cache
def _context() -> GateContext:
    rollout = Rollout(Stepping(0, NOON), release("1"), release("2"), serving_group="blue")
    return context_of(rollout, health_of(rollout, Observed()), Evidence(), NOON, NOON)


class Slipway:
    """The gates of one release, from its first step to the end of its bake."""

    def __init__(self) -> None:
        self.rollout = Rollout(
            stable=release("1"), candidate=release("2"), serving_group="blue", begun_at=NOON
        )

    def answer(self, moment: Moment) -> Answer:
        now, routed = at(moment.now), at(moment.routed)
        phase: Stepping | Baking
        if moment.step < len(DEFAULT_WEIGHTS):
            weight = round(10 * moment.weight)
            phase = Stepping(moment.step, routed, weight, routed, granted=moment.step + 1)
            hold = timedelta(seconds=DEFAULT_WEIGHTS[moment.step][1])
        else:
            phase, hold = Baking(routed, at(0)), timedelta(0)
        rollout = replace(self.rollout, phase=phase)
        answers = {
            query.gate: _windows(query, moment.minutes)
            for query in analysis.queries_of(rollout, now)
        }
        self.rollout = analysis.update(rollout, Evidence(windows=answers), now)
        if not moment.due and not self.rollout.failure:
            return "stay"
        results = analysis.results_of(self.rollout, hold)
        verdict = MetricsGate().judge(replace(_context(), now=now, results=results))
        match verdict:
            case Failed():
                return "roll back"
            case Inconclusive():
                return "ask"
            case Passed():
                return "go on"
            case _:
                return "stay"


def _windows(query: GateQuery, minutes: Sequence[Mapping[str, Minute]]) -> Windows:
    first, last = (round((time - NOON).total_seconds() / 60) for time in (query.since, query.until))
    found = []
    for number in range(first, min(last, len(minutes))):
        minute = minutes[number][query.gate]
        stable = Counts(minute.stable.bad, minute.stable.total) if query.baseline else None
        candidate = Counts(minute.candidate.bad, minute.candidate.total)
        found.append(WindowMeasured(at(number), at(number + 1), candidate, stable))
    return Windows(tuple(found), "")
