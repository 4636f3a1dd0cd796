"""The two checks of an instance: readiness reacts fast, liveness slowly."""

from __future__ import annotations

from infra.fleet.model import Body
from infra.fleet.resources import health_check
from rollout.model import Share
from tests.infra.build import group, release

GROUP = group(Share(release()))
READY, LIVE = health_check.ready("tiny", GROUP).body, health_check.live("tiny", GROUP).body


def seconds(check: Body, threshold: str) -> int:
    """How long until the check changes its verdict."""
    return int(check["checkIntervalSec"]) * int(check[threshold])


def test_a_busy_instance_gets_no_requests_for_minutes_before_it_is_replaced() -> None:
    assert seconds(READY, "unhealthyThreshold") <= 20
    assert seconds(LIVE, "unhealthyThreshold") - seconds(READY, "unhealthyThreshold") >= 120


def test_a_new_instance_gets_requests_before_an_old_one_is_removed() -> None:
    assert seconds(READY, "healthyThreshold") < seconds(LIVE, "healthyThreshold")
