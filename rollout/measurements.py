"""What may be asked of a source of metrics or of an evaluation job, and what they answer. Pure.

Gates and the sizing of a candidate name queries, `handlers/reconcile/measure.py` asks once per
pass, and the answers come back in `Evidence`. Invariant: a source that cannot answer is never an
exception and never 0; each way to fail is an answer of its own kind.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from rollout.deferred import dataclass


@dataclass(frozen=True)
class RequestCount:
    """A query: how many requests did each of the model's groups get in this time? `purpose`: for
    the minimum of a step, or for the demand by which the candidate is sized.
    """

    purpose: Literal["step", "demand"]
    since: datetime
    until: datetime


@dataclass(frozen=True)
class Measured:
    """A group got `requests` from `since` to `until`, which lie within the time of the query: they
    are the first and the last moment that there are data of. `is_estimate`: made from sampled
    traffic.
    """

    requests: float
    since: datetime
    until: datetime
    is_estimate: bool = False

    @property
    def per_second(self) -> float:
        seconds = (self.until - self.since).total_seconds()
        return self.requests / seconds if seconds > 0 else 0.0


@dataclass(frozen=True)
class CounterReset:
    """A counter began anew in this time: a group got at least so many requests."""

    at_least: float
    why: str


@dataclass(frozen=True)
class Delayed:
    """The data of this time cannot have arrived before `until`."""

    until: datetime
    why: str


Lack = Literal[
    "no-source",  # no source of metrics is configured
    "timeout",  # no answer in time
    "http",  # no connection, or an answer that is an error
    "partial",  # an answer that says, or shows, that a part of it is missing
    "unreadable",  # an answer that is not what the protocol says
    "not-finite",  # NaN or an infinity among the numbers
    "no-series",  # no such metric, or none of this group
    "labels",  # the metric exists, without the label that tells the groups apart
    "reset",  # a counter began anew in a window
    "edge",  # the bound of a latency is no bucket's edge
]


@dataclass(frozen=True)
class Unmeasured:
    """There is no number, of which kind the lack is, and why."""

    kind: Lack
    why: str


Answer = Measured | CounterReset | Delayed | Unmeasured


# ---- Evaluation jobs


@dataclass(frozen=True)
class VerdictRequest:
    """A query to the evaluation job of a gate: how does it judge the candidate, by the window from
    `since` to `until`? `baseline`: the version that serves beside it, empty if none does. `phase`
    is the phase's name, and `weight` the candidate's part of the requests, in percent.
    """

    gate: str
    url: str
    model: str
    version: str
    generation: int
    baseline: str
    phase: str
    weight: float
    since: datetime
    until: datetime

    @property
    def key(self) -> str:
        """Identifies the query, so that asking it again after a crash is no other query: one for
        each window, by its end, of a gate in a phase of an attempt.
        """
        return (
            f"{self.model}:{self.generation}:{self.gate}:{self.phase}:{self.until:%Y%m%dT%H%M%SZ}"
        )


@dataclass(frozen=True)
class ExternalVerdict:
    """What an evaluation job answered about the time up to `until`, and why, in its words."""

    verdict: Literal["pass", "fail", "inconclusive"]
    why: str
    until: datetime


VerdictLack = Literal[
    "no-secret",  # no secret is configured, so nothing can be signed
    "not-allowed",  # the policy does not list the host, or its address is internal
    "timeout",  # no answer in time
    "http",  # no connection, or a status other than 200
    "redirect",  # an answer that sends clients elsewhere
    "too-large",  # more than any verdict needs
    "invalid-signature",  # not signed with the secret, for another query, or long ago
    "unreadable",  # signed, but no verdict
]


@dataclass(frozen=True)
class NoVerdict:
    """There is no verdict, of which kind the lack is, and why."""

    kind: VerdictLack
    why: str


VerdictAnswer = ExternalVerdict | NoVerdict


# ---- Windows for gates


@dataclass(frozen=True)
class Subject:
    """A release as a source of metrics tells it apart: by its group, its version, or the template
    of its instances.
    """

    colour: Literal["blue", "green"]
    version: str
    template: str


@dataclass(frozen=True)
class CountSource:
    """Counters of bad requests and of all, as selectors (see `rollout/spec/gates.py`). Both empty:
    what the load balancer counts, and 5xx is bad.
    """

    bad: str = ""
    total: str = ""


@dataclass(frozen=True)
class LatencySource:
    """A latency histogram, and the edge above which a request is bad. `histogram` empty: the load
    balancer's.
    """

    slower_than_seconds: float
    histogram: str = ""


@dataclass(frozen=True)
class ValueSource:
    """A query in PromQL for one value of the candidate."""

    query: str


@dataclass(frozen=True)
class GateQuery:
    """What gate `gate` needs: the candidate's numbers and, unless there is no `baseline`, the
    stable release's, in windows of `window_seconds` from `since` to `until`. Windows begin at
    multiples of their length. `now`: by when data may have arrived.
    """

    gate: str
    source: CountSource | LatencySource | ValueSource
    candidate: Subject
    baseline: Subject | None
    since: datetime
    until: datetime
    window_seconds: int
    now: datetime


@dataclass(frozen=True)
class Counts:
    """Requests of one release in one window. `below`: of a latency histogram, how many were at most
    as slow as each edge, in seconds; the last edge is infinite.
    """

    bad: float
    total: float
    below: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class WindowMeasured:
    """One window. Of a source of values the candidate has a number, and the baseline nothing."""

    start: datetime
    end: datetime
    candidate: Counts | float | Unmeasured
    baseline: Counts | Unmeasured | None = None


@dataclass(frozen=True)
class Windows:
    """The windows whose data can have arrived, the oldest first, without a gap. `is_estimate`: made
    from sampled traffic. `query`: what was asked, for the record.
    """

    windows: tuple[WindowMeasured, ...]
    query: str
    is_estimate: bool = False


WindowAnswer = Windows | Delayed | Unmeasured
"""`Unmeasured`: there is no answer about any window; they are asked for again."""
