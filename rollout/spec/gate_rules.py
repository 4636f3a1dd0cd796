"""Rules between the fields of the gates of a release, as those in `rules.py` beside this module.

A gate is checked with the fields of its preset and of the release that it inherits from, so only
in the whole spec.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rollout.spec.gates import (
    BALANCER_PRESETS,
    BY_SERVICE,
    EDGES,
    NAME_IN_QUERY,
    PRESETS,
    Gate,
    Kind,
    edge_at,
    kinds_of,
    no_edge,
    resolved,
)
from rollout.spec.problems import SpecProblem
from rollout.spec.rule_context import Rule, RuleContext
from rollout.spec.selectors import Selector, parse_selector

FIELDS: dict[str, tuple[Kind, ...]] = {
    "bad": ("counts",),
    "total": ("counts",),
    "histogram": ("latency",),
    "slower_than_seconds": ("latency",),
    "query": ("limit",),
    "max": ("limit",),
    "min": ("limit",),
    "consecutive": ("limit",),
    "failures": ("limit",),
    "url": ("verdict",),
    "harmful_ratio": ("counts", "latency"),
    "tolerated_share": ("counts", "latency"),
    "objective_share": ("counts", "latency"),
}
"""Which kinds of gates have a field."""
DECIDING = {"counts": "bad", "latency": "histogram", "limit": "query", "verdict": "url"}
COMPARED: tuple[Kind, ...] = ("counts", "latency")
_DOLLAR_NAME = re.compile(r"\$\{?[a-zA-Z_]\w*")
"""Nothing that PromQL has: in its regular expressions, too, `$` ends what is matched."""


def _gates(context: RuleContext) -> Iterator[tuple[str, str, Gate]]:
    """The path, the name, and the gate with its preset's fields, of all that are valid so far."""
    if not context.whole:
        return
    for name, gate in context.spec.rollout.gates.items():
        path = f"rollout.gates.{name}"
        if context.knows(path):
            yield path, name, resolved(name, gate)


def _gates_of_a_kind(context: RuleContext) -> Iterator[tuple[str, str, Gate, Kind]]:
    for path, name, gate in _gates(context):
        kinds = kinds_of(name, gate)
        if len(kinds) == 1:
            yield path, name, gate, kinds[0]


def kind_of_gate(context: RuleContext) -> Iterator[SpecProblem]:
    """Each of `rollout.gates` has fields of exactly one kind: `bad` and `total`, or `histogram` and
    `slower_than_seconds`, or `query` with `max` or `min`, or `url`.
    """
    for path, name, gate in _gates(context):
        kinds = kinds_of(name, gate)
        if not kinds:
            allowed = "needs bad and total, histogram and slower_than_seconds, query, or url"
            yield SpecProblem(path, f"{allowed}; or {_preset_like(name)}", "none of them")
        elif len(kinds) > 1:
            given = ", ".join(
                field
                for field, of_kinds in FIELDS.items()
                if len(of_kinds) == 1 and getattr(gate, field) is not None
            )
            yield SpecProblem(path, "must be of one kind; make two gates of it", given)
        else:
            yield from _other_fields(path, gate, kinds[0])


def _preset_like(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, PRESETS, n=1)
    return f"the name of a preset{f', such as {near[0]}' if near else ': ' + ', '.join(PRESETS)}"


def _other_fields(path: str, gate: Gate, kind: Kind) -> Iterator[SpecProblem]:
    for field, kinds in FIELDS.items():
        if getattr(gate, field) is not None and kind not in kinds:
            owners = " or ".join(DECIDING[each] for each in kinds)
            yield SpecProblem(f"{path}.{field}", f"must be left out of a gate without {owners}")


def whole_gate(context: RuleContext) -> Iterator[SpecProblem]:
    """A gate with `bad` has `total` too, and the reverse; one with `histogram` has
    `slower_than_seconds`; one with `query` has `max` or `min`, and `min` is at most `max`. The
    preset `latency` needs `slower_than_seconds`.
    """
    for path, name, gate, kind in _gates_of_a_kind(context):
        if kind == "counts" and (gate.bad is None) != (gate.total is None):
            lacking = "bad" if gate.bad is None else "total"
            yield SpecProblem(
                f"{path}.{lacking}", "is required: the other counters to compare with"
            )
        elif kind == "latency":
            if gate.histogram is None and name not in BALANCER_PRESETS:
                yield SpecProblem(f"{path}.histogram", "is required with slower_than_seconds")
            if gate.slower_than_seconds is None:
                yield SpecProblem(
                    f"{path}.slower_than_seconds", "is required: which requests are bad"
                )
        elif kind == "limit" and gate.max is None and gate.min is None:
            yield SpecProblem(path, "needs max or min beside query", "neither")
        elif gate.max is not None and gate.min is not None and gate.min > gate.max:
            yield SpecProblem(f"{path}.min", f"must be at most max ({gate.max:g})", f"{gate.min:g}")


