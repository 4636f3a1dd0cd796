"""Asks the source of metrics what a pass needs to know of requests.

Called by `handlers/reconcile/loop.py` between observing and deciding. Most passes need nothing, and
then nothing is asked. Invariant: no answer of a source ends a pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from handlers.reconcile.external import ask_jobs
from infra.fleet import naming
from infra.metrics.port import Names
from infra.wiring import World
from rollout import analysis, baseline
from rollout.measurements import (
    Answer,
    GateQuery,
    RequestCount,
    Subject,
    Unmeasured,
    VerdictAnswer,
    WindowAnswer,
)
from rollout.model import Colour, Measurement, Observed
from rollout.phases.stepping import queries_of
from rollout.policy.policy import Policy
from rollout.state import ModelState

NO_SOURCE = Unmeasured("no-source", "no source of metrics is configured")
SLOW = Unmeasured("timeout", "the source took too long for all gates of the release")
GATES_SECONDS, BEFORE_SECONDS = 10.0, 20.0
"""How long a pass reads windows: those of other gates are read by the next pass, and a release
begins when those of all have been read. A pass that reads both has time left for what it does."""


def measure(
    world: World, state: ModelState, observed: Observed, now: datetime
) -> tuple[Measurement, ...]:
    """The answers to what the gates that are due, and the size of the candidate, depend on."""
    queries = queries_of(state.rollout, observed, now)
    return tuple(Measurement(each, _answers(world, state.desired.model, each)) for each in queries)


def measure_gates(
    world: World, state: ModelState, policy: Policy, now: datetime
) -> dict[str, WindowAnswer | VerdictAnswer]:
    """What each gate of the release has not judged yet: by windows, or by an evaluation job."""
    model = state.desired.model
    found: dict[str, WindowAnswer | VerdictAnswer] = {}
    found |= _windows_by_age(world, model, analysis.queries_of(state.rollout, now), GATES_SECONDS)
    requests = analysis.verdict_requests(state.rollout, model, now)
    return found | ask_jobs(world, requests, policy.gate_hosts, now)


def measure_before(world: World, state: ModelState, now: datetime) -> dict[str, WindowAnswer]:
    """What the gates of a release that is about to begin need to know of the stable one. Without
    the answer for one of them it does not begin.
    """
    queries = baseline.queries_before(state.rollout, state.desired, now)
    found = _windows_by_age(world, state.desired.model, queries, BEFORE_SECONDS)
    return {each.gate: found.get(each.gate, SLOW) for each in queries}


def _windows_by_age(
    world: World, model: str, queries: Sequence[GateQuery], seconds: float
) -> dict[str, WindowAnswer]:
    """The answers to as many queries as there is time for: a pass has little, and a source that is
    late once is asked no further. The others are left to the next pass.
    """
    found: dict[str, WindowAnswer] = {}
    until = world.clock.now() + timedelta(seconds=seconds)
    for query in queries:
        if world.clock.now() >= until:
            break
        answer = found[query.gate] = _windows(world, model, query)
        if isinstance(answer, Unmeasured) and answer.kind == "timeout":
            break
    return found


def _windows(world: World, model: str, query: GateQuery) -> WindowAnswer:
    if world.metrics is None:
        return NO_SOURCE
    baseline = _names(model, query.baseline) if query.baseline else None
    return world.metrics.read_windows(query, _names(model, query.candidate), baseline)


def _names(model: str, subject: Subject) -> Names:
    service = naming.backend_service(model, subject.colour).name
    return Names(service, naming.label_value(subject.version), subject.template)


def _answers(world: World, model: str, query: RequestCount) -> tuple[tuple[Colour, Answer], ...]:
    services = {colour: naming.backend_service(model, colour).name for colour in naming.COLOURS}
    if world.metrics is None:
        return tuple((colour, NO_SOURCE) for colour in services)
    answers = world.metrics.count_requests(services.values(), query.since, query.until)
    return tuple((colour, answers[name]) for colour, name in services.items())
