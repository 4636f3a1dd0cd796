"""The backend service has its one group as backend, with exactly the desired limits."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from infra.fleet.model import Body
from infra.fleet.resources.backend_service import desired, drift
from rollout.model import Share
from tests.infra.build import group, release


def body(**traffic: Any) -> Body:
    return desired("tiny", group(Share(release(traffic=traffic)))).body


@pytest.mark.parametrize(
    ("field", "value"), [("maxRatePerInstance", 10.0), ("maxRate", 10), ("capacityScaler", 0.0)]
)
def test_an_undesired_limit_is_drift(field: str, value: float) -> None:
    observed = copy.deepcopy(body())
    observed["backends"][0][field] = value
    assert set(drift(body(), observed)) == {f"backends[0].{field}"}


def test_a_second_backend_is_drift() -> None:
    observed = copy.deepcopy(body())
    observed["backends"].append({"group": "regions/us-central1/instanceGroups/theirs"})
    assert set(drift(body(), observed)) == {"backends"}


def test_a_utilization_limit_is_ignored_when_balancing_by_rate() -> None:
    by_rate = body(balancing_mode="rate", max_rate_per_instance=10)
    observed = copy.deepcopy(by_rate)
    observed["backends"][0]["maxUtilization"] = 0.8
    assert drift(by_rate, observed) == {}


def test_draining_can_be_off() -> None:
    off = body(draining_seconds=0)
    assert off["connectionDraining"] == {"drainingTimeoutSec": 0}
    assert set(drift(off, body(draining_seconds=300))) == {"connectionDraining.drainingTimeoutSec"}
