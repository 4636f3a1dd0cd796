"""Rules between the fields of a spec. Each is one function; its docstring is published in
`docs/spec.md`.

Called twice by `rollout/spec/message.py`: for a message alone, where fields that it leaves out are
not known yet, and for the whole resolved spec. A rule applies only if it knows every field that it
reads, so that it reports nothing that a default or an inherited value would fix.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from rollout.spec.gate_rules import GATE_RULES
from rollout.spec.machines import accelerator_problem, disk_problem
from rollout.spec.model import Traffic
from rollout.spec.problems import SpecProblem, redact
from rollout.spec.rule_context import Rule, RuleContext
from rollout.spec.steps import (
    ApproveStep,
    MatchStep,
    MirrorStep,
    PercentStep,
    PreviewStep,
    Step,
    WeightStep,
    approvers_of,
)
from rollout.spec.way_back import least_seconds
from rollout.visible import escape, is_visible

# For all arguments, and for all variables. Metadata holds 262144 bytes per value, 524288 in all.
MAX_TEXT_BYTES = 65536


def check_rules(context: RuleContext) -> tuple[SpecProblem, ...]:
    return tuple(problem for rule in RULES for problem in rule(context))


def one_artifact(context: RuleContext) -> Iterator[SpecProblem]:
    """`artifact` has exactly one of `image` and `startup_script`."""
    artifact = context.spec.artifact
    if artifact.image and artifact.startup_script:
        yield SpecProblem(
            "artifact",
            "needs exactly one of image and startup_script; set the other to null",
            "both",
        )
    elif context.knows("artifact.image", "artifact.startup_script") and not (
        artifact.image or artifact.startup_script
    ):
        yield SpecProblem(
            "artifact", "is required, with exactly one of image and startup_script", "neither"
        )


def container_fields(context: RuleContext) -> Iterator[SpecProblem]:
    """`artifact.args`, `secrets`, `shm_size_mb` and `ulimits` require an image: a script has no
    arguments, fetches its own secrets and sets its own limits.
    """
    artifact = context.spec.artifact
    for field, value in (
        ("args", artifact.args),
        ("secrets", artifact.secrets),
        ("shm_size_mb", artifact.shm_size_mb),
        ("ulimits", context.gives("artifact.ulimits")),
    ):
        if (
            value
            and artifact.startup_script
            and context.knows("artifact.startup_script", "artifact.image")
            and not artifact.image
        ):
            yield SpecProblem(
                f"artifact.{field}",
                "must be left out, or null, beside startup_script; it requires image",
            )


def variables(context: RuleContext) -> Iterator[SpecProblem]:
    """A variable is in `artifact.env` or in `artifact.secrets`, not in both; `env` and `args` are
    at most 64 KiB each.
    """
    artifact = context.spec.artifact
    for name in artifact.env:
        if name in artifact.secrets and context.knows("artifact.env", "artifact.secrets"):
            yield SpecProblem(
                f"artifact.env.{name}",
                f"must be left out: artifact.secrets.{name} sets the same variable",
            )
    sizes = {
        "env": sum(
            len(name.encode()) + len(value.encode()) + 2 for name, value in artifact.env.items()
        ),
        "args": sum(len(argument.encode()) + 2 for argument in artifact.args),
    }
    for field, size in sizes.items():
        if size > MAX_TEXT_BYTES:
            yield SpecProblem(
                f"artifact.{field}", f"must be at most {MAX_TEXT_BYTES} bytes in total", f"{size}"
            )


def bounds(context: RuleContext) -> Iterator[SpecProblem]:
    """`scaling.min` is at most `scaling.max`."""
    scaling = context.spec.scaling
    if context.knows("scaling.min", "scaling.max") and scaling.min > scaling.max:
        yield SpecProblem(
            "scaling.min", f"must be at most scaling.max ({scaling.max})", f"{scaling.min}"
        )


def schedule_bounds(context: RuleContext) -> Iterator[SpecProblem]:
    """A schedule's `min` is from `scaling.min` to `scaling.max`."""
    scaling = context.spec.scaling
    for name, schedule in scaling.schedules.items():
        path = f"scaling.schedules.{name}.min"
        if context.knows(path, "scaling.min") and schedule.min < scaling.min:
            yield SpecProblem(
                path, f"must be at least scaling.min ({scaling.min})", f"{schedule.min}"
            )
        if context.knows(path, "scaling.max") and schedule.min > scaling.max:
            yield SpecProblem(
                path, f"must be at most scaling.max ({scaling.max})", f"{schedule.min}"
            )


