"""Asks the source of metrics what a pass needs to know of requests.

Called by `handlers/reconcile/loop.py` between observing and deciding. Most passes need nothing, and
then nothing is asked. Invariant: no answer of a source ends a pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

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
    found |= _all_windows(world, model, analysis.queries_of(state.rollout, now))
    requests = analysis.verdict_requests(state.rollout, model, now)
    return found | ask_jobs(world, requests, policy.gate_hosts, now)


def measure_before(world: World, state: ModelState, now: datetime) -> dict[str, WindowAnswer]:
    """What the gates of a release that is about to begin need to know of the stable one."""
    queries = baseline.queries_before(state.rollout, state.desired, now)
    return _all_windows(world, state.desired.model, queries)


def _all_windows(world: World, model: str, queries: Iterable[GateQuery]) -> dict[str, WindowAnswer]:
    """A source that is late once is asked no further: a pass has little time."""
    found: dict[str, WindowAnswer] = {}
    late: Unmeasured | None = None
    for query in queries:
        answer = found[query.gate] = late or _windows(world, model, query)
        if isinstance(answer, Unmeasured) and answer.kind == "timeout":
            late = answer
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
