"""Selectors of time series in PromQL that tell releases apart by a placeholder. Pure.

`lb_requests_total{backend_service=~"$backend_services", code=~"5.."}` selects the counters of both
releases: the placeholder stands for their names, and its label says which of them a series belongs
to. Used by the rules of a spec and by `infra/metrics`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from rollout.deferred import dataclass
from rollout.spec.gates import PLACEHOLDERS

_MATCHER = r'[a-zA-Z_][a-zA-Z0-9_]*\s*(?:=~|!~|!=|=)\s*"(?:[^"\\]|\\.)*"'
_SELECTOR = re.compile(
    r"\s*(?P<metric>[a-zA-Z_:][a-zA-Z0-9_:]*)?\s*"
    rf"\{{\s*(?P<matchers>{_MATCHER}(?:\s*,\s*{_MATCHER})*)\s*,?\s*\}}\s*"
)
_PARTS = re.compile(
    r'(?P<label>[a-zA-Z_][a-zA-Z0-9_]*)\s*(?P<operator>=~|!~|!=|=)\s*"(?P<value>(?:[^"\\]|\\.)*)"'
)
_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")


@dataclass(frozen=True)
class Selector:
    """`metric` is the name of the metric, or of several what matches their names; `series` selects
    all series of it. `label` has the placeholder; `required` are those of its `labels` that series
    must have.
    """

    text: str
    metric: str
    series: str
    placeholder: str
    label: str
    required: frozenset[str]
    labels: frozenset[str]

    def with_names(self, names: Iterable[str]) -> str:
        """The selector of these releases: the placeholder is one alternative for each name."""
        alternatives = "|".join(
            _SPECIAL.sub(lambda found: rf"\\{found[0]}", each) for each in names
        )
        return self.text.replace(self.placeholder, alternatives)


def parse_selector(text: str) -> Selector | None:
    """None if it is no selector in which exactly one label matches one placeholder with `=~`."""
    found = _SELECTOR.fullmatch(text)
    if found is None:
        return None
    parts = list(_PARTS.finditer(found["matchers"]))
    marked = [each for each in parts if each["value"] in PLACEHOLDERS and each["operator"] == "=~"]
    if len(marked) != 1 or sum(text.count(each) for each in PLACEHOLDERS) != 1:
        return None
    required = {each["label"] for each in parts if each["operator"] in ("=", "=~")}
    metric = series = found["metric"]
    if metric is None:
        names = [each for each in parts if each["label"] == "__name__"]
        if len(names) != 1 or names[0]["operator"] not in ("=", "=~"):
            return None
        metric, series = names[0]["value"], f"{{{names[0][0]}}}"
    label = marked[0]["label"]
    return Selector(
        text,
        metric,
        series,
        marked[0]["value"],
        label,
        frozenset(required),
        frozenset(each["label"] for each in parts),
    )
