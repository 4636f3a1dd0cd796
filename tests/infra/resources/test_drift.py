"""Bodies with the same meaning do not differ, however the server spells them; others do."""

from __future__ import annotations

from typing import Any

import pytest

from infra.fleet.resources.drift import describe, differences, with_absent

SAME = [
    (
        {"healthCheck": "global/healthChecks/x"},
        {"healthCheck": "https://www.googleapis.com/compute/v1/projects/p/global/healthChecks/x"},
    ),
    (
        {"healthCheck": "global/healthChecks/x"},
        {"healthCheck": "http://127.0.0.1:9100/compute/v1/projects/q/global/healthChecks/x"},
    ),
    ({"healthCheck": "global/healthChecks/x"}, {"healthCheck": "projects/p/global/healthChecks/x"}),
    ({"diskSizeGb": 50}, {"diskSizeGb": "50"}),
    ({"diskSizeGb": "50"}, {"diskSizeGb": 50}),
    ({"portRange": "80"}, {"portRange": "80-80"}),
    ({"maxUtilization": 0.8}, {"maxUtilization": 0.800000011920929}),
    ({"capacityScaler": 1.0}, {"capacityScaler": 1}),
    ({"capacityScaler": 1.0}, {}),
    ({"mode": "ON"}, {}),
    ({"enable": False}, {}),
    ({"count": 0}, {}),
    ({"names": []}, {}),
    ({"filter": None}, {}),
    ({"filter": None}, {"filter": ""}),
    ({"maxSurge": {"fixed": 3}}, {"maxSurge": {"fixed": 3, "calculated": 3}}),
    ({"maxSurge": {"fixed": 0}}, {"maxSurge": {"calculated": 0}}),
    ({"a": {"b": 1}}, {"a": {"b": 1, "status": "x"}, "id": "7"}),
    ({"list": [{"a": 1}]}, {"list": [{"a": "1", "kind": "x"}]}),
]

OTHER: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (
        {"healthCheck": "global/healthChecks/x"},
        {"healthCheck": "regions/r/healthChecks/x"},
        "healthCheck",
    ),
    ({"mode": "ON"}, {"mode": "OFF"}, "mode"),
    ({"mode": "ONLY_SCALE_OUT"}, {}, "mode"),
    ({"coolDownPeriodSec": 0}, {}, "coolDownPeriodSec"),
    ({"capacityScaler": 1.0}, {"capacityScaler": 0.0}, "capacityScaler"),
    ({"enable": False}, {"enable": True}, "enable"),
    ({"filter": None}, {"filter": "x"}, "filter"),
    ({"maxSurge": {"fixed": 3}}, {"maxSurge": {"percent": 3}}, "maxSurge"),
    ({"maxSurge": {"fixed": 3}}, {"maxSurge": {"fixed": 3, "percent": 10}}, "maxSurge"),
    ({"a": {"b": 1}}, {}, "a.b"),
    ({"list": [{"a": 1}]}, {"list": [{"a": 2}]}, "list[0].a"),
    ({"list": [1]}, {"list": [1, 2]}, "list"),
    ({"list": [1]}, {}, "list"),
    ({"portRange": "80"}, {"portRange": "80-81"}, "portRange"),
]


@pytest.mark.parametrize(("desired", "observed"), SAME)
def test_a_different_spelling_is_no_drift(
    desired: dict[str, Any], observed: dict[str, Any]
) -> None:
    assert differences(desired, observed) == {}


@pytest.mark.parametrize(("desired", "observed", "path"), OTHER)
def test_drift_is_named_by_its_path(
    desired: dict[str, Any], observed: dict[str, Any], path: str
) -> None:
    assert set(differences(desired, observed)) == {path}


def test_omitted_fields_can_be_required_to_be_absent() -> None:
    assert with_absent({"a": 1}, {"a": 2, "b": 3}) == {"a": 1, "b": None}
    assert with_absent({"a": 1}, ("a", "c")) == {"a": 1, "c": None}


def test_a_reason_names_two_changes_and_counts_the_rest() -> None:
    changes = {
        "x.max": (3, 5),
        "x.check": (None, "projects/p/global/healthChecks/h"),
        "c": (1, 2),
        "d": (1, 2),
    }
    assert (
        describe("the autoscaler", changes, {"x.max": "max", "x.check": "check"})
        == "the autoscaler's max is 3 and the release asks for 5; "
        "the autoscaler's check is none and the release asks for global/healthChecks/h (and 2 more)"
    )
