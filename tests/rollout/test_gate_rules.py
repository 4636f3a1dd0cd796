"""Which gates a release may have, and what the problem of one that it may not have says."""

from __future__ import annotations

from typing import Any

import pytest

from rollout.spec.gates import EDGES, PRESETS, Gate, edge_at, kind_of, resolved
from rollout.spec.message import Invalid, ReleaseRequested, resolve
from rollout.spec.metrics import PROMETHEUS, MetricsSource, unmeasurable
from rollout.spec.model import Spec
from rollout.spec.selectors import parse_selector

IMAGE = "us-docker.pkg.dev/p/r/tiny:1"
BAD, TOTAL = 'errors_total{template=~"$templates"}', 'requests_total{template=~"$templates"}'
BUCKETS = 'seconds_bucket{release=~"$releases"}'
OWN_KINDS = (
    "own: needs bad and total, histogram and slower_than_seconds, query, or url; or the name of a"
    " preset"
)
OF_SERVICE = 'rq{code="500",service=~"$backend_services"}'


def problems(name: str, gate: dict[str, Any], **sections: Any) -> list[str]:
    """The problems of a canary with one gate."""
    rollout = {"strategy": "canary", "gates": {name: gate}} | sections.pop("rollout", {})
    patch = {"artifact": {"image": IMAGE}, "rollout": rollout} | sections
    try:
        resolve(ReleaseRequested("tiny", "1", patch), None, has_metrics=True)
    except Invalid as refused:
        return [str(each) for each in refused.problems]
    return []


@pytest.mark.parametrize(
    ("name", "gate"),
    [
        *((name, {}) for name in PRESETS if name != "latency"),
        ("latency", {"slower_than_seconds": 0.3}),
        ("own", {"bad": BAD, "total": TOTAL, "harmful_ratio": 3}),
        ("own", {"bad": OF_SERVICE, "total": OF_SERVICE.replace('code="500",', "")}),
        ("own", {"histogram": BUCKETS, "slower_than_seconds": 0.123}),
        ("own", {"query": 'up{release="$release"}', "min": 1, "consecutive": 2}),
        ("own", {"query": 'up{template="$template",code=~"^5..$"}', "min": 1}),
        ("own", {"url": "https://evals.example.com/slipway"}),
        ("http_errors", {"query": "errors", "max": 3}),
        ("vllm_ttft", {"slower_than_seconds": 2.5, "dry_run": True}),
        ("vllm_errors", {"bad": TOTAL.replace("{", '{status="5xx",'), "total": TOTAL}),
    ],
)
def test_a_gate_with_the_fields_of_one_kind_is_accepted(name: str, gate: dict[str, Any]) -> None:
    assert problems(name, gate) == []


