"""Why instances were lost, according to the operations of their zones."""

from __future__ import annotations

from typing import Any

import pytest

from infra.fleet.losses import OPERATIONS_FILTER, explain
from rollout.model import Instance
from tests.rollout.build import NOON, at

LOST = (Instance("tiny-a", "us-central1-a", "tiny-2", "RECREATING", "", "unknown"),)
LINK = "https://www.googleapis.com/compute/v1/projects/demo/zones/us-central1-a/instances/"
REPAIR = "compute.instances.repair.recreateInstance"


def operation(kind: str, seconds: float = 60, **fields: Any) -> dict[str, Any]:
    found = {"operationType": kind, "targetLink": f"{LINK}tiny-a"}
    return found | {"insertTime": at(seconds).isoformat()} | fields


@pytest.mark.parametrize(
    ("kind", "fields", "owner"),
    [
        ("compute.instances.preempted", {}, "environment"),
        ("compute.instances.hostError", {}, "environment"),
        ("delete", {"user": "ann@example.com"}, "environment"),
        ("stop", {}, "environment"),
        ("compute.instances.guestTerminate", {}, "release"),
        # What the group does after a VM has gone explains nothing.
        ("delete", {"user": "1@cloudservices.gserviceaccount.com"}, None),
        (REPAIR, {"statusMessage": "… instance should be RUNNING, but is STOPPING"}, None),
        (REPAIR, {"statusMessage": "… is VERIFYING, but health status is TIMEOUT."}, "release"),
        ("compute.instances.preempted", {"targetLink": f"{LINK}other"}, None),
        ("compute.instances.preempted", {"insertTime": at(-1).isoformat()}, None),
        ("insert", {}, None),
    ],
)
def test_an_operation_says_whose_loss_it_was(
    kind: str, fields: dict[str, Any], owner: str | None
) -> None:
    losses = explain(LOST, [operation(kind, **fields)], NOON)
    assert [loss.owner for loss in losses] == ([owner] if owner else [])


def test_the_latest_operation_of_an_instance_counts() -> None:
    unhealthy = operation(REPAIR, 90, statusMessage="health status is UNHEALTHY")
    by_group = operation("delete", 91, user="1@cloudservices.gserviceaccount.com")
    operations = [by_group, unhealthy, operation("compute.instances.preempted")]
    [loss] = explain(LOST, operations, NOON)
    assert loss.owner == "release"
    assert loss.why == "instance tiny-a was replaced: health status is UNHEALTHY"


def test_a_vm_that_shuts_itself_down_because_it_is_taken_was_taken() -> None:
    taken, stopped = (
        operation(f"compute.instances.{kind}", seconds)
        for kind, seconds in (("preempted", 60), ("guestTerminate", 61))
    )
    [loss] = explain(LOST, [stopped, taken], NOON)
    assert loss.owner == "environment"


def test_the_filter_names_every_kind() -> None:
    assert '(operationType = "compute.instances.preempted") OR ' in OPERATIONS_FILTER
    assert f'(operationType = "{REPAIR}")' in OPERATIONS_FILTER