def metrics_once(context: RuleContext) -> Iterator[SpecProblem]:
    """Each metric is named once in `scaling.metrics`, with exactly one of `target` and
    `per_instance`.
    """
    names = [metric.name for metric in context.spec.scaling.metrics]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield SpecProblem(
                f"scaling.metrics[{index}].name",
                "must not be repeated in scaling.metrics",
                redact("", name),
            )


def scale_in_limit(context: RuleContext) -> Iterator[SpecProblem]:
    """`scaling.scale_in` has exactly one of `max_instances` and `max_percent`."""
    limits = context.spec.scaling.scale_in
    if limits is None:
        return
    fields = (limits.max_instances, limits.max_percent)
    if None not in fields:
        yield SpecProblem(
            "scaling.scale_in",
            "needs exactly one of max_instances and max_percent; set the other to null",
            "both",
        )
    elif fields == (None, None) and context.knows(
        "scaling.scale_in.max_instances", "scaling.scale_in.max_percent"
    ):
        yield SpecProblem(
            "scaling.scale_in", "needs exactly one of max_instances and max_percent", "neither"
        )


def from_zero(context: RuleContext) -> Iterator[SpecProblem]:
    """`scaling.min` is 0 only with a signal that scales up from zero: a metric with `per_instance`,
    or an enabled schedule.
    """
    scaling = context.spec.scaling
    if (
        not context.whole
        or scaling.min
        or not context.knows("scaling.min", "scaling.metrics", "scaling.schedules")
    ):
        return
    scales_up = any(metric.per_instance is not None for metric in scaling.metrics)
    if not scales_up and all(
        schedule.disabled or not schedule.min for schedule in scaling.schedules.values()
    ):
        yield SpecProblem(
            "scaling.min",
            "must be at least 1 unless scaling.metrics has a metric with per_instance, or"
            " scaling.schedules an enabled schedule",
            "0",
        )


def balancer_signal(context: RuleContext) -> Iterator[SpecProblem]:
    """`scaling.load_balancing` requires `traffic.exposure` `external`."""
    is_used = (
        context.knows("scaling.load_balancing", "traffic.exposure")
        and context.spec.scaling.load_balancing
    )
    if is_used and context.spec.traffic.exposure == "none":
        yield SpecProblem(
            "scaling.load_balancing",
            'must be left out, or null, with traffic.exposure "none": there is no backend',
        )


def balancing(context: RuleContext) -> Iterator[SpecProblem]:
    """Balancing mode `rate` needs `traffic.max_rate_per_instance` and excludes `max_utilization`;
    mode `utilization` excludes `max_rate_per_instance`.
    """
    traffic = context.spec.traffic
    if not context.knows("traffic.balancing_mode") or (
        context.knows("traffic.exposure") and traffic.exposure == "none"
    ):
        return
    if traffic.balancing_mode == "utilization":
        if traffic.max_rate_per_instance is not None:
            yield SpecProblem(
                "traffic.max_rate_per_instance",
                'must be left out, or null, unless traffic.balancing_mode is "rate"',
            )
        return
    if traffic.max_rate_per_instance is None and context.knows("traffic.max_rate_per_instance"):
        yield SpecProblem(
            "traffic.max_rate_per_instance", 'is required with traffic.balancing_mode "rate"'
        )
    if traffic.max_utilization is not None:
        yield SpecProblem(
            "traffic.max_utilization",
            'must be left out, or null, with traffic.balancing_mode "rate"',
        )


def unexposed(context: RuleContext) -> Iterator[SpecProblem]:
    """With `traffic.exposure` `none`, no other field of `traffic` is set."""
    if not context.knows("traffic.exposure") or context.spec.traffic.exposure == "external":
        return
    for field in Traffic.model_fields:
        if field != "exposure" and context.gives(f"traffic.{field}"):
            yield SpecProblem(
                f"traffic.{field}",
                'must be left out with traffic.exposure "none": there is no backend and no route',
            )


def accelerators(context: RuleContext) -> Iterator[SpecProblem]:
    """GPUs match the machine type: fixed for accelerator-optimised types (best left out), a choice
    on N1, none on others.
    """
    machine = context.spec.machine
    if not context.knows("machine.type", "machine.accelerator"):
        return
    problem = accelerator_problem(machine)
    if problem is None or (problem[0] and not context.knows("machine.accelerator" + problem[0])):
        return
    part, allowed = problem
    given = machine.accelerator
    value = getattr(given, part[1:]) if part else given and f"{given.type} x {given.count}"
    yield SpecProblem(
        "machine.accelerator" + part, allowed, None if value is None else redact("", value)
    )


