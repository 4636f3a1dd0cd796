"""The rules that hold between fields of a spec. Each is one function; its first line is published
in `docs/spec.md`.

Called by `rollout/spec/message.py`, twice: on what a message says by itself, where a field that it
leaves out is not known yet, and on the whole spec it resolves to. A rule answers only when it knows
every field it looks at, so that nothing is reported that a default or an inherited value would put
right."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rollout.spec.machines import accelerator_problem
from rollout.spec.model import Sections, Traffic
from rollout.spec.problems import SpecProblem, redact
from rollout.spec.validation import Path

MOST_TEXT_BYTES = 65536  # of all arguments, and of all variables: metadata holds 262144 bytes a value and 524288 in all


@dataclass(frozen=True)
class RuleContext:
    """What the rules judge. `given` is what the message says; unless `whole`, only that is known.
    `broken` was taken out."""

    spec: Sections
    given: Mapping[str, Any]
    whole: bool
    broken: frozenset[Path] = frozenset()

    def knows(self, *paths: str) -> bool:
        return all((self.whole or self._says(path)) and not self._is_broken(path) for path in paths)

    def gives(self, path: str) -> bool:
        """Whether the message itself asks for a value of this field."""
        node: Any = self.given
        for step in path.split("."):
            node = node.get(step) if isinstance(node, dict) else None
        return node is not None

    def _says(self, path: str) -> bool:
        """A null says something too: the default, for everything in it."""
        node: Any = self.given
        for step in path.split("."):
            if not isinstance(node, dict):
                return node is None
            if step not in node:
                return False
            node = node[step]
        return True

    def _is_broken(self, path: str) -> bool:
        steps = tuple(path.split("."))
        return any(place[: len(steps)] == steps[: len(place)] for place in self.broken)


Rule = Callable[[RuleContext], Iterator[SpecProblem]]


def check_rules(case: RuleContext) -> tuple[SpecProblem, ...]:
    return tuple(problem for rule in RULES for problem in rule(case))


def one_artifact(case: RuleContext) -> Iterator[SpecProblem]:
    """`artifact` has exactly one of `image` and `startup_script`."""
    artifact = case.spec.artifact
    if artifact.image and artifact.startup_script:
        yield SpecProblem(
            "artifact",
            "needs exactly one of image and startup_script; give null for the one to drop",
            "both",
        )
    elif case.knows("artifact.image", "artifact.startup_script") and not (
        artifact.image or artifact.startup_script
    ):
        yield SpecProblem(
            "artifact", "is required, with exactly one of image and startup_script", "neither"
        )


def container_fields(case: RuleContext) -> Iterator[SpecProblem]:
    """`artifact.args` and `artifact.secrets` go with an image only: a script has no arguments and
    fetches its own secrets."""
    artifact = case.spec.artifact
    for field, value in (("args", artifact.args), ("secrets", artifact.secrets)):
        if (
            value
            and artifact.startup_script
            and case.knows("artifact.startup_script", "artifact.image")
            and not artifact.image
        ):
            yield SpecProblem(
                f"artifact.{field}",
                "must be left out, or null, beside startup_script; it goes with image only",
            )


def variables(case: RuleContext) -> Iterator[SpecProblem]:
    """A variable is in `artifact.env` or in `artifact.secrets`, not in both; all of `env`, and all
    of `args`, fit in 64 KiB."""
    artifact = case.spec.artifact
    for name in artifact.env:
        if name in artifact.secrets and case.knows("artifact.env", "artifact.secrets"):
            yield SpecProblem(
                f"artifact.env.{name}",
                f"must be left out, as artifact.secrets.{name} sets the same variable",
            )
    sizes = {
        "env": sum(
            len(name.encode()) + len(value.encode()) + 2 for name, value in artifact.env.items()
        ),
        "args": sum(len(argument.encode()) + 2 for argument in artifact.args),
    }
    for field, size in sizes.items():
        if size > MOST_TEXT_BYTES:
            yield SpecProblem(
                f"artifact.{field}", f"must be at most {MOST_TEXT_BYTES} bytes in all", f"{size}"
            )


def bounds(case: RuleContext) -> Iterator[SpecProblem]:
    """`scaling.min` is at most `scaling.max`."""
    scaling = case.spec.scaling
    if case.knows("scaling.min", "scaling.max") and scaling.min > scaling.max:
        yield SpecProblem(
            "scaling.min", f"must be at most scaling.max ({scaling.max})", f"{scaling.min}"
        )


def schedule_bounds(case: RuleContext) -> Iterator[SpecProblem]:
    """A schedule's `min` is from `scaling.min` to `scaling.max`."""
    scaling = case.spec.scaling
    for name, schedule in scaling.schedules.items():
        path = f"scaling.schedules.{name}.min"
        if case.knows(path, "scaling.min") and schedule.min < scaling.min:
            yield SpecProblem(
                path, f"must be at least scaling.min ({scaling.min})", f"{schedule.min}"
            )
        if case.knows(path, "scaling.max") and schedule.min > scaling.max:
            yield SpecProblem(
                path, f"must be at most scaling.max ({scaling.max})", f"{schedule.min}"
            )