@pytest.mark.parametrize(
    ("name", "gate", "expected"),
    [
        ("own", {}, f"{OWN_KINDS}: http_errors, latency, vllm_errors,"),
        ("http_error", {}, f"{OWN_KINDS}, such as http_errors, got".replace("own", "http_error")),
        (
            "own",
            {"query": 'x{t=~"$templates"}', "max": 1},
            "own.query: must name the new release by $template, $release or $backend_service",
        ),
        ("own", {"query": "rate(x[$__interval])", "max": 1}, "own.query: must name the new"),
        ("own", {"bad": BAD}, "own.total: is required"),
        ("http_errors", {"total": TOTAL}, "http_errors.bad: is required"),
        ("latency", {}, "latency.slower_than_seconds: is required"),
        ("own", {"slower_than_seconds": 1}, "own.histogram: is required"),
        ("own", {"histogram": BUCKETS}, "own.slower_than_seconds: is required"),
        ("own", {"query": "errors"}, "own: needs max or min beside query"),
        ("own", {"query": "errors", "max": 1, "min": 2}, "own.min: must be at most max (1)"),
        (
            "own",
            {"query": "errors", "max": 1, "url": "https://evals.example.com/x"},
            "own: must be of one kind; make two gates of it, got query, max, url",
        ),
        ("vllm_ttft", {"bad": BAD, "total": TOTAL}, "vllm_ttft: must be of one kind"),
        ("http_errors", {"max": 3}, "http_errors.max: must be left out of a gate without query"),
        (
            "own",
            {"url": "https://evals.example.com/x", "harmful_ratio": 3},
            "own.harmful_ratio: must be left out of a gate without bad or histogram",
        ),
        (
            "own",
            {"bad": BAD.replace("templates", "releases"), "total": TOTAL},
            "own.bad: must tell releases apart by $templates, as total does, got $releases",
        ),
        ("own", {"bad": BAD.replace("{", "{x,"), "total": TOTAL}, "own.bad: must be a selector"),
        (
            "own",
            {"bad": BAD.replace("{", '{r=~"$releases",'), "total": TOTAL},
            "own.bad: must be a selector",
        ),
        (
            "own",
            {"histogram": TOTAL, "slower_than_seconds": 1},
            "own.histogram: must select the buckets of a histogram",
        ),
        (
            "own",
            {"histogram": BUCKETS.replace("{", '{le="1",'), "slower_than_seconds": 1},
            "own.histogram: must select all buckets: leave the label le out",
        ),
        (
            "vllm_ttft",
            {"slower_than_seconds": 0.3},
            "vllm_ttft.slower_than_seconds: must be an edge:"
            " vllm:time_to_first_token_seconds_bucket has no bucket that ends at 0.3 s; it has"
            " 0.001, 0.005,",
        ),
    ],
)
def test_any_other_combination_is_refused_and_named(
    name: str, gate: dict[str, Any], expected: str
) -> None:
    found = problems(name, gate)
    assert len(found) == 1, found
    assert found[0].startswith(f"rollout.gates.{expected}")


ROLLING: dict[str, Any] = {"rollout": {"strategy": "rolling"}}
HIDDEN: dict[str, Any] = {**ROLLING, "traffic": {"exposure": "none"}}


@pytest.mark.parametrize(
    ("name", "gate", "sections", "expected"),
    [
        ("http_errors", {}, ROLLING, "set rollout.strategy to canary"),
        ("latency", {"slower_than_seconds": 0.3}, ROLLING, "set rollout.strategy to canary"),
        ("own", {"bad": OF_SERVICE, "total": OF_SERVICE}, ROLLING, "$templates or $releases"),
        ("http_errors", {}, HIDDEN, "must not count at the load balancer, with traffic.exposure"),
        ("vllm_errors", {}, ROLLING, ""),
        ("vllm_errors", {}, HIDDEN, ""),
        ("own", {"query": "errors", "max": 1}, ROLLING, ""),
        ("own", {"histogram": BUCKETS, "slower_than_seconds": 1}, HIDDEN, ""),
    ],
)
def test_a_gate_that_cannot_tell_releases_apart_is_refused(
    name: str, gate: dict[str, Any], sections: dict[str, Any], expected: str
) -> None:
    found = problems(name, gate, **sections)
    assert len(found) == (1 if expected else 0), found
    assert not expected or (expected in found[0] and found[0].startswith(f"rollout.gates.{name}: "))


def test_a_fresh_baseline_is_refused_with_what_it_needs() -> None:
    found = problems("http_errors", {}, rollout={"analysis": {"baseline": "fresh"}})
    assert len(found) == 1
    assert found[0].startswith("rollout.analysis.baseline: must be stable: a fresh baseline needs")
    assert "third group" in found[0]


def test_each_preset_can_be_selected_and_has_a_bound_at_an_edge() -> None:
    for name, gate in PRESETS.items():
        for text in gate.selectors:
            assert parse_selector(text), name
        if gate.histogram and gate.slower_than_seconds:
            selector = parse_selector(gate.histogram)
            assert selector
            assert edge_at(EDGES[selector.metric], gate.slower_than_seconds) is not None


