"""Facts about the size that an autoscaler recommends: signals, windows, limits, schedules,
zones.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from google.cloud import compute_v1

from compute_emulator.rules.autoscale import (
    History,
    Measured,
    Metric,
    Policy,
    decide,
    proportional,
    surplus_over,
)
from compute_emulator.rules.schedules import Schedule
from compute_emulator.rules.sizes import Size
from emulator.tests.facts.helpers import change_autoscaler, on_instances, size_under, urls
from emulator.tests.facts.source import fact
from emulator.tests.fleet import Fleet, policy, version

CPU = compute_v1.AutoscalingPolicyCpuUtilization
BALANCING = compute_v1.AutoscalingPolicyLoadBalancingUtilization
METRIC = compute_v1.AutoscalingPolicyCustomMetricUtilization
SCHEDULE = compute_v1.AutoscalingPolicyScalingSchedule
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp()
MINUTE = 60.0


@fact(
    "Documentation, multiple signals: for ten VMs 7 by CPU, 7 by load balancing, 11 and 14 by"
    " metrics, 15 by schedule give 15"
)
def test_the_largest_need_of_all_signals_wins(fleet: Fleet) -> None:
    fleet.create(size=10)
    fleet.serve(balancing_mode="RATE", max_rate_per_instance=100)
    fleet.settle()
    fleet.run(120)
    metrics = [
        METRIC(metric=f"m/{n}", utilization_target=1000 * n, utilization_target_type="GAUGE")
        for n in (1, 2)
    ]
    signals = {
        "cpu_utilization": CPU(utilization_target=0.8),
        "custom_metric_utilizations": metrics,
    }
    signals["load_balancing_utilization"] = BALANCING(utilization_target=0.6)
    load = {"cpu": 0.5, "balancing": 0.4, "metrics": {"m/1": {"mean": 1100}, "m/2": {"mean": 2700}}}
    fleet.cloud.load["tiny"] = load
    noon = SCHEDULE(schedule="* * * * *", duration_sec=600, min_required_replicas=15)
    fleet.autoscale(max_num_replicas=20, stabilization_period_sec=0, **signals)
    fleet.run(1)
    assert (fleet.get().target_size, fleet.autoscaler().recommended_size) == (14, 14)
    change_autoscaler(fleet, scaling_schedules={"noon": noon})
    fleet.run(60)
    assert fleet.get().target_size == 15


@fact(
    "Documentation, autoscaler decisions: VMs times utilization by target; 1.5 more become 2,"
    " 1.5 fewer become 1"
)
@pytest.mark.parametrize(
    ("serving", "value", "target", "need"),
    [
        (10, 0.5, 0.8, 7),
        (10, 0.4, 0.6, 7),
        (10, 0.69, 0.6, 12),
        (10, 0.51, 0.6, 9),
        (3, 0.6, 0.6, 3),
    ],
)
def test_the_need_is_rounded_towards_more_capacity(
    serving: int, value: float, target: float, need: int
) -> None:
    assert proportional(serving, value, target) == need


@fact("Documentation, scaling by a metric of the group: 100 at 5 per VM need 20 VMs")
def test_a_group_metric_is_divided_by_the_work_of_one_vm(three: Fleet) -> None:
    queue = METRIC(metric="m/queue", single_instance_assignment=5)
    three.autoscale(max_num_replicas=50, custom_metric_utilizations=[queue])
    assert size_under(three, metrics={"m/queue": 100}) == 20


@fact(
    "API reference, stabilizationPeriodSec: scale-in waits for it, scale-out does not; default 600"
)
def test_scale_in_waits_for_the_stabilization_window(three: Fleet) -> None:
    three.autoscale()
    assert size_under(three, cpu_demand=3.0) == 5
    three.settle()
    three.run(100)
    assert size_under(three, cpu_demand=0.1) == 5
    three.run(590)
    assert three.get().target_size == 5
    three.run(20)
    assert three.get().target_size == 1


@fact(
    "Documentation, stabilization (older): the longer of ten minutes and the initialization period",
    assumed="applies if no period is set",
)
def test_a_long_initialization_lengthens_the_stabilization_window(three: Fleet) -> None:
    three.autoscale(cool_down_period_sec=1200)
    three.run(1200)  # all are initialized and now look idle
    assert size_under(three) == 3
    three.run(900)
    assert three.get().target_size == 3
    three.run(300)
    assert three.get().target_size == 1


@fact("Documentation, stabilization: the peak of the window counts")
def test_the_peak_of_the_window_counts() -> None:
    plain = Policy(1, 20)
    now, history = NOON, History()
    for cpu in (0.6, 0.3, 0.54, 0.1):
        decision = decide(plain, Measured(10, cpu=cpu), 10, history, now)
        assert decision.size == 10
        history, now = decision.history, now + 2 * MINUTE
    assert decide(plain, Measured(10, cpu=0.1), 10, history, NOON + 10 * MINUTE).size == 10
    assert decide(plain, Measured(10, cpu=0.1), 10, history, NOON + 13 * MINUTE).size == 9


@fact(
    "API reference, scaleInControl: never more than this many below the highest size of the window",
    assumed="applied after the limits, before the mode",
)
@pytest.mark.parametrize(
    ("limit", "sizes"),
    [(Size(fixed=2), (8, 6)), (Size(percent=50), (5, 2)), (Size(percent=15), (8, 6))],
)
def test_scale_in_control_shrinks_the_group_in_steps(limit: Size, sizes: tuple[int, int]) -> None:
    controlled = Policy(1, 20, stabilization_seconds=0, scale_in_limit=limit, scale_in_seconds=600)
    first = decide(controlled, Measured(10), 10, History(), NOON)
    held = decide(controlled, Measured(first.size), first.size, first.history, NOON + 9 * MINUTE)
    then = decide(controlled, Measured(first.size), first.size, held.history, NOON + 10 * MINUTE)
    assert (first.size, held.size, then.size) == (sizes[0], *sizes)


@fact(
    "API reference, autoscalingPolicy.mode and recommendedSize: the recommendation is reported"
    " in every mode"
)
@pytest.mark.parametrize(
    ("mode", "up", "down"), [("ON", 5, 1), ("ONLY_SCALE_OUT", 5, 5), ("OFF", 3, 3)]
)
def test_the_mode_decides_whether_a_recommendation_is_applied(
    three: Fleet, mode: str, up: int, down: int
) -> None:
    three.cloud.load["tiny"] = {"cpu": 0.6}
    three.autoscale(stabilization_period_sec=0, mode=mode)
    assert (size_under(three, cpu_demand=3.0), three.autoscaler().recommended_size) == (up, 5)
    three.settle()
    three.run(100)
    assert (size_under(three), three.autoscaler().recommended_size) == (down, 1)


@fact(
    "API reference, mode ONLY_UP: deprecated for ONLY_SCALE_OUT",
    assumed="accepted as its synonym",
)
def test_only_up_means_only_scale_out() -> None:
    only = Policy(1, 10, mode="ONLY_UP", stabilization_seconds=0)
    assert decide(only, Measured(5), 5, History(), NOON).size == 5
    assert decide(only, Measured(5, cpu=1.0), 5, History(), NOON).size == 9


@fact(
    "API reference, coolDownPeriodSec: data of VMs that are still initializing is ignored when"
    " scaling out"
)
def test_initializing_vms_do_not_cause_a_scale_out(three: Fleet) -> None:
    three.autoscale(cool_down_period_sec=300, max_num_replicas=20)
    three.run(300)
    assert size_under(three, cpu=0.9) == 5
    three.run(250)
    assert three.get().target_size == 5
    three.run(150)
    assert three.get().target_size == 8


@fact(
    "Documentation, scale to zero (older): a per-VM signal neither removes the last VM nor"
    " starts one in an empty group"
)
def test_a_per_vm_signal_keeps_the_last_vm_and_never_starts_one() -> None:
    by_cpu = Policy(0, 5, stabilization_seconds=0)
    assert decide(by_cpu, Measured(2), 2, History(), NOON).size == 1
    assert decide(by_cpu, Measured(0, cpu=1.0), 0, History(), NOON).size == 0


@fact("Documentation, scale to zero (older): with a minimum of 0 and a group metric or a schedule")
def test_a_group_metric_and_a_schedule_scale_to_zero_and_back() -> None:
    queue = (Metric("queue", 10.0, is_per_group=True),)
    by_queue = Policy(0, 5, stabilization_seconds=0, cpu_target=None, metrics=queue)
    assert decide(by_queue, Measured(2, metrics={"queue": 0.0}), 2, History(), NOON).size == 0
    assert decide(by_queue, Measured(0, metrics={"queue": 11.0}), 0, History(), NOON).size == 2
    by_clock = Policy(
        0,
        5,
        stabilization_seconds=0,
        cpu_target=None,
        schedules=(Schedule("noon", "0 12 * * *", 3600, 2),),
    )
    assert decide(by_clock, Measured(0), 0, History(), NOON).size == 2


@fact(
    "API reference, scalingSchedules: the largest of overlapping ones applies; each has its own"
    " time zone; disabled ones are ignored"
)
def test_the_largest_of_overlapping_schedules_applies() -> None:
    small, large = (
        Schedule("small", "0 11 * * *", 7200, 3),
        Schedule("large", "0 13 * * *", 3600, 6, "Europe/Berlin"),
    )
    plain = Policy(
        1, 10, stabilization_seconds=0, schedules=(small, large)
    )  # 13:00 in Berlin is 12:00 UTC in March
    assert decide(plain, Measured(1), 1, History(), NOON - MINUTE).size == 3
    both = decide(plain, Measured(1), 1, History(), NOON)
    assert (both.size, {name: each.state for name, each in both.schedules.items()}) == (
        6,
        {"small": "ACTIVE", "large": "ACTIVE"},
    )
    off = replace(plain, schedules=(replace(small, is_disabled=True), large))
    before = decide(off, Measured(1), 1, History(), NOON - MINUTE)
    assert (before.size, before.schedules["small"].state, before.schedules["large"].state) == (
        1,
        "DISABLED",
        "READY",
    )


@fact("API reference, scalingScheduleStatus: OBSOLETE when the schedule never starts again")
def test_a_schedule_of_a_past_year_is_obsolete() -> None:
    past = Policy(1, 10, schedules=(Schedule("past", "0 1 * * * 2020", 300, 5),))
    assert decide(past, Measured(1), 1, History(), NOON).schedules["past"].state == "OBSOLETE"


@fact(
    "Documentation, scaling by load balancing: at 100 requests/s per VM and a target of 0.8"
    " each VM takes 80"
)
def test_requests_scale_by_the_backends_maximum_rate(three: Fleet) -> None:
    three.serve(balancing_mode="RATE", max_rate_per_instance=100)
    three.autoscale(load_balancing_utilization=BALANCING(utilization_target=0.8))
    assert size_under(three, rps=400) == 5
    assert size_under(three, rps=401) == 6


@fact(
    "API reference, loadBalancingUtilization.utilizationTarget: 0.8 by default; capacityScaler"
    " lowers a backend's capacity"
)
def test_the_capacity_scaler_lowers_the_capacity_of_a_vm(three: Fleet) -> None:
    three.serve(balancing_mode="RATE", max_rate_per_instance=100, capacity_scaler=0.5)
    three.autoscale(load_balancing_utilization=BALANCING())
    assert size_under(three, rps=200) == 5


@fact(
    "Documentation, scaling by load balancing: in mode UTILIZATION a backend is full at its"
    " maxUtilization",
    assumed="0.8 if it sets none",
)
@pytest.mark.parametrize(
    ("members", "size"), [({"max_utilization": 0.5}, 4), ({}, 3), ({"capacity_scaler": 0.5}, 5)]
)
def test_utilization_is_relative_to_the_backends_maximum(
    three: Fleet, members: Any, size: int
) -> None:
    three.serve(balancing_mode="UTILIZATION", **members)
    three.autoscale(
        load_balancing_utilization=BALANCING(utilization_target=0.8), min_num_replicas=3
    )
    assert size_under(three, cpu=0.5) == size


@fact("Documentation, autoscaler: it owns the target size; an update continues with the new size")
def test_the_budgets_of_an_update_follow_the_autoscaler(three: Fleet) -> None:
    three.autoscale()
    three.versions(version("v2"), update_policy=policy(3, 0))
    three.run(5)
    assert size_under(three, cpu_demand=3.0) == 5
    three.settle()
    assert three.by_version() == {"v2": 5}


@fact(
    "Undocumented: which VMs count during an update",
    assumed="all that serve and are past their initialization, including surge VMs",
)
def test_surge_vms_count_as_serving(three: Fleet) -> None:
    three.cloud.set_behaviours([{"template": "v2", "never_alive": True}])
    three.autoscale(cool_down_period_sec=15)
    three.versions(version("v2"))
    three.run(100)
    assert sum(three.current_actions().values()) == 6
    assert size_under(three, cpu=0.6) == 6


@fact(
    "Documentation, autoscaler decisions: the mean over VMs that serve",
    assumed="a VM that is leaving does not count",
)
def test_a_leaving_vm_does_not_count(three: Fleet) -> None:
    three.serve(drain=600)
    three.autoscale(stabilization_period_sec=0, min_num_replicas=2)
    three.cloud.load["tiny"] = {"cpu": 0.6}
    on_instances(three, "delete", urls(three, 1))
    assert three.current_actions() == {"none": 2, "deleting": 1}
    assert size_under(three, cpu=0.9) == 3  # two at 0.9 need three; three would need five


@fact(
    "Documentation, autoscaling regional groups: VMs of zones with more than the average keep"
    " an uneven group larger than needed",
    assumed="they are added to the need of a per-VM signal, up to the current number of VMs",
)
def test_an_uneven_group_is_kept_larger_than_its_load_needs(three: Fleet) -> None:
    three.patch(update_policy=policy(3, 0, instance_redistribution_type="NONE"))
    three.resize(12)
    three.settle()
    three.run(120)
    on_instances(three, "delete", [url for url in urls(three) if "/zones/us-central1-c/" in url])
    three.settle()
    assert three.zones() == {"a": 4, "b": 4}
    three.cloud.load["tiny"] = {"cpu_demand": 2.4}
    three.autoscale(stabilization_period_sec=0)
    three.run(1)
    assert (
        three.get().target_size == 6
    )  # four for the load, and in each of two zones one above the even share of three
    three.settle()
    assert (three.zones(), three.get().target_size) == ({"a": 3, "b": 3}, 6)
    three.patch(update_policy=policy(3, 0, instance_redistribution_type="PROACTIVE"))
    three.run(600)
    assert three.get().target_size == 4  # evened out, nothing prevents the scale-in


@fact(
    "Documentation, autoscaling regional groups",
    assumed="of 4, 1 and 1 VMs two are above the even share, which is rounded up",
)
@pytest.mark.parametrize(
    ("zones", "above"), [([2, 2, 2], 0), ([2, 1, 1], 0), ([4, 1, 1], 2), ([3, 3, 0], 2), ([], 0)]
)
def test_the_even_share_of_a_zone_is_rounded_up(zones: list[int], above: int) -> None:
    assert surplus_over(zones) == above


@fact(
    "Documentation, autoscaling regional groups",
    assumed="an uneven group scales out only as far as its load needs",
)
def test_unevenness_never_causes_a_scale_out() -> None:
    uneven = Measured(6, cpu=0.6, surplus=2)
    assert decide(Policy(1, 20), uneven, 6, History(), NOON).size == 6
    assert decide(Policy(1, 20), replace(uneven, cpu=0.9), 6, History(), NOON).size == 9


@fact(
    "Undocumented: how often an autoscaler decides",
    assumed="at once when load, policy or group change",
)
def test_an_autoscaler_decides_immediately(three: Fleet) -> None:
    three.autoscale()
    three.cloud.load["tiny"] = {"cpu_demand": 3.0}
    three.cloud.advance()
    assert three.get().target_size == 5
