"""Regional autoscalers through Google's client: they react to the load within their policy."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from compute_emulator import VirtualClock
from emulator.tests.clients import PROJECT, REGION, Clients
from emulator.tests.fleet import FIXED, SCOPE, Fleet, policy, version

CPU = compute_v1.AutoscalingPolicyCpuUtilization
METRIC = compute_v1.AutoscalingPolicyCustomMetricUtilization
SCHEDULE = compute_v1.AutoscalingPolicyScalingSchedule


@pytest.fixture
def fleet(clients: Clients, clock: VirtualClock) -> Fleet:
    """Three VMs of v1, verified and initialized, without an autoscaler."""
    made = Fleet(clients, clock)
    made.create(size=3)
    made.settle()
    made.run(120)
    return made


def test_load_scales_out_at_once_and_idling_scales_in_after_the_window(fleet: Fleet) -> None:
    fleet.autoscale(cpu_utilization=CPU(utilization_target=0.6), cool_down_period_sec=60)
    fleet.cloud.load["tiny"] = {"cpu_demand": 3.0}
    fleet.run(1)
    assert fleet.get().target_size == 5
    fleet.settle()
    fleet.run(300)
    assert fleet.get().target_size == 5
    fleet.cloud.load["tiny"] = {"cpu_demand": 0.6}
    fleet.run(590)
    assert fleet.get().target_size == 5
    fleet.run(20)
    assert fleet.get().target_size == 1
    fleet.settle()
    assert len(fleet.instances()) == 1


def test_an_idle_autoscaled_group_schedules_no_more_events(fleet: Fleet) -> None:
    fleet.autoscale(min_num_replicas=3)
    fleet.run(4000)
    assert fleet.cloud.next_event_at() is None
    assert fleet.autoscaler().recommended_size == 3


def test_new_vms_do_not_count_before_their_initialization_is_over(fleet: Fleet) -> None:
    fleet.autoscale(cpu_utilization=CPU(utilization_target=0.5), cool_down_period_sec=200)
    fleet.run(200)
    fleet.cloud.load["tiny"] = {"cpu": 0.75}
    fleet.run(1)
    assert fleet.get().target_size == 5
    fleet.run(100)
    assert fleet.current_actions() == {"none": 5}
    assert fleet.get().target_size == 5
    fleet.run(200)
    assert fleet.get().target_size == 8


def test_the_limits_apply_and_are_reported(fleet: Fleet) -> None:
    fleet.autoscale(max_num_replicas=4)
    fleet.cloud.load["us-central1/tiny"] = {"cpu": 1.0}
    fleet.run(1)
    assert fleet.get().target_size == 4
    scaler = fleet.autoscaler()
    assert scaler.status == "ACTIVE"
    assert [each.type_ for each in scaler.status_details] == ["CAPPED_AT_MAX_NUM_REPLICAS"]


def test_raising_the_minimum_takes_effect_at_once(fleet: Fleet) -> None:
    fleet.autoscale()
    patch(fleet, min_num_replicas=5, max_num_replicas=10)
    fleet.run(1)
    assert fleet.get().target_size == 5


def patch(fleet: Fleet, **members: Any) -> None:
    resource = compute_v1.Autoscaler(autoscaling_policy=compute_v1.AutoscalingPolicy(members))
    scalers = fleet.clients.of(compute_v1.RegionAutoscalersClient)
    request = compute_v1.PatchRegionAutoscalerRequest(
        project=PROJECT, region=REGION, autoscaler="auto", autoscaler_resource=resource
    )
    fleet.done(scalers.patch_unary(request))


def test_only_scale_out_never_scales_in_until_the_mode_is_patched_back(fleet: Fleet) -> None:
    fleet.autoscale(stabilization_period_sec=60)
    patch(fleet, mode="ONLY_SCALE_OUT")
    fleet.run(1000)
    assert fleet.get().target_size == 3
    assert fleet.autoscaler().recommended_size == 1
    patch(fleet, mode="ON")
    fleet.run(1)
    assert fleet.get().target_size == 1


def test_a_patch_merges_and_a_put_replaces(fleet: Fleet) -> None:
    fleet.autoscale(cool_down_period_sec=90)
    patch(fleet, mode="OFF")
    assert fleet.autoscaler().autoscaling_policy.cool_down_period_sec == 90
    resource = compute_v1.Autoscaler(
        name="auto",
        target=f"{SCOPE}/instanceGroupManagers/tiny",
        autoscaling_policy=compute_v1.AutoscalingPolicy(max_num_replicas=7),
    )
    scalers = fleet.clients.of(compute_v1.RegionAutoscalersClient)
    fleet.done(scalers.update_unary(project=PROJECT, region=REGION, autoscaler_resource=resource))
    after = fleet.autoscaler().autoscaling_policy
    assert (after.mode, after.cool_down_period_sec, after.max_num_replicas) == ("ON", 60, 7)


def test_resizing_an_autoscaled_group_is_rejected_until_the_mode_is_off(fleet: Fleet) -> None:
    fleet.autoscale()
    assert fleet.get().status.autoscaler.endswith("/autoscalers/auto")
    with pytest.raises(
        exceptions.PreconditionFailed,
        match="Resizing of autoscaled regional managed instance groups",
    ):
        fleet.resize(5)
    patch(fleet, mode="OFF")
    fleet.resize(5)
    fleet.run(2000)
    assert fleet.get().target_size == 5


def test_a_group_accepts_one_autoscaler_and_cannot_be_deleted_before_it(fleet: Fleet) -> None:
    fleet.autoscale()
    second = compute_v1.Autoscaler(
        name="second",
        target=f"{SCOPE}/instanceGroupManagers/tiny",
        autoscaling_policy=compute_v1.AutoscalingPolicy(max_num_replicas=3),
    )
    scalers = fleet.clients.of(compute_v1.RegionAutoscalersClient)
    with pytest.raises(
        exceptions.BadRequest,
        match="already being used by 'projects/demo/regions/us-central1/autoscalers/auto'",
    ):
        scalers.insert_unary(project=PROJECT, region=REGION, autoscaler_resource=second)
    with pytest.raises(exceptions.BadRequest, match="already being used by"):
        fleet.call("delete_unary")
    fleet.done(scalers.delete_unary(project=PROJECT, region=REGION, autoscaler="auto"))
    assert not fleet.get().status.autoscaler
    fleet.done(fleet.call("delete_unary"))


def test_requests_per_second_scale_by_the_backends_maximum_rate(fleet: Fleet) -> None:
    fleet.serve(balancing_mode="RATE", max_rate_per_instance=100)
    fleet.autoscale(
        load_balancing_utilization=compute_v1.AutoscalingPolicyLoadBalancingUtilization(
            utilization_target=0.8
        )
    )
    fleet.cloud.load["tiny"] = {"rps": 500}
    fleet.run(1)
    assert fleet.get().target_size == 7


def test_a_group_in_two_backend_services_cannot_scale_by_load_balancing(fleet: Fleet) -> None:
    target = compute_v1.AutoscalingPolicyLoadBalancingUtilization(utilization_target=0.8)
    fleet.autoscale(load_balancing_utilization=target)
    fleet.run(1)
    assert [each.type_ for each in fleet.autoscaler().status_details][
        -1
    ] == "BACKEND_SERVICE_DOES_NOT_EXIST"
    fleet.serve(name="one")
    fleet.serve(name="two")
    scaler = fleet.autoscaler()
    assert (scaler.status, scaler.status_details[-1].type_) == (
        "ERROR",
        "MORE_THAN_ONE_BACKEND_SERVICE",
    )


def test_a_group_metric_scales_by_the_work_of_one_vm_down_to_none_and_back(
    fleet: Fleet,
) -> None:
    queue = METRIC(metric="custom.googleapis.com/queue", single_instance_assignment=5)
    fleet.autoscale(
        min_num_replicas=0, custom_metric_utilizations=[queue], stabilization_period_sec=60
    )
    fleet.cloud.load["tiny"] = {"metrics": {"custom.googleapis.com/queue": 44}}
    fleet.run(1)
    assert fleet.get().target_size == 9
    fleet.cloud.load["tiny"] = {"metrics": {"custom.googleapis.com/queue": 0}}
    fleet.run(100)
    assert fleet.get().target_size == 0
    fleet.cloud.load["tiny"] = {"metrics": {"custom.googleapis.com/queue": 1}}
    fleet.run(1)
    assert fleet.get().target_size == 1


def test_a_per_vm_metric_scales_by_its_mean_and_its_absence_is_reported(fleet: Fleet) -> None:
    latency = METRIC(
        metric="custom.googleapis.com/inflight",
        utilization_target=10,
        utilization_target_type="GAUGE",
    )
    fleet.autoscale(custom_metric_utilizations=[latency])
    fleet.run(1)
    assert [each.type_ for each in fleet.autoscaler().status_details] == [
        "MISSING_CUSTOM_METRIC_DATA_POINTS"
    ]
    assert fleet.get().target_size == 3
    fleet.cloud.load["tiny"] = {"metrics": {"custom.googleapis.com/inflight": 60}}
    fleet.run(1)
    assert fleet.get().target_size == 6


@pytest.mark.parametrize(("given", "size"), [(40, 8), ({"mean": 4}, 3), ({"mean": 10}, 6)])
def test_a_group_metric_can_be_set_as_a_mean_per_vm(fleet: Fleet, given: Any, size: int) -> None:
    queue = METRIC(metric="custom.googleapis.com/queue", single_instance_assignment=5)
    fleet.autoscale(custom_metric_utilizations=[queue], stabilization_period_sec=0)
    fleet.cloud.load["tiny"] = {"metrics": {"custom.googleapis.com/queue": given}}
    fleet.run(1)
    assert fleet.get().target_size == size


def test_a_schedule_raises_the_size_for_its_duration(fleet: Fleet) -> None:
    # The clock starts at midnight UTC; operations and booting have taken a few minutes.
    night = compute_v1.AutoscalingPolicyScalingSchedule(
        schedule="0 1 * * *", duration_sec=3600, min_required_replicas=6, time_zone="UTC"
    )
    fleet.autoscale(scaling_schedules={"night": night}, cpu_utilization=CPU(utilization_target=0.6))
    fleet.run(1)
    assert fleet.autoscaler().scaling_schedule_status["night"].state == "READY"
    fleet.run(3600)
    assert fleet.get().target_size == 6
    assert fleet.autoscaler().scaling_schedule_status["night"].state == "ACTIVE"
    fleet.run(3600 + 700)
    assert fleet.get().target_size == 1


def test_scale_in_control_shrinks_the_group_in_steps(fleet: Fleet) -> None:
    control = compute_v1.AutoscalingPolicyScaleInControl(
        max_scaled_in_replicas=FIXED(fixed=1), time_window_sec=300
    )
    fleet.autoscale(stabilization_period_sec=60, scale_in_control=control)
    fleet.run(100)
    assert fleet.get().target_size == 2
    fleet.run(200)
    assert fleet.get().target_size == 2
    fleet.run(100)
    assert fleet.get().target_size == 1


def test_scaling_out_during_an_update_uses_the_budgets_of_the_new_size(
    fleet: Fleet,
) -> None:
    fleet.autoscale(cpu_utilization=CPU(utilization_target=0.5))
    fleet.versions(version("v2"), update_policy=policy(3, 0))
    fleet.run(5)
    fleet.cloud.load["tiny"] = {"cpu_demand": 3.0}
    fleet.run(1)
    assert fleet.get().target_size == 6
    fleet.settle()
    assert fleet.by_version() == {"v2": 6}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"min_num_replicas": 5, "max_num_replicas": 4}, "minNumReplicas"),
        ({"max_num_replicas": 0}, "Must be greater than 0"),
        ({"cpu_utilization": CPU(utilization_target=1.5)}, "utilizationTarget"),
        ({"custom_metric_utilizations": [METRIC(metric="m")]}, "Exactly one of utilizationTarget"),
        (
            {
                "scaling_schedules": {
                    "s": SCHEDULE(schedule="0 25 * * *", duration_sec=600, min_required_replicas=1)
                }
            },
            "Not a cron expression",
        ),
        (
            {"scaling_schedules": {"s": SCHEDULE(schedule="0 1 * * *", duration_sec=600)}},
            "minRequiredReplicas",
        ),
        (
            {"scale_in_control": compute_v1.AutoscalingPolicyScaleInControl(time_window_sec=59)},
            "timeWindowSec",
        ),
        (
            {"scale_in_control": compute_v1.AutoscalingPolicyScaleInControl(time_window_sec=3601)},
            "timeWindowSec",
        ),
    ],
)
def test_an_invalid_policy_is_rejected_at_once(
    fleet: Fleet, members: dict[str, Any], message: str
) -> None:
    with pytest.raises(exceptions.BadRequest, match=message):
        fleet.autoscale(**members)
