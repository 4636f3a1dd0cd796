"""The port for metrics: requests by backend service, and queries in PromQL.

Implemented by `infra/metrics/prometheus.py` and `infra/metrics/cloud_monitoring.py`; called by
`handlers/reconcile/measure.py`. Invariants: an implementation answers within `TIMEOUT_SECONDS`,
and raises nothing because of what a source does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Protocol

from rollout.deferred import dataclass
from rollout.measurements import Answer, GateQuery, Unmeasured, WindowAnswer

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


@dataclass(frozen=True)
class Names:
    """How series tell a release apart: by the backend service of its group, by the value that its
    version has as label `slipway-release` of its instances, or by their template. Selectors and
    queries name these fields, as `$releases` and `$release`.
    """

    backend_service: str
    release: str
    template: str


class Metrics(Protocol):
    def query(self, text: str, at: datetime) -> SeriesFound | Unmeasured:
        """The answer to an instant query in PromQL; a range selector gives raw samples."""
        ...

    def count_requests(
        self, services: Iterable[str], since: datetime, until: datetime
    ) -> Mapping[str, Answer]:
        """How many requests each of these backend services got."""
        ...

    def read_windows(
        self, query: GateQuery, candidate: Names, baseline: Names | None
    ) -> WindowAnswer:
        """The windows of a gate, as far as their data can have arrived."""
        ...
