"""The autoscaler has exactly the desired signals, and its mode switches scale-in off."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from infra.fleet.model import Body
from infra.fleet.resources.autoscaler import desired, drift
from rollout.model import Share
from tests.infra.build import group, release

UNDESIRED: dict[str, Any] = {
    "cpuUtilization": {"utilizationTarget": 0.6},
    "loadBalancingUtilization": {"utilizationTarget": 0.8},
    "customMetricUtilizations": [{"metric": "m", "utilizationTarget": 1}],
    "scalingSchedules": {
        "night": {"schedule": "0 0 * * *", "durationSec": 300, "minRequiredReplicas": 0}
    },
    "scaleInControl": {"maxScaledInReplicas": {"fixed": 1}, "timeWindowSec": 60},
}
BY_QUEUE: dict[str, Any] = {"metrics": [{"name": "custom.googleapis.com/queue", "per_instance": 5}]}


def policy(may_scale_in: bool = True, **scaling: Any) -> Body:
    return (
        desired("tiny", group(Share(release(scaling=scaling)), may_scale_in=may_scale_in)).body
        or {}
    )


@pytest.mark.parametrize("signal", UNDESIRED)
def test_an_undesired_signal_is_drift(signal: str) -> None:
    desired_body = policy(**BY_QUEUE) if signal == "cpuUtilization" else policy()
    observed = copy.deepcopy(desired_body)
    observed["autoscalingPolicy"][signal] = UNDESIRED[signal]
    assert any(
        path.startswith(f"autoscalingPolicy.{signal}") for path in drift(desired_body, observed)
    )


def test_an_undesired_schedule_beside_a_desired_one_is_drift() -> None:
    desired_body = policy(
        schedules={"day": {"cron": "0 8 * * *", "duration_seconds": 3600, "min": 2}}
    )
    observed = copy.deepcopy(desired_body)
    observed["autoscalingPolicy"]["scalingSchedules"] |= UNDESIRED["scalingSchedules"]
    assert set(drift(desired_body, observed)) == {"autoscalingPolicy.scalingSchedules.night"}


def test_the_order_of_metrics_does_not_matter() -> None:
    two = [
        {"name": "custom.googleapis.com/a", "target": 1},
        {"name": "custom.googleapis.com/b", "per_instance": 2},
    ]
    assert drift(policy(metrics=two), policy(metrics=two[::-1])) == {}
    changed = [two[0], two[1] | {"per_instance": 3}]
    assert drift(policy(metrics=two), policy(metrics=changed))


def test_unmanaged_settings_are_no_drift() -> None:
    observed = copy.deepcopy(policy()) | {"recommendedSize": 3, "status": "ACTIVE"}
    observed["autoscalingPolicy"]["stabilizationPeriodSec"] = 600
    assert drift(policy(), observed) == {}


def test_scale_in_is_switched_off_by_the_mode() -> None:
    assert policy(may_scale_in=False)["autoscalingPolicy"]["mode"] == "ONLY_SCALE_OUT"
    assert policy()["autoscalingPolicy"]["mode"] == "ON"
    assert set(drift(policy(), policy(may_scale_in=False))) == {"autoscalingPolicy.mode"}


def test_without_signals_the_autoscaler_uses_cpu() -> None:
    assert policy()["autoscalingPolicy"]["cpuUtilization"]["utilizationTarget"] == 0.6
    assert "cpuUtilization" not in policy(**BY_QUEUE)["autoscalingPolicy"]