def reservation(context: RuleContext) -> Iterator[SpecProblem]:
    """Spot instances use no reserved capacity."""
    machine = context.spec.machine
    is_known = context.knows("machine.spot", "machine.reservation")
    if is_known and machine.spot and machine.reservation not in ("any", "none"):
        yield SpecProblem(
            "machine.reservation",
            'must be "any" or "none" with machine.spot: Spot instances use no reserved capacity',
            machine.reservation,
        )


def boot_disk(context: RuleContext) -> Iterator[SpecProblem]:
    """`machine.disk.type` is one that the machine series supports (best left out)."""
    machine = context.spec.machine
    problem = disk_problem(machine)
    if problem and context.knows("machine.type", "machine.disk.type"):
        yield SpecProblem("machine.disk.type", problem, machine.disk.type)


def zones_of_region(context: RuleContext) -> Iterator[SpecProblem]:
    """Each of `placement.zones` is in `placement.region`."""
    placement = context.spec.placement
    if not context.knows("placement.region", "placement.zones"):
        return
    for index, zone in enumerate(placement.zones):
        if not zone.startswith(f"{placement.region}-"):
            path = f"placement.zones[{index}]"
            yield SpecProblem(
                path, f"must be a zone of placement.region ({placement.region})", redact("", zone)
            )


def subnetwork_of_region(context: RuleContext) -> Iterator[SpecProblem]:
    """`machine.subnetwork` is in `placement.region`."""
    subnetwork, region = context.spec.machine.subnetwork, context.spec.placement.region
    if (
        subnetwork
        and context.knows("machine.subnetwork", "placement.region")
        and f"regions/{region}/" not in subnetwork
    ):
        yield SpecProblem(
            "machine.subnetwork", f"must be in placement.region ({region})", redact("", subnetwork)
        )


def budget(context: RuleContext) -> Iterator[SpecProblem]:
    """`rollout.surge` and `rollout.unavailable` are 0 or at least the number of zones (3 if none
    are named), and not both 0.
    """
    rollout, zones = context.spec.rollout, context.spec.placement.zone_count
    for field, value in (("surge", rollout.surge), ("unavailable", rollout.unavailable)):
        path = f"rollout.{field}"
        if value and value < zones and context.knows(path, "placement.zones"):
            yield SpecProblem(
                path, f"must be 0 or at least {zones}, the number of zones", f"{value}"
            )
    if (
        rollout.surge == 0
        and rollout.unavailable == 0
        and context.knows("rollout.surge", "rollout.unavailable")
    ):
        yield SpecProblem(
            "rollout.surge",
            (
                f"must be at least {zones} when rollout.unavailable is 0: with neither, no instance"
                " can be replaced"
            ),
            "0",
        )


def deadline(context: RuleContext) -> Iterator[SpecProblem]:
    """`rollout.progress_deadline_seconds` is more than `serving.startup_seconds`: no instance would
    be ready in time.
    """
    startup = context.spec.serving.startup_seconds
    limit = context.spec.rollout.progress_deadline_seconds
    is_known = context.knows("serving.startup_seconds", "rollout.progress_deadline_seconds")
    if is_known and startup and limit and limit <= startup:
        yield SpecProblem(
            "rollout.progress_deadline_seconds",
            f"must be more than serving.startup_seconds ({startup}), or left out",
            f"{limit}",
        )


def step_kinds(context: RuleContext) -> Iterator[SpecProblem]:
    """With strategy `rolling`, which has no second group to send requests to, every step of
    `rollout.steps` has a `percent`, or asks for approval after one that has.
    """
    rollout = context.spec.rollout
    if not context.knows("rollout.steps", "rollout.strategy") or rollout.has_second_group:
        return
    for number, step in enumerate(rollout.steps or ()):
        if isinstance(step, ApproveStep):
            if number == 0:
                yield SpecProblem(
                    "rollout.steps[0]",
                    "must have a percent with strategy rolling: an approval comes after one",
                    step.goal,
                )
        elif not isinstance(step, PercentStep):
            yield SpecProblem(
                f"rollout.steps[{number}]",
                'must have a percent with strategy rolling, as in {"percent": 5}; for other kinds'
                " of step set rollout.strategy to canary or blue_green, or set rollout.steps to"
                " null for the default",
                step.goal,
            )