def gate_selectors(context: RuleContext) -> Iterator[SpecProblem]:
    """Each of `bad`, `total` and `histogram` selects series by one label that matches
    `=~"$templates"`, `=~"$releases"` or `=~"$backend_services"`, the same in both selectors of a
    gate; a histogram's metric ends in `_bucket`, and its `le` is not selected.
    """
    for path, _, gate in _gates(context):
        found: dict[str, Selector] = {}
        for field in ("bad", "total", "histogram"):
            text = getattr(gate, field)
            selector = parse_selector(text) if text else None
            if selector:
                found[field] = selector
            elif text:
                allowed = (
                    "must be a selector in PromQL with one placeholder,"
                    ' as in errors_total{template=~"$templates"}'
                )
                yield SpecProblem(f"{path}.{field}", allowed, text)
        if len({each.placeholder for each in found.values()}) > 1:
            total = found["total"].placeholder
            allowed = f"must tell releases apart by {total}, as total does"
            yield SpecProblem(f"{path}.bad", allowed, found["bad"].placeholder)
        histogram = found.get("histogram")
        if histogram and not histogram.metric.endswith("_bucket"):
            allowed = "must select the buckets of a histogram: a metric that ends in _bucket"
            yield SpecProblem(f"{path}.histogram", allowed, histogram.metric)
        if histogram and "le" in histogram.labels:
            allowed = "must select all buckets: leave the label le out"
            yield SpecProblem(f"{path}.histogram", allowed, histogram.text)


def names_in_query(context: RuleContext) -> Iterator[SpecProblem]:
    """A `query` has no other names after a `$` than `$template`, `$release` and
    `$backend_service`.
    """
    for path, _, gate in _gates(context):
        found = _DOLLAR_NAME.findall(NAME_IN_QUERY.sub("", gate.query or ""))
        if found:
            allowed = (
                "must name the new release by $template, $release or $backend_service, as in"
                ' queue_length{template="$template"}'
            )
            yield SpecProblem(f"{path}.query", allowed, found[0])


def gate_of_a_release(context: RuleContext) -> Iterator[SpecProblem]:
    """With strategy `rolling`, both releases share a backend service: a gate that compares them
    selects series of instances, by `$templates` or `$releases`. With `traffic.exposure` `none`
    there is no backend service.
    """
    spec = context.spec
    if not context.knows("rollout.strategy", "traffic.exposure"):
        return
    for path, _, gate, kind in _gates_of_a_kind(context):
        selectors = [each for text in gate.selectors if (each := parse_selector(text))]
        is_by_service = all(each.placeholder == BY_SERVICE for each in selectors)
        if kind not in COMPARED or not is_by_service:
            continue
        way_out = "select the instances' own metrics by $templates or $releases"
        if not spec.traffic.is_exposed:
            allowed = (
                f'must not count at the load balancer, with traffic.exposure "none": {way_out}'
            )
            yield SpecProblem(path, allowed)
        elif not spec.rollout.has_second_group:
            allowed = (
                "must not count at the load balancer, where both releases are one backend service"
                f" with strategy rolling: {way_out}, or set rollout.strategy to canary"
            )
            yield SpecProblem(path, allowed)


def bound_of_latency(context: RuleContext) -> Iterator[SpecProblem]:
    """`slower_than_seconds` is the edge of a bucket of the histogram."""
    for path, _, gate, _ in _gates_of_a_kind(context):
        selector = parse_selector(gate.histogram) if gate.histogram else None
        edges = EDGES.get(selector.metric) if selector else None
        bound = gate.slower_than_seconds
        if selector and edges and bound is not None and edge_at(edges, bound) is None:
            allowed = f"must be an edge: {selector.metric} {no_edge(bound, edges)}"
            yield SpecProblem(f"{path}.slower_than_seconds", allowed, f"{bound:g}")


def fresh_baseline(context: RuleContext) -> Iterator[SpecProblem]:
    """`rollout.analysis.baseline` is `stable`: a fresh baseline would be a third group."""
    path = "rollout.analysis.baseline"
    if context.knows(path) and context.spec.rollout.analysis.baseline == "fresh":
        allowed = (
            "must be stable: a fresh baseline needs a third group with instances of the stable"
            " release, as many and as old as the new release's, and a third backend service with"
            " the same weight, and a model has two; warm_up_seconds keeps cold caches out"
        )
        yield SpecProblem(path, allowed, "fresh")


GATE_RULES: tuple[Rule, ...] = (
    kind_of_gate,
    whole_gate,
    gate_selectors,
    names_in_query,
    gate_of_a_release,
    bound_of_latency,
    fresh_baseline,
)
