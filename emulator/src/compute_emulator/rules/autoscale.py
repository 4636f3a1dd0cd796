"""The size an autoscaler wants for its group: a pure function of policy, measurements and
history.

`autoscaling.py` calls it when load, policy or the group changes, and when a window or a schedule
is due.

    need per signal -> max over signals -> peak over the stabilisation window -> [min, max]
        -> scale-in control -> mode

Nothing is sampled periodically: needs and sizes are step functions, kept as (time, value) until
they leave their window. Source: Compute documentation, "Understanding autoscaler decisions" and
"Using multiple autoscaling signals".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from compute_emulator.rules.schedules import Schedule, ScheduleStatus, schedule_status
from compute_emulator.rules.sizes import Size, rounded_up

Points = tuple[tuple[float, int], ...]
CPU_TARGET = 0.6
STABILIZATION_SECONDS = 600.0


@dataclass(frozen=True)
class Metric:
    """A custom metric. Per VM, `target` is the mean to keep; per group, `target` is the work for
    one VM.
    """

    name: str
    target: float
    is_per_group: bool = False


@dataclass(frozen=True)
class Policy:
    """What the autoscaler's resource asks for, with defaults filled in."""

    min_size: int
    max_size: int
    mode: str = "ON"
    cool_down_seconds: float = 60.0
    stabilization_seconds: float = STABILIZATION_SECONDS
    cpu_target: float | None = CPU_TARGET
    balancing_target: float | None = None
    metrics: tuple[Metric, ...] = ()
    schedules: tuple[Schedule, ...] = ()
    scale_in_limit: Size | None = None
    scale_in_seconds: float = 0.0

    @property
    def has_signal_per_vm(self) -> bool:
        per_vm = any(not metric.is_per_group for metric in self.metrics)
        return self.cpu_target is not None or self.balancing_target is not None or per_vm


@dataclass(frozen=True)
class Measured:
    """The signals. `serving` counts initialised VMs; utilisations are means over them.

    A missing metric has no data points. `metrics` hold the mean per VM or the group's total, as
    the policy asks. `surplus` counts VMs above their zone's even share (see `surplus_over`).
    """

    serving: int
    cpu: float = 0.0
    balancing: float | None = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)
    surplus: int = 0


@dataclass(frozen=True)
class History:
    """Step functions, oldest step first: a value holds until the next one."""

    needs: Points = ()
    sizes: Points = ()


@dataclass(frozen=True)
class Detail:
    """One of the API's statusDetails."""

    type: str
    message: str


@dataclass(frozen=True)
class Decision:
    """`size` is the group's new size, `recommended` the size it would have in mode ON.
    `recheck_at` is when to decide again.
    """

    recommended: int
    size: int
    history: History
    details: tuple[Detail, ...] = ()
    recheck_at: float | None = None
    schedules: Mapping[str, ScheduleStatus] = field(default_factory=dict)
    why: str = ""


def decide(policy: Policy, measured: Measured, size: int, history: History, now: float) -> Decision:
    """The group's next size. `size` is its current target."""
    schedule_statuses = {
        schedule.name: schedule_status(schedule, now) for schedule in policy.schedules
    }
    need, why, details = _need(policy, measured, size, schedule_statuses)
    earlier = tuple(
        point for point in history.needs if point[0] < now
    )  # this decision replaces an earlier one at the same time
    needs = with_point(earlier, now, need)
    sizes = with_point(history.sizes, now, size)
    window = policy.stabilization_seconds
    stable, stable_until = peak(needs, window, now)
    if stable > need:
        why = f"{why}; kept at the peak of the last {window:g} s"
    recommended = min(policy.max_size, max(policy.min_size, stable))
    if stable > policy.max_size:
        details.append(
            Detail(
                "CAPPED_AT_MAX_NUM_REPLICAS", "The autoscaling group has reached its maximum size."
            )
        )
    limited, limited_until = _after_scale_in_control(policy, recommended, sizes, now)
    if limited > recommended:
        why = f"{why}; scale-in control keeps {limited}"
    chosen = {"OFF": size, "ONLY_SCALE_OUT": max(size, limited), "ONLY_UP": max(size, limited)}.get(
        policy.mode, limited
    )
    details += _limit_details(policy)
    due = [
        stable_until if stable > need else None,
        limited_until,
        *(each.changes_at for each in schedule_statuses.values()),
    ]
    return Decision(
        recommended=limited,
        size=chosen,
        history=History(
            within_window(needs, window, now),
            within_window(with_point(sizes, now, chosen), policy.scale_in_seconds, now),
        ),
        details=tuple(details),
        recheck_at=min(
            (moment for moment in due if moment is not None and moment > now), default=None
        ),
        schedules=schedule_statuses,
        why=why,
    )