def rising_steps(context: RuleContext) -> Iterator[SpecProblem]:
    """The percentages of `rollout.steps` rise strictly, and so do the weights. The last step is
    100 percent with strategy `rolling`, and weight 100 with `canary` and `blue_green`.
    """
    rollout = context.spec.rollout
    steps = rollout.steps if context.knows("rollout.steps") else ()
    if not steps:
        return
    percents = [step.percent for step in steps if isinstance(step, PercentStep)]
    weights = [step.weight for step in steps if isinstance(step, WeightStep)]
    is_rising = all(low < high for each in (percents, weights) for low, high in pairwise(each))
    goals = ", ".join(step.goal for step in steps)
    has_strategy = context.knows("rollout.strategy")
    if not weights and not (has_strategy and rollout.has_second_group):
        if isinstance(steps[-1], ApproveStep) and is_rising:
            yield SpecProblem("rollout.steps", "must end with 100 percent", goals)
        elif not is_rising or percents[-1:] != [100]:
            given = ", ".join(f"{percent}" for percent in percents)
            yield SpecProblem("rollout.steps", "must rise strictly and end at 100", f"[{given}]")
    elif not is_rising:
        yield SpecProblem("rollout.steps", "must rise strictly in percent and in weight", goals)
    elif has_strategy and rollout.has_second_group and not _gives_everything(steps[-1]):
        allowed = (
            'must end with {"weight": 100}, which gives the new release all requests; a percent'
            " gives it none"
        )
        yield SpecProblem("rollout.steps", allowed, goals)


def _gives_everything(step: Step) -> bool:
    return isinstance(step, WeightStep) and step.weight == 100


def approvals(context: RuleContext) -> Iterator[SpecProblem]:
    """No step of `rollout.steps` has `approve` with `rolling` and `placement.target_shape`
    `balanced`, which replaces all instances in one step.
    """
    rollout = context.spec.rollout
    if not context.knows("rollout.steps", "rollout.strategy", "placement.target_shape"):
        return
    is_balanced = context.spec.placement.target_shape == "balanced"
    if is_balanced and not rollout.has_second_group and approvers_of(rollout.steps or ()):
        yield SpecProblem(
            "rollout.steps",
            "must not ask for approval with placement.target_shape balanced: it is a single step;"
            " set rollout.strategy to canary or blue_green",
        )


def counted_requests(context: RuleContext) -> Iterator[SpecProblem]:
    """`min_requests` is given only in steps that send requests to the new release: those with a
    `weight`, `preview` or `match`.
    """
    steps = context.spec.rollout.steps if context.knows("rollout.steps") else ()
    for number, step in enumerate(steps or ()):
        if step.min_requests and not isinstance(step, WeightStep | PreviewStep | MatchStep):
            yield SpecProblem(
                f"rollout.steps[{number}].min_requests",
                "must be left out of a step that sends no requests of its own to the new release",
                f"{step.min_requests}",
            )


def mirrored_requests(context: RuleContext) -> Iterator[SpecProblem]:
    """A `mirror` step in `rollout.steps` needs `traffic.mirror_safe`: each copy of a request takes
    effect once more, and Slipway cannot know whether that does harm.
    """
    if not context.knows("rollout.steps", "traffic.mirror_safe"):
        return
    for number, step in enumerate(context.spec.rollout.steps or ()):
        if isinstance(step, MirrorStep) and not context.spec.traffic.mirror_safe:
            yield SpecProblem(
                f"rollout.steps[{number}].mirror",
                "must be left out unless traffic.mirror_safe is true: a copy of a request takes"
                " effect once more; set it if requests change nothing",
                f"{step.mirror:g}",
            )


def preview_host(context: RuleContext) -> Iterator[SpecProblem]:
    """`traffic.preview_host` is another host than `traffic.host`."""
    traffic, path = context.spec.traffic, "traffic.preview_host"
    is_same = traffic.preview_host is not None and traffic.preview_host == traffic.host
    if context.knows(path, "traffic.host") and is_same:
        yield SpecProblem(path, "must differ from traffic.host, which users use", traffic.host)


def second_group_is_exposed(context: RuleContext) -> Iterator[SpecProblem]:
    """Strategies `canary` and `blue_green` need `traffic.exposure` to be `external`: without a
    route there are no requests to send to a second group.
    """
    spec = context.spec
    is_known = context.knows("rollout.strategy", "traffic.exposure")
    if is_known and spec.rollout.has_second_group and not spec.traffic.is_exposed:
        yield SpecProblem(
            "rollout.strategy",
            'must be "rolling" when traffic.exposure is "none": there are no requests to split',
            f'"{spec.rollout.strategy}"',
        )


