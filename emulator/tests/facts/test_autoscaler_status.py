"""Facts about the status that an autoscaler reports."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.cloud import compute_v1

from compute_emulator.control.instances import apply_effect
from emulator.tests.clients import REGION, rejection, send
from emulator.tests.facts.helpers import BASE, change_autoscaler, details, size_under
from emulator.tests.facts.source import fact
from emulator.tests.fleet import SCOPE, Fleet

BALANCING = compute_v1.AutoscalingPolicyLoadBalancingUtilization
METRIC = compute_v1.AutoscalingPolicyCustomMetricUtilization
SCHEDULE = compute_v1.AutoscalingPolicyScalingSchedule
SCALERS = f"{BASE}/regions/{REGION}/autoscalers"


@fact(
    "API reference, statusDetails: CAPPED_AT_MAX_NUM_REPLICAS, MIN_EQUALS_MAX, MODE_OFF,"
    " MODE_ONLY_SCALE_OUT"
)
def test_limits_and_modes_are_reported(three: Fleet) -> None:
    three.cloud.load["tiny"] = {"cpu": 1.0}
    three.autoscale(max_num_replicas=4, stabilization_period_sec=0)
    size_under(three, cpu=1.0)
    assert details(three) == ["CAPPED_AT_MAX_NUM_REPLICAS"]
    three.cloud.load.clear()
    change_autoscaler(three, min_num_replicas=4, max_num_replicas=4)
    assert details(three) == ["MIN_EQUALS_MAX"]
    change_autoscaler(three, min_num_replicas=1, mode="OFF")
    assert details(three) == ["MODE_OFF"]
    change_autoscaler(three, mode="ONLY_SCALE_OUT")
    assert details(three) == ["MODE_ONLY_SCALE_OUT"]
    assert three.autoscaler().status == "ACTIVE"


@fact(
    "API reference, statusDetails of load balancing: no service, more than one, a rate for the"
    " whole group, no data"
)
def test_reasons_against_scaling_by_load_balancing_are_reported(three: Fleet) -> None:
    three.autoscale(load_balancing_utilization=BALANCING(utilization_target=0.8))
    three.run(1)
    assert details(three)[-1] == "BACKEND_SERVICE_DOES_NOT_EXIST"
    three.serve(name="one", balancing_mode="RATE", max_rate=100)
    assert details(three)[-1] == "UNSUPPORTED_MAX_RATE_LOAD_BALANCING_CONFIGURATION"
    three.serve(name="two", balancing_mode="RATE", max_rate_per_instance=100)
    assert details(three)[-1] == "MORE_THAN_ONE_BACKEND_SERVICE"
    assert three.autoscaler().status == "ERROR"


@fact(
    "API reference, statusDetails of metrics: missing, invalid, too sparse",
    assumed="the size is kept while a metric has no usable data",
)
@pytest.mark.parametrize(
    ("metrics", "detail", "status"),
    [
        ({}, "MISSING_CUSTOM_METRIC_DATA_POINTS", "ACTIVE"),
        ({"m/q": "sparse"}, "CUSTOM_METRIC_DATA_POINTS_TOO_SPARSE", "ACTIVE"),
        ({"m/q": "invalid"}, "CUSTOM_METRIC_INVALID", "ERROR"),
    ],
)
def test_an_unusable_metric_is_reported_and_keeps_the_size(
    three: Fleet, metrics: Any, detail: str, status: str
) -> None:
    three.autoscale(
        custom_metric_utilizations=[METRIC(metric="m/q", utilization_target=10)],
        stabilization_period_sec=0,
    )
    assert size_under(three, metrics=metrics) == 3
    assert detail in details(three)
    assert three.autoscaler().status == status


@fact("API reference, statusDetails: ALL_INSTANCES_UNHEALTHY means that none is RUNNING")
def test_all_instances_are_unhealthy_if_none_is_running(three: Fleet) -> None:
    three.autoscale(min_num_replicas=3)
    apply_effect(three.cloud, "kill")
    three.run(3)
    assert "ALL_INSTANCES_UNHEALTHY" not in details(three)
    apply_effect(three.cloud, "stop")
    three.run(1)
    assert "ALL_INSTANCES_UNHEALTHY" in details(three)


@fact(
    "API reference, statusDetails: ZONE_RESOURCE_STOCKOUT, REGION_RESOURCE_STOCKOUT,"
    " NOT_ENOUGH_QUOTA_AVAILABLE"
)
def test_missing_capacity_is_reported(three: Fleet) -> None:
    three.autoscale()
    three.cloud.stock_outs["us-central1-a"] = {}
    size_under(three, cpu_demand=5.0)
    three.run(30)
    assert details(three) == ["ZONE_RESOURCE_STOCKOUT"]
    three.cloud.stock_outs["us-central1"] = {}
    three.run(30)
    assert details(three) == ["ZONE_RESOURCE_STOCKOUT", "REGION_RESOURCE_STOCKOUT"]
    three.cloud.stock_outs.clear()
    three.cloud.quotas["CPUS"] = 3
    three.run(600)
    assert "NOT_ENOUGH_QUOTA_AVAILABLE" in details(three)


@fact(
    "API reference, statusDetails: schedules that ask for more than the maximum or less than the"
    " minimum"
)
def test_schedules_beyond_the_limits_are_reported(three: Fleet) -> None:
    def at(hour: int, required: int) -> Any:
        return SCHEDULE(
            schedule=f"0 {hour} * * *", duration_sec=300, min_required_replicas=required
        )

    three.autoscale(
        min_num_replicas=2,
        max_num_replicas=4,
        scaling_schedules={"high": at(5, 9), "low": at(6, 1)},
    )
    three.run(1)
    assert details(three) == [
        "SCHEDULED_INSTANCES_GREATER_THAN_AUTOSCALER_MAX",
        "SCHEDULED_INSTANCES_LESS_THAN_AUTOSCALER_MIN",
    ]


@fact("API reference, scalingScheduleStatus: READY or ACTIVE, with the last and the next start")
def test_a_schedule_reports_its_last_and_next_start(three: Fleet) -> None:
    start = datetime.fromtimestamp(three.clock.now(), UTC).replace(
        second=0, microsecond=0
    ) + timedelta(minutes=2)
    daily = SCHEDULE(
        schedule=f"{start.minute} {start.hour} * * *", duration_sec=300, min_required_replicas=5
    )
    three.autoscale(scaling_schedules={"peak": daily})
    ready = three.autoscaler().scaling_schedule_status["peak"]
    assert (ready.state, ready.last_start_time, datetime.fromisoformat(ready.next_start_time)) == (
        "READY",
        "",
        start,
    )
    three.run(130)
    detail = three.autoscaler().scaling_schedule_status["peak"]
    starts = (
        datetime.fromisoformat(detail.last_start_time),
        datetime.fromisoformat(detail.next_start_time),
    )
    assert (detail.state, starts) == ("ACTIVE", (start, start + timedelta(days=1)))
    assert three.get().target_size == 5


@fact("API reference, status PENDING: the configuration has not been read yet")
def test_a_new_autoscaler_is_pending_until_its_first_decision(three: Fleet) -> None:
    body = {
        "name": "auto",
        "target": f"{SCOPE}/instanceGroupManagers/tiny",
        "autoscalingPolicy": {"maxNumReplicas": 3},
    }
    assert send(three.cloud, "POST", SCALERS, body)[0] == 200
    (kept,) = three.cloud.autoscalers.values()
    assert kept.decision is None
    assert send(three.cloud, "GET", f"{SCALERS}/auto")[1]["status"] == "ACTIVE"


@fact("API reference, status DELETING: while the operation that deletes it runs")
def test_an_autoscaler_being_deleted_has_status_deleting(three: Fleet) -> None:
    three.autoscale()
    three.cloud.operations.seconds = 30
    assert send(three.cloud, "DELETE", f"{SCALERS}/auto")[0] == 200
    assert three.autoscaler().status == "DELETING"
    three.run(31)
    assert rejection(three.cloud, "GET", f"{SCALERS}/auto")[0] == 404


@fact(
    "API reference, statusDetails MISSING_LOAD_BALANCING_DATA_POINTS: the group has not received"
    " any requests"
)
def test_a_group_without_requests_is_reported(three: Fleet) -> None:
    three.serve(balancing_mode="RATE", max_rate_per_instance=100)
    three.autoscale(load_balancing_utilization=BALANCING())
    three.run(1)
    assert details(three) == ["MISSING_LOAD_BALANCING_DATA_POINTS"]
    size_under(three, rps=100)
    assert details(three) == []
