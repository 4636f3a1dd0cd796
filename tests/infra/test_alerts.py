"""What Cloud Monitoring publishes about an incident, and whatever else arrives on the topic."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from infra.bus.alerts import parse_alert
from infra.bus.envelope import Unreadable
from rollout.alerts import Alert

NOTIFICATION: dict[str, Any] = {
    "version": "1.2",
    "incident": {
        "incident_id": "0.opqiw61fsv7p",
        "scoping_project_id": "demo",
        "scoping_project_number": 123456789012,
        "url": "https://console.cloud.google.com/monitoring/alerting/alerts/0.opqiw61fsv7p",
        "started_at": 1767268800,
        "ended_at": None,
        "state": "open",
        "severity": "Critical",
        "resource_id": "",
        "resource_name": "demo tiny",
        "resource_display_name": "tiny",
        "resource_type_display_name": "VM Instance",
        "resource": {"type": "gce_instance", "labels": {"project_id": "demo"}},
        "metric": {"type": "custom.googleapis.com/errors", "displayName": "errors", "labels": {}},
        "metadata": {"system_labels": {}, "user_labels": {}},
        "policy_name": "tiny: error budget",
        "policy_user_labels": {"team": "serving"},
        "condition_name": "burn rate",
        "threshold_value": "14.4",
        "observed_value": "20.000",
        "condition": {
            "name": "projects/demo/alertPolicies/1234567890123456789/conditions/987",
            "displayName": "burn rate",
            "conditionThreshold": {"filter": "x", "comparison": "COMPARISON_GT", "duration": "0s"},
        },
        "documentation": {"content": "Read the runbook.", "mime_type": "text/markdown"},
        "summary": "errors for demo tiny is above the\nthreshold of 14.400.",
    },
}


def notification(**changes: Any) -> bytes:
    return json.dumps(NOTIFICATION | {"incident": NOTIFICATION["incident"] | changes}).encode()


def parsed(data: bytes) -> Alert:
    found = parse_alert(data)
    assert found
    return found


def test_the_documented_notification_is_read() -> None:
    assert parse_alert(notification()) == Alert(
        incident="0.opqiw61fsv7p",
        policy="tiny: error budget",
        policy_id="1234567890123456789",
        is_open=True,
        started_at=datetime(2026, 1, 1, 12, tzinfo=UTC),
        summary="errors for demo tiny is above the threshold of 14.400.",
        url="https://console.cloud.google.com/monitoring/alerting/alerts/0.opqiw61fsv7p",
    )


@pytest.mark.parametrize(("state", "is_open"), [("open", True), ("OPEN", True), ("closed", False)])
def test_the_state_says_whether_the_incident_is_open(state: str, is_open: bool) -> None:
    assert parsed(notification(state=state, ended_at=1767268900)).is_open == is_open


@pytest.mark.parametrize(
    "condition", [None, "burn", {}, {"name": None}, {"name": "projects/p/conditions/1"}]
)
def test_the_id_of_the_policy_may_be_missing(condition: Any) -> None:
    assert parsed(notification(condition=condition)).policy_id == ""


def test_what_is_only_for_people_may_be_missing_and_is_made_one_line() -> None:
    alert = parsed(notification(summary=None, url=["x"]))
    assert (alert.summary, alert.url) == ("", "")
    summary = parsed(notification(summary="a\x00\u202eb\n\tc" + "!" * 1000)).summary
    assert summary.startswith("a\\x00\\u202eb c!!!")
    assert (len(summary), summary[-2:]) == (512, "!…")


def test_a_test_of_the_channel_is_no_incident() -> None:
    """What the console's "Send test notification" publishes."""
    test = {"incident_id": "12345", "started_at": 0, "ended_at": 0, "state": "OPEN"}
    assert parse_alert(json.dumps({"version": "test", "incident": test}).encode()) is None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "must be JSON"),
        (b"\xff", "must be UTF-8"),
        (b"[" * 100_000, "nested too deep"),
        (b"{}", "there is no incident"),
        (b"[]", "there is no incident"),
        (b'{"incident": []}', "there is no incident"),
        (json.dumps(NOTIFICATION | {"version": "2.0"}).encode(), "version must be 1.2"),
        (json.dumps(NOTIFICATION | {"version": 1.2}).encode(), "version must be 1.2"),
        (notification()[:-1] + b', "version": "1.2"}', "must not repeat a name"),
        (notification(state="acknowledged"), "incident.state must be open or closed"),
        (notification(state=None), "incident.state"),
        (notification(incident_id=""), "incident.incident_id"),
        (notification(incident_id=7), "incident.incident_id"),
        (notification(policy_name="a\nb"), "incident.policy_name"),
        (notification(policy_name="x" * 513), "incident.policy_name"),
        (notification(started_at="2026-01-01"), "incident.started_at must be Unix time"),
        (notification(started_at=None), "incident.started_at"),
        (notification(started_at=True), "incident.started_at"),
        (notification(started_at=-1), "incident.started_at"),
        (notification(started_at=10**17), "incident.started_at"),
        (notification(started_at=1e300), "incident.started_at"),
    ],
)
def test_anything_else_is_unreadable_and_says_why(data: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match="not a notification of Cloud Monitoring") as error:
        parse_alert(data)
    assert why in str(error.value)
    assert error.value.raw == data[: len(error.value.raw)]