def room_for_both(context: RuleContext) -> Iterator[SpecProblem]:
    """`rollout.capacity` is `replace_in_place` with strategy `rolling` alone: a second group needs
    instances beside the first one's.
    """
    rollout, path = context.spec.rollout, "rollout.capacity"
    is_known = context.knows(path, "rollout.strategy")
    if is_known and rollout.has_second_group and rollout.capacity == "replace_in_place":
        yield SpecProblem(
            path,
            f"must be surge or wait with strategy {rollout.strategy}: its second group needs"
            " instances beside the first one's",
            '"replace_in_place"',
        )


def kept_while_watched(context: RuleContext) -> Iterator[SpecProblem]:
    """`rollout.keep_old_seconds` is at least `watch_seconds`, and left out with `rolling`, which
    has no second group.
    """
    rollout, path = context.spec.rollout, "rollout.keep_old_seconds"
    keep = rollout.keep_old_seconds
    if keep is None or not context.knows(path, "rollout.watch_seconds", "rollout.strategy"):
        return
    if not rollout.has_second_group:
        allowed = "must be left out, or null, unless strategy is canary or blue_green"
        yield SpecProblem(path, allowed, f"{keep}")
    elif keep < rollout.watch_seconds:
        yield SpecProblem(
            path,
            f"must be at least rollout.watch_seconds ({rollout.watch_seconds}): what is watched may"
            " have to give its requests back",
            f"{keep}",
        )


def quick_way_back(context: RuleContext) -> Iterator[SpecProblem]:
    """`rollout.max_seconds_to_roll_back` is at least the shortest way back of such a release."""
    spec, path = context.spec, "rollout.max_seconds_to_roll_back"
    limit, fields = spec.rollout.max_seconds_to_roll_back, ["rollout.strategy", "rollout.surge"]
    fields += ["rollout.unavailable", "serving.startup_seconds", "traffic.draining_seconds"]
    fields += ["scaling.min", "placement.zones", "rollout.progress_deadline_seconds"]
    if limit is None or not context.knows(path, *fields) or limit >= least_seconds(spec):
        return
    why = "a write of the URL map has to reach every front end"
    if not spec.rollout.has_second_group:
        why = (
            f"scaling.min ({spec.scaling.min}) instances are replaced again; a larger"
            " rollout.surge, a shorter serving.startup_seconds or traffic.draining_seconds, or"
            " strategy canary makes that faster"
        )
    yield SpecProblem(path, f"must be at least {least_seconds(spec)}: {why}", f"{limit}")


def trusted_module(context: RuleContext) -> Iterator[SpecProblem]:
    """`machine.shielded_vm.integrity_monitoring` needs `vtpm`."""
    shielded, path = context.spec.machine.shielded_vm, "machine.shielded_vm.integrity_monitoring"
    if (
        context.knows(path, "machine.shielded_vm.vtpm")
        and shielded.integrity_monitoring
        and not shielded.vtpm
    ):
        yield SpecProblem(path, "must be false when machine.shielded_vm.vtpm is false")


def own_labels(context: RuleContext) -> Iterator[SpecProblem]:
    """`machine.labels` has no label that begins with `slipway`: these are reserved."""
    for name in context.spec.machine.labels:
        if name.startswith("slipway"):
            yield SpecProblem(
                f"machine.labels.{name}",
                "must not begin with slipway: these labels are reserved",
            )


def visible_text(context: RuleContext) -> Iterator[SpecProblem]:
    """`rollout.abort_on_alerts` and the descriptions of `scaling.schedules` have no character that
    is hidden, or that moves, reorders or covers others.
    """
    spec = context.spec
    texts = [
        *(
            (f"rollout.abort_on_alerts[{n}]", name)
            for n, name in enumerate(spec.rollout.abort_on_alerts)
        ),
        *(
            (f"scaling.schedules.{name}.description", each.description)
            for name, each in spec.scaling.schedules.items()
        ),
    ]
    for path, text in texts:
        if not is_visible(text):
            yield SpecProblem(path, "must have visible characters only", escape(text))


RULES: tuple[Rule, ...] = (
    one_artifact,
    container_fields,
    variables,
    accelerators,
    boot_disk,
    reservation,
    subnetwork_of_region,
    trusted_module,
    own_labels,
    visible_text,
    zones_of_region,
    bounds,
    schedule_bounds,
    metrics_once,
    scale_in_limit,
    from_zero,
    balancer_signal,
    balancing,
    unexposed,
    approvals,
    rising_steps,
    step_kinds,
    counted_requests,
    mirrored_requests,
    preview_host,
    second_group_is_exposed,
    kept_while_watched,
    room_for_both,
    quick_way_back,
    budget,
    deadline,
    *GATE_RULES,
)
