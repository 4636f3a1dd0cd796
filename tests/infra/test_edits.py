"""Who edited the URL map, according to the operations of the project."""

from __future__ import annotations

from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

import pytest

from infra.fleet.edits import edited_by
from tests.rollout.build import NOON, at

LINK = "https://www.googleapis.com/compute/v1/projects/demo/global/urlMaps/"


def operation(user: str = "ann@example.com", seconds: float = 60, **fields: Any) -> dict[str, Any]:
    found = {"user": user, "targetLink": f"{LINK}slipway-gateway"}
    return found | {"insertTime": at(seconds).isoformat()} | fields


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, "ann@example.com at 2026-01-01T12:01:00Z"),
        ({"clientOperationId": str(uuid4())}, "ann@example.com at 2026-01-01T12:01:00Z"),
        ({"clientOperationId": str(uuid5(NAMESPACE_URL, "ours"))}, ""),
        ({"targetLink": f"{LINK}other"}, ""),
        ({"seconds": -1}, ""),
        ({"user": ""}, ""),
    ],
)
def test_an_operation_says_who_edited_the_map(fields: dict[str, Any], found: str) -> None:
    assert edited_by([operation(**fields)], NOON) == found


def test_the_latest_edit_counts() -> None:
    assert edited_by([operation("bob", 90), operation("ann")], NOON).startswith("bob at ")
