"""The data plane's counters, and their Prometheus text format (version 0.0.4).

Each request is counted once, when its response leaves the balancer, under the release that
answered last; the release is empty if no instance answered. Retries and mirrored requests have
their own counters.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
LABELS = ("backend_service", "group", "release", "version")
Labels = tuple[str, ...]
Sample = tuple[str, Mapping[str, str], float]


class Histogram:
    """Durations in seconds, by the upper edges of their buckets."""

    __slots__ = ("bounds", "count", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = BOUNDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.count = 0
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.count += 1
        self.total += seconds

    def samples(self, labels: Mapping[str, str]) -> Iterable[Sample]:
        below = 0
        for bound, count in zip((*self.bounds, math.inf), self.counts, strict=True):
            below += count
            yield "_bucket", {**labels, "le": _number(bound)}, below
        yield "_sum", labels, self.total
        yield "_count", labels, self.count


class Metrics:
    """Counters since the start. Written on the data plane's event loop, read by anyone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests: dict[tuple[Labels, int], int] = {}
        self.durations: dict[Labels, Histogram] = {}
        self.retries: dict[Labels, int] = {}
        self.mirrored: dict[Labels, int] = {}

    def record_response(self, labels: Labels, status: int, seconds: float) -> None:
        """`labels` in the order of `LABELS`."""
        with self._lock:
            key = (labels, status)
            self.requests[key] = self.requests.get(key, 0) + 1
            histogram = self.durations.get(labels)
            if histogram is None:
                histogram = self.durations[labels] = Histogram()
            histogram.observe(seconds)

    def record_retry(self, labels: Labels) -> None:
        with self._lock:
            self.retries[labels] = self.retries.get(labels, 0) + 1

    def mirror(self, labels: Labels) -> None:
        with self._lock:
            self.mirrored[labels] = self.mirrored.get(labels, 0) + 1

    def families(self) -> list[str]:
        """Every metric family as text."""
        with self._lock:
            requests, durations = dict(self.requests), dict(self.durations)
            retries, mirrored = dict(self.retries), dict(self.mirrored)
            errors: dict[Labels, int] = {labels: 0 for labels, _ in requests}
            for (labels, status), count in requests.items():
                errors[labels] += count if status >= 500 else 0
            buckets = [
                sample
                for labels, histogram in durations.items()
                for sample in histogram.samples(_label_names(labels))
            ]
        coded = [
            ("", _label_names(labels) | {"code": str(status)}, count)
            for (labels, status), count in requests.items()
        ]
        return [
            family(
                "lb_requests_total", "counter", "Requests answered by the load balancers.", coded
            ),
            family(
                "lb_request_errors_total", "counter", "Requests answered with 5xx.", _plain(errors)
            ),
            family(
                "lb_retries_total",
                "counter",
                "Requests retried after an instance failed them.",
                _plain(retries),
            ),
            family(
                "lb_mirrored_requests_total",
                "counter",
                "Requests sent to a mirror.",
                _plain(mirrored),
            ),
            family(
                "lb_request_duration_seconds",
                "histogram",
                "Time from request to response, as the client sees it.",
                buckets,
            ),
        ]


def family(name: str, kind: str, about: str, samples: Iterable[Sample]) -> str:
    """One metric family in text format. A sample's first member is a suffix of the family's
    name.
    """
    lines = [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
    for suffix, labels, value in samples:
        label_text = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        lines.append(
            f"{name}{suffix}{{{label_text}}} {_number(value)}"
            if label_text
            else f"{name}{suffix} {_number(value)}"
        )
    return "\n".join(lines) + "\n"


def _plain(values: Mapping[Labels, float]) -> list[Sample]:
    return [("", _label_names(labels), value) for labels, value in values.items()]


def _label_names(labels: Labels) -> dict[str, str]:
    return dict(zip(LABELS, labels, strict=True))


def _number(value: float) -> str:
    return "+Inf" if value == math.inf else f"{value:.10g}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