def metrics_once(case: RuleContext) -> Iterator[SpecProblem]:
    """Each metric is named once in `scaling.metrics`, with exactly one of `target` and
    `per_instance`."""
    names = [metric.name for metric in case.spec.scaling.metrics]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield SpecProblem(
                f"scaling.metrics[{index}].name",
                "must be named only once in scaling.metrics",
                redact("", name),
            )


def scale_in_limit(case: RuleContext) -> Iterator[SpecProblem]:
    """`scaling.scale_in` has exactly one of `max_instances` and `max_percent`."""
    limits = case.spec.scaling.scale_in
    if limits is None:
        return
    fields = (limits.max_instances, limits.max_percent)
    if None not in fields:
        yield SpecProblem(
            "scaling.scale_in",
            "needs exactly one of max_instances and max_percent; give null for the other",
            "both",
        )
    elif fields == (None, None) and case.knows(
        "scaling.scale_in.max_instances", "scaling.scale_in.max_percent"
    ):
        yield SpecProblem(
            "scaling.scale_in", "needs exactly one of max_instances and max_percent", "neither"
        )


def from_zero(case: RuleContext) -> Iterator[SpecProblem]:
    """`scaling.min` is 0 only with something that brings instances back: a metric with
    `per_instance`, or an enabled schedule."""
    scaling = case.spec.scaling
    if (
        not case.whole
        or scaling.min
        or not case.knows("scaling.min", "scaling.metrics", "scaling.schedules")
    ):
        return
    wakes = any(metric.per_instance is not None for metric in scaling.metrics)
    if not wakes and all(
        schedule.disabled or not schedule.min for schedule in scaling.schedules.values()
    ):
        yield SpecProblem(
            "scaling.min",
            "must be at least 1 unless scaling.metrics has a metric with per_instance, or"
            " scaling.schedules an enabled schedule",
            "0",
        )


def balancer_signal(case: RuleContext) -> Iterator[SpecProblem]:
    """`scaling.load_balancing` goes with `traffic.exposure` `external` only."""
    is_asked = (
        case.knows("scaling.load_balancing", "traffic.exposure")
        and case.spec.scaling.load_balancing
    )
    if is_asked and case.spec.traffic.exposure == "none":
        yield SpecProblem(
            "scaling.load_balancing",
            'must be left out, or null, with traffic.exposure "none": there is no backend',
        )


def balancing(case: RuleContext) -> Iterator[SpecProblem]:
    """Balancing mode `rate` needs `traffic.max_rate_per_instance` and no `max_utilization`;
    `utilization` the other way round."""
    traffic = case.spec.traffic
    if not case.knows("traffic.balancing_mode") or (
        case.knows("traffic.exposure") and traffic.exposure == "none"
    ):
        return
    if traffic.balancing_mode == "utilization":
        if traffic.max_rate_per_instance is not None:
            yield SpecProblem(
                "traffic.max_rate_per_instance",
                'must be left out, or null, unless traffic.balancing_mode is "rate"',
            )
        return
    if traffic.max_rate_per_instance is None and case.knows("traffic.max_rate_per_instance"):
        yield SpecProblem(
            "traffic.max_rate_per_instance", 'is required with traffic.balancing_mode "rate"'
        )
    if traffic.max_utilization is not None:
        yield SpecProblem(
            "traffic.max_utilization",
            'must be left out, or null, with traffic.balancing_mode "rate"',
        )


def unexposed(case: RuleContext) -> Iterator[SpecProblem]:
    """With `traffic.exposure` `none`, nothing else of `traffic` is asked for."""
    if not case.knows("traffic.exposure") or case.spec.traffic.exposure == "external":
        return
    for field in Traffic.model_fields:
        if field != "exposure" and case.gives(f"traffic.{field}"):
            yield SpecProblem(
                f"traffic.{field}",
                'must be left out with traffic.exposure "none": there is no backend and no route',
            )


