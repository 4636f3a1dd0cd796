"""What a gate is: a question that must be answered well before a step, or the bake, ends. Pure.

Implemented by one module each beside this one and listed in `rollout/gates/__init__.py`. A verdict
is `Passed`, `Waiting`, `Failed` or `Inconclusive`. Invariant: missing data never passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Literal, Protocol

from rollout.deferred import dataclass
from rollout.gates.record import GateRecord
from rollout.gates.release_health import ReleaseHealth
from rollout.measurements import RequestCount
from rollout.model import Colour, Evidence, LatchedFailure, Progress, Reason
from rollout.spec.gates import Analysis
from rollout.spec.gates import Gate as GateSpec


@dataclass(frozen=True)
class Passed:
    why: str


@dataclass(frozen=True)
class Waiting:
    why: str


@dataclass(frozen=True)
class Failed:
    reason: Reason
    why: str


@dataclass(frozen=True)
class Inconclusive:
    why: str


Verdict = Passed | Waiting | Failed | Inconclusive


Query = RequestCount
"""Evidence that a gate needs beside the fleet that every pass observes."""


@dataclass(frozen=True)
class RequestGoal:
    """The candidate's group must have got at least so many requests since its weight reached every
    front end, which is asked once the hold is over (`due`). `unmeasured_since`: see `Stepping`.
    """

    at_least: int
    colour: Colour
    since: datetime
    due: datetime
    unmeasured_since: datetime | None


@dataclass(frozen=True)
class Traffic:
    """A step that changes the route: what it sends to the candidate (`goal`), how many instances
    that needs, and whether it was granted. `basis`: see `GroupTarget`; `routed_since` and
    `unmeasured_since`: see `Stepping`.
    """

    goal: str
    capacity: int
    is_granted: bool
    routed_since: datetime | None
    basis: str | None = ""
    unmeasured_since: datetime | None = None


@dataclass(frozen=True)
class AwaitedApproval:
    """A step that asks for approval: by whom, until when, and what follows then. `given_by`: who
    gave it, empty if nobody has.
    """

    by: str
    until: datetime
    on_timeout: Literal["rollback", "pause"]
    given_by: str


@dataclass(frozen=True)
class GateResults:
    """What the release's own gates have said. `required`: those that must pass before the step
    ends, each about its step in `steps`. `due`: when the hold is over. `failure`: what has failed
    the release for good.
    """

    failure: LatchedFailure | None
    records: tuple[GateRecord, ...]
    steps: Mapping[str, int]
    gates: Mapping[str, GateSpec]
    analysis: Analysis
    required: frozenset[str]
    due: datetime


@dataclass(frozen=True)
class GateContext:
    """What gates judge by. `since` is when the step or the bake began, and `hold` how long each
    instance of the step must have been healthy. `traffic`: None if the step moves no requests;
    `requests`: None if it needs no minimum of them, or they have not reached the candidate yet;
    `approval`: None if it asks for none. `results`: None without gates of its own.
    `is_patient`: the release waits for capacity however long that takes.
    """

    health: ReleaseHealth
    progress: Progress
    evidence: Evidence
    since: datetime
    now: datetime
    hold: timedelta = timedelta(0)
    traffic: Traffic | None = None
    approval: AwaitedApproval | None = None
    is_patient: bool = False
    requests: RequestGoal | None = None
    results: GateResults | None = None

    @property
    def is_halted(self) -> bool:
        """Whether the environment keeps instances away; then no deadline runs."""
        return self.progress.halted_since is not None


class Gate(Protocol):
    def queries(self, context: GateContext) -> tuple[Query, ...]:
        """The evidence this gate needs beside the observed fleet."""
        ...

    def judge(self, context: GateContext) -> Verdict: ...


def judge(gates: Iterable[Gate], context: GateContext) -> Verdict:
    """One verdict out of all gates: a failure wins, then missing data, then waiting."""
    verdicts = [gate.judge(context) for gate in gates]
    for kind in (Failed, Inconclusive, Waiting):
        for verdict in verdicts:
            if isinstance(verdict, kind):
                return verdict
    return Passed("; ".join(verdict.why for verdict in verdicts if verdict.why))


def queries(gates: Iterable[Gate], context: GateContext) -> tuple[Query, ...]:
    """What all gates need, each query once."""
    return tuple(dict.fromkeys(query for gate in gates for query in gate.queries(context)))


def duration(time: timedelta) -> str:
    """A duration for people: `150 s`, `15 min`, `2 h`."""
    seconds = round(time.total_seconds())
    if seconds < 300:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
