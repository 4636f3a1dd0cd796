"""What may be asked of a source of metrics, and what it answers. Pure.

Gates and the sizing of a candidate name queries, `handlers/reconcile/measure.py` asks once per
pass, and the answers come back in `Evidence`. Invariant: a source that cannot answer is never an
exception and never 0; each way to fail is an answer of its own kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


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
]


@dataclass(frozen=True)
class Unmeasured:
    """There is no number, of which kind the lack is, and why."""

    kind: Lack
    why: str


Answer = Measured | CounterReset | Delayed | Unmeasured
