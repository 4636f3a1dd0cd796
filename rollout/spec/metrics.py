"""What a release says of the requests that an instance takes, and what it needs to know of them.
Pure.

`rollout/sizing.py` sizes a candidate by it. `handlers/release.py`, which knows whether a source
of metrics is configured, checks it when a release is accepted; an inherited field counts like one
that the message gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from rollout.deferred import dataclass
from rollout.spec.gates import BALANCER_PRESETS, Gate, kind_of, resolved
from rollout.spec.model import Machine, Spec
from rollout.spec.problems import SpecProblem

CONFIGURE = "set PROMETHEUS_URL or SLIPWAY_METRICS for the intake and the reconciler"
RATE = "serving.requests_per_second"
RATES = ("serving.requests_per_second", "traffic.max_rate_per_instance")
"""The fields that declare what one instance takes."""


@dataclass(frozen=True)
class MetricsSource:
    """What the configured source of metrics is, and which of the load balancer's presets it has the
    metrics for.
    """

    kind: Literal["prometheus", "cloud-monitoring"] = "prometheus"
    has_errors: bool = True
    has_latencies: bool = True


PROMETHEUS = MetricsSource()


def is_same_machine(stable: Spec, candidate: Spec) -> bool:
    """Whether instances of both take as much, as far as the machine decides it."""
    before, after = stable.machine, candidate.machine
    return (before.type, before.accelerator) == (after.type, after.accelerator)


def instance_rate(spec: Spec) -> float | None:
    """The requests a second that one instance takes, if the spec says so."""
    return spec.serving.requests_per_second or spec.traffic.max_rate_per_instance


def needs_rate(stable: Spec, candidate: Spec) -> bool:
    """Whether instances of the stable release cannot be converted to the candidate's: its machine
    differs, and it alone declares what one instance takes.
    """
    is_declared = instance_rate(candidate) is not None and instance_rate(stable) is None
    return is_declared and not is_same_machine(stable, candidate)


# ---- At acceptance


def unmeasurable(spec: Spec, source: MetricsSource | None) -> tuple[SpecProblem, ...]:
    """The minimums and gates that nobody could check by this source of metrics."""
    minimums = () if source else _uncountable(spec)
    return (*minimums, *_unmeasurable_gates(spec, source))


def _unmeasurable_gates(spec: Spec, source: MetricsSource | None) -> Iterator[SpecProblem]:
    seconds = spec.rollout.analysis.window_seconds
    for name, gate in spec.rollout.gates.items():
        path, kind = f"rollout.gates.{name}", kind_of(name, gate)
        if kind == "verdict":
            continue
        if source is None:
            yield SpecProblem(path, f"must be left out: no source of metrics judges; {CONFIGURE}")
        elif not _is_of_balancer(name, gate):
            continue
        elif source.kind == "cloud-monitoring" and seconds % 60:
            allowed = f"must be a multiple of 60: {path} is judged by Cloud Monitoring's minutes"
            yield SpecProblem("rollout.analysis.window_seconds", allowed, f"{seconds}")
        elif kind == "counts" and not source.has_errors:
            allowed = "must have bad and total: SLIPWAY_ERRORS_COUNTER is not set"
            yield SpecProblem(path, allowed)
        elif kind == "latency" and not source.has_latencies:
            allowed = "must have histogram: SLIPWAY_LATENCY_HISTOGRAM is not set"
            yield SpecProblem(path, allowed)


def _is_of_balancer(name: str, gate: Gate) -> bool:
    return name in BALANCER_PRESETS and not resolved(name, gate).selectors and not gate.query


def _uncountable(spec: Spec) -> tuple[SpecProblem, ...]:
    return tuple(
        SpecProblem(
            f"rollout.steps[{number}].min_requests",
            f"must be left out: no source of metrics counts requests; {CONFIGURE}",
            f"{step.min_requests}",
        )
        for number, step in enumerate(spec.rollout.steps or ())
        if step.min_requests
    )


def unknown_capacity(
    stable: Spec, candidate: Spec, *, has_metrics: bool, is_inherited: bool
) -> tuple[SpecProblem, ...]:
    """Why a candidate in a second group could not be sized: its machine differs from the stable
    release's, and what its instances take is not declared, is declared for another machine
    (`is_inherited`), or cannot be compared to any demand.
    """
    if not candidate.rollout.has_second_group or is_same_machine(stable, candidate):
        return ()
    change = f"the machine changes from {_name(stable.machine)} to {_name(candidate.machine)}"
    rate = instance_rate(candidate)
    if rate is None:
        return (SpecProblem(RATE, f"is required, since {change}: what one instance takes"),)
    if is_inherited:
        return (SpecProblem(RATE, f"must be given anew, since {change}", f"{rate:g}"),)
    if instance_rate(stable) is None and not has_metrics:
        allowed = (
            f"must stay {_name(stable.machine)}, unless the demand is measured in requests:"
            f" {CONFIGURE}, or first publish a release of the old machine with {RATE}"
        )
        return (SpecProblem("machine.type", allowed, _name(candidate.machine)),)
    return ()


def _name(machine: Machine) -> str:
    gpus = machine.accelerator
    return f"{machine.type} with {gpus.count} {gpus.type}" if gpus else machine.type