def _need(
    policy: Policy, measured: Measured, size: int, schedule_statuses: Mapping[str, ScheduleStatus]
) -> tuple[int, str, list[Detail]]:
    """The largest need of all signals, and its reason. A signal without data asks for the
    current size.
    """
    details: list[Detail] = []
    needs = list(_needs(policy, measured, details))
    if details or not needs:
        needs.append((size, "no data: the size is kept"))
    if policy.has_signal_per_vm and measured.serving:
        needs.append((1, "a per-VM signal needs at least one VM"))
    for schedule in policy.schedules:
        if schedule_statuses[schedule.name].state == "ACTIVE":
            needs.append((schedule.required, f"schedule {schedule.name}"))
    need, why = max(needs, key=lambda each: each[0])
    return need, f"{why} asks for {need}", details


def _needs(policy: Policy, measured: Measured, details: list[Detail]) -> Iterator[tuple[int, str]]:
    serving = measured.serving
    if policy.cpu_target is not None and serving:
        yield (
            _for_vms(measured, measured.cpu, policy.cpu_target),
            f"CPU {measured.cpu:.2f} of {policy.cpu_target:g}",
        )
    if policy.balancing_target is not None and serving:
        if measured.balancing is None:
            details.append(
                Detail(
                    "MISSING_LOAD_BALANCING_DATA_POINTS",
                    "There is no load balancing data to scale by.",
                )
            )
        else:
            share = f"{measured.balancing:.2f} of {policy.balancing_target:g}"
            yield (
                _for_vms(measured, measured.balancing, policy.balancing_target),
                f"load balancing {share}",
            )
    for metric in policy.metrics:
        value = measured.metrics.get(metric.name)
        if value is None:
            message = f"There are no data points of {metric.name}."
            details.append(Detail("MISSING_CUSTOM_METRIC_DATA_POINTS", message))
        elif metric.is_per_group:
            yield (
                proportional(1, value, metric.target),
                f"{metric.name} {value:g} by {metric.target:g} per VM",
            )
        elif serving:
            yield (
                _for_vms(measured, value, metric.target),
                f"{metric.name} {value:g} of {metric.target:g}",
            )


def proportional(serving: int, value: float, target: float) -> int:
    """VMs at which the mean would be `target`: 10 VMs at 0.5 of 0.8 need 7. Rounded up, with a
    tolerance for floating-point errors.
    """
    return math.ceil(serving * value / target - 1e-9)


def surplus_over(zones: Sequence[int]) -> int:
    """VMs above the even share of their zone, rounded up: 2 of (4, 1, 1) VMs, 0 of (2, 1, 1)."""
    share = math.ceil(sum(zones) / len(zones)) if zones else 0
    return sum(max(0, count - share) for count in zones)


def _for_vms(measured: Measured, value: float, target: float) -> int:
    """The need by a per-VM signal. VMs above their zone's even share do not justify scaling in:
    they are added, up to the existing number.
    """
    need = proportional(measured.serving, value, target)
    return max(need, min(measured.serving, need + measured.surplus))


def _after_scale_in_control(
    policy: Policy, recommended: int, sizes: Points, now: float
) -> tuple[int, float | None]:
    """The recommendation after scale-in control, and until when that limit holds. The maximum
    takes precedence.
    """
    if policy.scale_in_limit is None:
        return recommended, None
    highest, until = peak(sizes, policy.scale_in_seconds, now)
    lowest = highest - rounded_up(policy.scale_in_limit, highest)
    if recommended >= lowest:
        return recommended, None
    if until is None and lowest < highest:
        until = now + policy.scale_in_seconds  # the peak holds until this decision
    return min(policy.max_size, lowest), until


def _limit_details(policy: Policy) -> Iterator[Detail]:
    match policy.mode:
        case "OFF":
            yield Detail(
                "MODE_OFF", "Autoscaling is turned off; the recommended size is not applied."
            )
        case "ONLY_SCALE_OUT" | "ONLY_UP":
            yield Detail("MODE_ONLY_SCALE_OUT", "The autoscaler only adds VMs.")
    if policy.min_size == policy.max_size:
        yield Detail(
            "MIN_EQUALS_MAX",
            "The minimum number of replicas equals the maximum; the size cannot change.",
        )


def with_point(points: Points, now: float, value: int) -> Points:
    """The steps with `value` in force from now on. A value that was in force only at this moment
    is kept: it may be a peak.
    """
    return points if points and points[-1][1] == value else (*points, (now, value))


def peak(points: Points, window: float, now: float) -> tuple[int, float | None]:
    """The highest value in force at any time of the window, and when it leaves the window (None:
    it is in force now).
    """
    ends = [*(moment for moment, _ in points[1:]), math.inf]
    inside = [
        (value, end) for (_, value), end in zip(points, ends, strict=True) if end + window > now
    ]
    highest = max(value for value, _ in inside)
    until = max(end for value, end in inside if value == highest) + window
    return highest, None if math.isinf(until) else until


def within_window(points: Points, window: float, now: float) -> Points:
    """The steps without those that left the window."""
    ends = [*(moment for moment, _ in points[1:]), math.inf]
    return tuple(point for point, end in zip(points, ends, strict=True) if end + window > now)
