"""The port for metrics: requests by backend service, and queries in PromQL.

Implemented by `infra/metrics/prometheus.py` and `infra/metrics/cloud_monitoring.py`; called by
`handlers/reconcile/measure.py`. Invariants: an implementation answers within `TIMEOUT_SECONDS`,
and raises nothing because of what a source does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from rollout.measurements import Answer, Unmeasured

TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class Series:
    """One time series: its labels, and its samples as (Unix seconds, value), the oldest first."""

    labels: Mapping[str, str]
    samples: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class SeriesFound:
    """The series that a query selects; all values are finite. There may be none."""

    series: tuple[Series, ...]


class Metrics(Protocol):
    def query(self, text: str, at: datetime) -> SeriesFound | Unmeasured:
        """The answer to an instant query in PromQL; a range selector gives raw samples."""
        ...

    def count_requests(
        self, services: Iterable[str], since: datetime, until: datetime
    ) -> Mapping[str, Answer]:
        """How many requests each of these backend services got."""
        ...
