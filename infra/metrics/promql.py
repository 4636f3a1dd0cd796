"""Queries in PromQL over the HTTP API of Prometheus, which Cloud Monitoring offers too.

Used by both adapters beside this module. It reads what an answer says, and trusts none of it: an
answer with warnings is partial, and a NaN or an infinity is no number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from infra.metrics.fetch import Answered, Fetch, Query, short
from infra.metrics.port import Series, SeriesFound
from rollout.measurements import Unmeasured

API = "/api/v1"
HINT = "PromQL info:"


class PromQl:
    """`base` is the URL up to `/api/v1`, which it may have at its end."""

    def __init__(self, base: str, fetch: Fetch) -> None:
        self._base, self._fetch = base.rstrip("/").removesuffix(API) + API, fetch

    def in_half_the_time(self) -> PromQl:
        """The same source, whose answers may take half as long."""
        return PromQl(self._base, self._fetch.in_half_the_time())

    def query(self, text: str, at: datetime, *, is_finite: bool = True) -> SeriesFound | Unmeasured:
        """An instant query. `is_finite`: with a NaN or an infinity among the samples there is no
        answer at all.
        """
        found = self._ask("query", {"query": text, "time": f"{at.timestamp():.3f}"})
        return _infinite(found) or found if is_finite else found

    def query_range(
        self, text: str, first: datetime, last: datetime, step_seconds: float
    ) -> SeriesFound | Unmeasured:
        """The values at each step from the first moment to the last; some may be NaN."""
        times = {"start": f"{first.timestamp():.3f}", "end": f"{last.timestamp():.3f}"}
        return self._ask("query_range", {"query": text, **times, "step": f"{step_seconds:g}"})

    def _ask(self, call: str, question: Query) -> SeriesFound | Unmeasured:
        answer = self._fetch.get(f"{self._base}/{call}", question)
        if isinstance(answer, Unmeasured):
            return answer
        data = _data(answer)
        return data if isinstance(data, Unmeasured) else _series(data)

    def labels_of(self, metric: str) -> frozenset[str] | Unmeasured:
        """The labels that series of this metric have; none if there is no such metric."""
        answer = self._fetch.get(f"{self._base}/labels", {"match[]": metric})
        if isinstance(answer, Unmeasured):
            return answer
        data = _data(answer)
        if isinstance(data, Unmeasured):
            return data
        return frozenset(map(str, data)) if isinstance(data, list) else _unreadable("no labels")


def _data(answer: Answered) -> Any:
    """The `data` of an answer, or why there are none."""
    document = answer.document
    body = document if isinstance(document, dict) else {}
    kind, text = str(body.get("errorType", "")), short(body.get("error", "")) or answer.text
    if kind == "timeout" or answer.status in (408, 504):
        return Unmeasured("timeout", f"the query took too long: {text or answer.status}")
    if answer.status != 200 or body.get("status") == "error":
        return Unmeasured("http", f"the source answered {answer.status}: {text or 'no reason'}")
    if body.get("status") != "success":
        return _unreadable("no status")
    if warnings := _warnings(body.get("warnings")):
        return Unmeasured("partial", f"the source warns: {short(warnings)}")
    if body.get("isPartial"):
        return Unmeasured("partial", "the source marks its answer as partial")
    return body.get("data")


def _warnings(found: Any) -> Any:
    """All but hints about the query: before version 3, Prometheus has them among its warnings."""
    if not isinstance(found, list):
        return found
    return [each for each in found if not str(each).startswith(HINT)]


def _series(data: Any) -> SeriesFound | Unmeasured:
    if not isinstance(data, dict) or data.get("resultType") not in ("matrix", "vector"):
        return _unreadable("neither a vector nor a matrix")
    try:
        series = tuple(_one_series(each) for each in data["result"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return _unreadable("a sample that is none")
    return SeriesFound(series)


def _infinite(found: SeriesFound | Unmeasured) -> Unmeasured | None:
    if isinstance(found, Unmeasured):
        return None
    for each in found.series:
        for _, value in each.samples:
            if not math.isfinite(value):
                return Unmeasured("not-finite", f"{value} among the samples of {_name(each)}")
    return None


def _one_series(result: dict[str, Any]) -> Series:
    labels = {str(name): str(value) for name, value in result["metric"].items()}
    pairs = [result["value"]] if "value" in result else result["values"]
    return Series(labels, tuple(_samples(pairs)))


def _samples(pairs: list[Any]) -> Iterator[tuple[float, float]]:
    for moment, value in pairs:
        if not isinstance(value, str) or not math.isfinite(float(moment)):
            raise ValueError("not a sample")
        yield float(moment), float(value)


def _name(series: Series) -> str:
    return short(series.labels.get("__name__", "a series"))


def _unreadable(what: str) -> Unmeasured:
    return Unmeasured("unreadable", f"the answer is not Prometheus's: {what}")
