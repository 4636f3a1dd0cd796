"""What a release says about its gates: by which numbers it is judged, and how. Pure.

A gate is of one kind, told by its fields: `bad` and `total`, or `histogram` and
`slower_than_seconds`, compare the candidate with the stable release; `query` has a limit; `url`
asks somebody else. A gate that is named like a preset has the preset's fields, each of which it may
override (`resolved`). `rollout/gates/` judges.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from rollout.spec import types
from rollout.spec.section import Field, Section
from rollout.spec.types import DefaultsTo

Kind = Literal["counts", "latency", "limit", "verdict"]
OnInconclusive = Literal["wait", "pause", "rollback"]
BY_SERVICE = "$backend_services"
BY_RELEASE = "$releases"
BY_TEMPLATE = "$templates"
PLACEHOLDERS = (BY_SERVICE, BY_RELEASE, BY_TEMPLATE)
"""What tells releases apart: the backend service of the group, the version as instances have it in
their label `slipway-release`, or the instance template. Two releases that make the same machine
share a template, whose label names the first of them."""
NAME_IN_QUERY = re.compile(r"\$(release|template|backend_service)(?![a-zA-Z0-9_])")
"""What a query names the new release by."""
CONSECUTIVE = 3
HARMFUL_RATIO = 1.75
TOLERATED_SHARE = 0.001


class Gate(Section):
    """One question that must be answered well before the rollout goes on."""

    bad: types.Selector | None = Field(
        default=None,
        description="Counters of the requests that went wrong, as a selector in PromQL with one"
        ' label that matches `=~"$templates"`, `=~"$releases"` or `=~"$backend_services"`',
    )
    total: types.Selector | None = Field(
        default=None, description="Counters of all requests, as a selector like `bad`"
    )
    histogram: types.Selector | None = Field(
        default=None,
        description="The buckets of a latency histogram, as a selector like `bad` of a metric that"
        " ends in `_bucket`",
    )
    slower_than_seconds: Annotated[float, Field(gt=0, le=86400)] | None = Field(
        default=None,
        description="A request that takes longer is bad; must be the edge of a bucket",
    )
    query: types.PromQl | None = Field(
        default=None,
        description="A query in PromQL with a limit; `$template`, `$release` and `$backend_service`"
        " in it are the new release's",
    )
    max: float | None = Field(default=None, description="Fails above this value of `query`")
    min: float | None = Field(default=None, description="Fails below this value of `query`")
    consecutive: (
        Annotated[int, Field(ge=1, le=1000), DefaultsTo(f"{CONSECUTIVE} with `query`")] | None
    ) = Field(default=None, description="Fails after so many windows beyond the limit in a row")
    failures: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None, description="Fails after so many windows beyond the limit in one step"
    )
    url: types.GateUrl | None = Field(
        default=None, description="Where an evaluation job answers with a verdict"
    )
    harmful_ratio: (
        Annotated[
            float, Field(gt=1, le=1000), DefaultsTo(f"{HARMFUL_RATIO:g} with `bad` or `histogram`")
        ]
        | None
    ) = Field(
        default=None,
        description="A release is harmful if users see so many times the bad requests; a step ends"
        " when that is ruled out for the weight of the next one",
    )
    tolerated_share: (
        Annotated[
            float,
            Field(ge=0, lt=1),
            DefaultsTo(f"{TOLERATED_SHARE:g} with `bad` or `histogram`"),
        ]
        | None
    ) = Field(
        default=None,
        description="A release passes if it makes less than this share of all requests bad, however"
        " few the stable one has; it still fails if it is surely worse",
    )
    objective_share: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="Share of bad requests that the service level allows, for the burn rate once"
        " the new release has all requests; none: from what the stable release had",
    )
    dry_run: bool = Field(default=False, description="Only record what it says")
    on_inconclusive: (
        Annotated[OnInconclusive, DefaultsTo("`rollout.analysis.on_inconclusive`")] | None
    ) = Field(
        default=None,
        description="What to do if it has no verdict when the hold of the step is over",
    )

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds whose fields it has: one, unless it is wrong."""
        found: list[Kind] = []
        if self.bad or self.total:
            found.append("counts")
        if self.histogram or self.slower_than_seconds:
            found.append("latency")
        if self.query:
            found.append("limit")
        if self.url:
            found.append("verdict")
        return tuple(found)

    @property
    def selectors(self) -> tuple[str, ...]:
        return tuple(each for each in (self.bad, self.total, self.histogram) if each)