def test_a_preset_fills_in_only_what_a_gate_leaves_out() -> None:
    gate = resolved("vllm_ttft", Gate(slower_than_seconds=2.5, harmful_ratio=3))
    assert gate.histogram == PRESETS["vllm_ttft"].histogram
    assert (gate.slower_than_seconds, gate.harmful_ratio) == (2.5, 3)
    assert kind_of("http_errors", Gate()) == "counts"


def test_an_edge_is_compared_to_three_digits() -> None:
    assert edge_at((0.2178, 0.304913), 0.305) == 0.304913
    assert edge_at((0.25, 0.5), 0.3) is None


def test_a_selector_may_name_several_metrics() -> None:
    text = PRESETS["triton_errors"].total
    found = parse_selector(text) if text else None
    assert found
    assert found.metric == "nv_inference_request_(success|failure)"
    assert found.series == '{__name__=~"nv_inference_request_(success|failure)"}'
    assert found.with_names(["a.b", "c"]).endswith('template=~"a\\\\.b|c"}')


# ---- What the source of metrics has

MONITORING = MetricsSource("cloud-monitoring")
PROXY = MetricsSource("prometheus", has_errors=False, has_latencies=False)
OWN = {"bad": BAD, "total": TOTAL}
CHECK = {"url": "https://evals.example.com/slipway"}


@pytest.mark.parametrize(
    ("source", "gates", "seconds", "expected"),
    [
        (None, {"http_errors": {}}, 60, "rollout.gates.http_errors: must be left out: no source"),
        (None, {"own": OWN}, 60, "rollout.gates.own: must be left out: no source"),
        (None, {"check": CHECK}, 60, ""),
        (PROMETHEUS, {"http_errors": {}}, 5, ""),
        (MONITORING, {"http_errors": {}}, 120, ""),
        (
            MONITORING,
            {"http_errors": {}},
            90,
            "rollout.analysis.window_seconds: must be a multiple of 60: rollout.gates.http_errors",
        ),
        (MONITORING, {"own": OWN, "check": CHECK}, 10, ""),
        (PROXY, {"http_errors": {}}, 60, "rollout.gates.http_errors: must have bad and total"),
        (PROXY, {"http_errors": OWN}, 60, ""),
        (PROXY, {"http_errors": {"query": "x", "max": 1}}, 60, ""),
        (
            PROXY,
            {"latency": {"slower_than_seconds": 1}},
            60,
            "rollout.gates.latency: must have histogram: SLIPWAY_LATENCY_HISTOGRAM is not set",
        ),
    ],
)
def test_a_gate_that_the_source_of_metrics_cannot_answer_is_refused(
    source: MetricsSource | None, gates: dict[str, Any], seconds: int, expected: str
) -> None:
    rollout = {"strategy": "canary", "gates": gates, "analysis": {"window_seconds": seconds}}
    patch = {"artifact": {"image": IMAGE}, "rollout": rollout}
    spec = resolve(ReleaseRequested("tiny", "1", patch), None, has_metrics=bool(source))
    found = [str(each) for each in unmeasurable(spec, source)]
    assert len(found) == (1 if expected else 0), found
    assert not expected or found[0].startswith(expected)


def test_an_inherited_gate_that_does_not_fit_a_new_strategy_is_refused_with_the_way_out() -> None:
    canary = {"strategy": "canary", "gates": {"http_errors": {}}}
    patch = {"artifact": {"image": IMAGE}, "rollout": canary}
    base = resolve(ReleaseRequested("tiny", "1", patch), None, has_metrics=True)

    def resolved_rolling(**rollout: Any) -> Spec:
        change = {"rollout": {"strategy": "rolling", **rollout}}
        return resolve(ReleaseRequested("tiny", "2", change), base, "1", has_metrics=True)

    with pytest.raises(Invalid) as refused:
        resolved_rolling()
    assert str(refused.value).endswith(
        "(inherited from release 1; give a value, or null for the default)"
    )
    assert resolved_rolling(gates={"http_errors": None}).rollout.gates == {}