def accelerators(case: RuleContext) -> Iterator[SpecProblem]:
    """GPUs go with the machine type: fixed for accelerator-optimised types (best left out), a
    choice on N1, none elsewhere."""
    machine = case.spec.machine
    if not case.knows("machine.type", "machine.accelerator"):
        return
    problem = accelerator_problem(machine)
    if problem is None or (problem[0] and not case.knows("machine.accelerator" + problem[0])):
        return
    part, allowed = problem
    given = machine.accelerator
    value = getattr(given, part[1:]) if part else given and f"{given.type} x {given.count}"
    yield SpecProblem(
        "machine.accelerator" + part, allowed, None if value is None else redact("", value)
    )


def zones_of_region(case: RuleContext) -> Iterator[SpecProblem]:
    """Each of `placement.zones` is in `placement.region`."""
    placement = case.spec.placement
    if not case.knows("placement.region", "placement.zones"):
        return
    for index, zone in enumerate(placement.zones):
        if not zone.startswith(f"{placement.region}-"):
            path = f"placement.zones[{index}]"
            yield SpecProblem(
                path, f"must be a zone of placement.region ({placement.region})", redact("", zone)
            )


def subnetwork_of_region(case: RuleContext) -> Iterator[SpecProblem]:
    """`machine.subnetwork` is in `placement.region`."""
    subnetwork, region = case.spec.machine.subnetwork, case.spec.placement.region
    if (
        subnetwork
        and case.knows("machine.subnetwork", "placement.region")
        and f"regions/{region}/" not in subnetwork
    ):
        yield SpecProblem(
            "machine.subnetwork", f"must be in placement.region ({region})", redact("", subnetwork)
        )


def budget(case: RuleContext) -> Iterator[SpecProblem]:
    """`rollout.surge` and `rollout.unavailable` are 0 or at least the number of zones (3 if none
    are named), and not both 0."""
    rollout, zones = case.spec.rollout, case.spec.placement.zone_count
    for field, value in (("surge", rollout.surge), ("unavailable", rollout.unavailable)):
        path = f"rollout.{field}"
        if value and value < zones and case.knows(path, "placement.zones"):
            yield SpecProblem(
                path, f"must be 0 or at least {zones}, the number of zones", f"{value}"
            )
    if (
        rollout.surge == 0
        and rollout.unavailable == 0
        and case.knows("rollout.surge", "rollout.unavailable")
    ):
        yield SpecProblem(
            "rollout.surge",
            f"must be at least {zones} when rollout.unavailable is 0: one of them must leave room",
            "0",
        )


def rising_steps(case: RuleContext) -> Iterator[SpecProblem]:
    """The percentages of `rollout.steps` rise strictly and end at 100."""
    percents = [step.percent for step in case.spec.rollout.steps]
    if case.knows("rollout.steps") and (
        percents[-1] != 100 or any(low >= high for low, high in pairwise(percents))
    ):
        given = ", ".join(map(str, percents))
        yield SpecProblem("rollout.steps", "must rise strictly and end at 100", f"[{given}]")


def trusted_module(case: RuleContext) -> Iterator[SpecProblem]:
    """`machine.shielded_vm.integrity_monitoring` needs `vtpm`."""
    shielded, path = case.spec.machine.shielded_vm, "machine.shielded_vm.integrity_monitoring"
    if (
        case.knows(path, "machine.shielded_vm.vtpm")
        and shielded.integrity_monitoring
        and not shielded.vtpm
    ):
        yield SpecProblem(path, "must be false when machine.shielded_vm.vtpm is false")


def own_labels(case: RuleContext) -> Iterator[SpecProblem]:
    """`machine.labels` does not name labels that begin with `slipway`, which are Slipway's own."""
    for name in case.spec.machine.labels:
        if name.startswith("slipway"):
            yield SpecProblem(
                f"machine.labels.{name}",
                "must not begin with slipway; Slipway sets such labels itself",
            )


RULES: tuple[Rule, ...] = (
    one_artifact,
    container_fields,
    variables,
    accelerators,
    subnetwork_of_region,
    trusted_module,
    own_labels,
    zones_of_region,
    bounds,
    schedule_bounds,
    metrics_once,
    scale_in_limit,
    from_zero,
    balancer_signal,
    balancing,
    unexposed,
    rising_steps,
    budget,
)