class Analysis(Section):
    """How gates judge."""

    window_seconds: Annotated[int, Field(ge=1, le=3600)] = Field(
        default=60, description="Length of a window; Cloud Monitoring has whole minutes"
    )
    warm_up_seconds: Annotated[int, Field(ge=0, le=86400)] = Field(
        default=60,
        description="How long the new release has requests before they are judged: its caches are"
        " cold",
    )
    alpha: Annotated[float, Field(gt=0, le=0.2)] = Field(
        default=0.01,
        description="Probability with which all gates together fail a good release in one rollout",
    )
    min_bad: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=5, description="Bad requests of the new release before a gate fails it"
    )
    min_requests: Annotated[int, Field(ge=1, le=1_000_000_000)] = Field(
        default=30, description="Requests of the new release in a step before any verdict"
    )
    min_windows: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=3, description="Windows of a step before any verdict"
    )
    on_inconclusive: OnInconclusive = Field(
        default="wait",
        description="What to do if a gate has no verdict when the hold of the step is over",
    )
    max_inconclusive_seconds: Annotated[int, Field(ge=0, le=1209600)] = Field(
        default=3600,
        description="How long a step is waited in for a verdict before the rollout is paused",
    )
    max_errors: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=10, description="Windows in a row without an answer before the rollout is paused"
    )
    baseline: Literal["stable", "fresh"] = Field(
        default="stable",
        description="With what the new release is compared; `fresh` is refused: a third group, as"
        " old as the new release's, is not supported",
    )


# ---- Presets

_SELECTED = 'template=~"$templates"'
"""The label that the shipped Prometheus gives each instance (deploy/prometheus/)."""
_LATENCY = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0),
    *(120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)

PRESETS: Mapping[str, Gate] = {
    "http_errors": Gate.model_construct(),
    "latency": Gate.model_construct(),
    "vllm_errors": Gate.model_construct(
        bad=f'vllm:request_success_total{{{_SELECTED},finished_reason="error"}}',
        total=f"vllm:request_success_total{{{_SELECTED}}}",
    ),
    "vllm_ttft": Gate.model_construct(
        histogram=f"vllm:time_to_first_token_seconds_bucket{{{_SELECTED}}}",
        slower_than_seconds=1.0,
    ),
    "vllm_inter_token": Gate.model_construct(
        histogram=f"vllm:inter_token_latency_seconds_bucket{{{_SELECTED}}}",
        slower_than_seconds=0.1,
    ),
    "vllm_queue": Gate.model_construct(
        histogram=f"vllm:request_queue_time_seconds_bucket{{{_SELECTED}}}",
        slower_than_seconds=1.0,
    ),
    "triton_errors": Gate.model_construct(
        bad=f'nv_inference_request_failure{{{_SELECTED},reason!="CANCELED"}}',
        total=f'{{__name__=~"nv_inference_request_(success|failure)",{_SELECTED}}}',
    ),
}
"""By name. `http_errors` and `latency` are counted by the load balancer: what selects them is
defined by the source of metrics (`infra/metrics`). The others are the names of vLLM 0.33
(`vllm/v1/metrics/loggers.py`) and of Triton (`docs/user_guide/metrics.md`)."""

BALANCER_PRESETS: Mapping[str, Kind] = {"http_errors": "counts", "latency": "latency"}

EDGES: Mapping[str, tuple[float, ...]] = {
    "vllm:time_to_first_token_seconds_bucket": (
        *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5),
        *(10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
    ),
    "vllm:inter_token_latency_seconds_bucket": (
        *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5),
        *(10.0, 20.0, 40.0, 80.0),
    ),
    "vllm:request_queue_time_seconds_bucket": _LATENCY,
    "vllm:e2e_request_latency_seconds_bucket": _LATENCY,
}
"""The edges of the buckets of histograms, in seconds, where a server does not let one choose."""


def resolved(name: str, gate: Gate) -> Gate:
    """The gate with its preset's fields, and its defaults, filled in."""
    preset = PRESETS.get(name)
    if preset is None:
        return gate
    given = {field: value for field, value in gate if value is not None}
    return preset.model_copy(update=given)


def kinds_of(name: str, gate: Gate) -> tuple[Kind, ...]:
    """The kinds of a gate that is named so: one, unless it is wrong."""
    found = resolved(name, gate).kinds
    preset = BALANCER_PRESETS.get(name)
    return found or ((preset,) if preset else ())


def kind_of(name: str, gate: Gate) -> Kind:
    return kinds_of(name, gate)[0]


def edge_at(edges: Iterable[float], bound: float) -> float | None:
    """The edge that is the bound, to three digits: those of exponential buckets have many."""
    near = [each for each in edges if math.isclose(each, bound, rel_tol=2e-3)]
    return min(near, key=lambda each: abs(each - bound), default=None)


def no_edge(bound: float, edges: Iterable[float]) -> str:
    """Why no bucket ends there."""
    found = ", ".join(f"{each:.3g}" for each in edges if math.isfinite(each))
    return f"has no bucket that ends at {bound:g} s; it has {found or 'none'}"
