"""Facts about regional autoscalers: the resource and the limits of its policy."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from emulator.tests.clients import REGION, rejection, send
from emulator.tests.facts.helpers import BASE, TINY, change_autoscaler
from emulator.tests.facts.source import fact
from emulator.tests.fleet import SCOPE, Fleet, policy

CPU = compute_v1.AutoscalingPolicyCpuUtilization
METRIC = compute_v1.AutoscalingPolicyCustomMetricUtilization
SCHEDULE = compute_v1.AutoscalingPolicyScalingSchedule
SCALERS = f"{BASE}/regions/{REGION}/autoscalers"


@fact(
    "API reference, regionAutoscalers: no fingerprint; the name is a query parameter; PATCH"
    " merges and PUT replaces"
)
def test_an_autoscaler_is_named_by_a_query_parameter_on_patch_and_put(three: Fleet) -> None:
    three.autoscale(cool_down_period_sec=90)
    assert "fingerprint" not in send(three.cloud, "GET", f"{SCALERS}/auto")[1]
    assert (
        send(
            three.cloud,
            "PATCH",
            f"{SCALERS}?autoscaler=auto",
            {"autoscalingPolicy": {"mode": "OFF"}},
        )[0]
        == 200
    )
    kept = three.autoscaler().autoscaling_policy
    assert (kept.mode, kept.cool_down_period_sec) == ("OFF", 90)
    body = {"name": "auto", "autoscalingPolicy": {"maxNumReplicas": 7}}
    assert (
        send(three.cloud, "PUT", SCALERS, body)[0] == 200
    )  # without the parameter, the name in the body is used
    kept = three.autoscaler().autoscaling_policy
    assert (kept.mode, kept.cool_down_period_sec, kept.max_num_replicas) == ("ON", 60, 7)


@fact(
    "Observed with gcloud 528, which looks for the one autoscaler of a group",
    assumed="400 resourceInUseByAnotherResource for a second",
)
def test_a_group_has_one_autoscaler(three: Fleet) -> None:
    three.autoscale()
    body = {
        "name": "second",
        "target": f"{SCOPE}/instanceGroupManagers/tiny",
        "autoscalingPolicy": {"maxNumReplicas": 3},
    }
    status, reason, message = rejection(three.cloud, "POST", SCALERS, body)
    assert (status, reason) == (400, "resourceInUseByAnotherResource")
    assert message.endswith(
        "is already being used by 'projects/demo/regions/us-central1/autoscalers/auto'"
    )


@fact("API reference, autoscaler target: it must exist")
def test_the_target_of_an_autoscaler_must_exist(three: Fleet) -> None:
    body = {
        "name": "auto",
        "target": f"{SCOPE}/instanceGroupManagers/none",
        "autoscalingPolicy": {"maxNumReplicas": 3},
    }
    assert rejection(three.cloud, "POST", SCALERS, body)[:2] == (404, "notFound")


@fact("Observed in terraform-google-modules/terraform-google-vm#64, with its wording")
def test_an_autoscaled_group_cannot_be_resized_manually(three: Fleet) -> None:
    three.autoscale()
    assert rejection(three.cloud, "POST", f"{TINY}/resize?size=5") == (
        412,
        "conditionNotMet",
        (
            "Resizing of autoscaled regional managed instance groups is not allowed. If you want to"
            " manually adjust target size remove the autoscaler or set autoscaling policy mode to"
            " OFF."
        ),
    )
    change_autoscaler(three, mode="OFF")
    assert send(three.cloud, "POST", f"{TINY}/resize?size=5")[0] == 200


@fact("API reference, maxNumReplicas: required, at least minNumReplicas", assumed="the wording")
@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"maxNumReplicas": 0},
        {"maxNumReplicas": 3, "minNumReplicas": 4},
        {"maxNumReplicas": 3, "minNumReplicas": -1},
    ],
)
def test_the_limits_of_a_policy_must_be_consistent(three: Fleet, limits: dict[str, int]) -> None:
    given: dict[str, Any] = {"mode": "ON"} | limits
    body = {
        "name": "auto",
        "target": f"{SCOPE}/instanceGroupManagers/tiny",
        "autoscalingPolicy": given,
    }
    assert rejection(three.cloud, "POST", SCALERS, body)[0] == 400


@fact(
    "API reference, minNumReplicas: 'autoscaler chooses a default value'",
    assumed="2, or the maximum if that is lower",
)
@pytest.mark.parametrize(("most", "least"), [(10, 2), (1, 1)])
def test_an_omitted_minimum_gets_a_default(three: Fleet, most: int, least: int) -> None:
    three.autoscale(min_num_replicas=None, max_num_replicas=most)
    assert three.autoscaler().autoscaling_policy.min_num_replicas == least


@fact(
    "API reference, coolDownPeriodSec 60, mode ON, utilizationTarget of CPU 0.6; documentation: no"
    " signal means CPU"
)
def test_a_policy_has_its_defaults(three: Fleet) -> None:
    three.autoscale()
    kept = three.autoscaler().autoscaling_policy
    assert (kept.cool_down_period_sec, kept.mode, kept.cpu_utilization.utilization_target) == (
        60,
        "ON",
        0.6,
    )


@fact("Documentation, multiple signals: at most five different custom metrics; 128 schedules")
def test_a_policy_has_at_most_five_metrics_and_128_schedules(three: Fleet) -> None:
    def metrics(*names: str) -> list[Any]:
        return [
            METRIC(metric=f"custom.googleapis.com/{name}", single_instance_assignment=5)
            for name in names
        ]

    def schedules(count: int) -> dict[str, Any]:
        return {
            f"s{n}": SCHEDULE(schedule="0 1 * * *", duration_sec=300, min_required_replicas=2)
            for n in range(count)
        }

    for wrong in (
        {"custom_metric_utilizations": metrics(*"abcdef")},
        {"custom_metric_utilizations": metrics("a", "a")},
        {"scaling_schedules": schedules(129)},
    ):
        with pytest.raises(exceptions.BadRequest):
            three.autoscale(**wrong)
    three.autoscale(custom_metric_utilizations=metrics(*"abcde"), scaling_schedules=schedules(128))


@fact(
    "API reference, scalingSchedules[].durationSec: at least 300; schedule: a cron expression,"
    " optionally with a year"
)
def test_a_schedule_is_a_cron_expression_of_at_least_five_minutes(three: Fleet) -> None:
    for cron, seconds in [("0 25 * * *", 300), ("0 1 * * *", 299), ("nonsense", 300)]:
        with pytest.raises(exceptions.BadRequest):
            three.autoscale(
                scaling_schedules={
                    "s": SCHEDULE(schedule=cron, duration_sec=seconds, min_required_replicas=1)
                }
            )
    three.autoscale(
        scaling_schedules={
            "s": SCHEDULE(schedule="0 1 * * * 2030", duration_sec=300, min_required_replicas=1)
        }
    )


@fact(
    "Documentation, target distribution shape: an autoscaled group is EVEN or BALANCED",
    assumed="the wording",
)
def test_an_autoscaled_group_is_even_or_balanced(fleet: Fleet) -> None:
    still = policy(instance_redistribution_type="NONE")
    fleet.create(
        size=1,
        distribution_policy=compute_v1.DistributionPolicy(target_shape="ANY"),
        update_policy=still,
    )
    with pytest.raises(exceptions.BadRequest, match="ANY"):
        fleet.autoscale()
    fleet.patch(distribution_policy=compute_v1.DistributionPolicy(target_shape="BALANCED"))
    fleet.autoscale()
    with pytest.raises(exceptions.BadRequest, match="EVEN or BALANCED"):
        fleet.patch(
            distribution_policy=compute_v1.DistributionPolicy(target_shape="ANY_SINGLE_ZONE")
        )
