"""A change widens a policy, or is an error."""

from __future__ import annotations

from typing import Any

import pytest

from rollout.policy.changes import widen

POLICY: dict[str, Any] = {
    "max_instances": 5,
    "max_cost_per_hour": 2.5,
    "machine_types": ["e2-small"],
    "require_digest": True,
}


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ("max_instances=9", "max_instances", 9),
        ("max_cost_per_hour=9.5", "max_cost_per_hour", 9.5),
        ("machine_types=n1-standard-1,e2-small", "machine_types", ["e2-small", "n1-standard-1"]),
        ("hosts=*", "hosts", ["*"]),
        (
            "networks=global/networks/a",
            "networks",
            ["global/networks/default", "global/networks/a"],
        ),
        ("service_accounts=llama", "service_accounts", ["slipway-model", "llama"]),
        ("external_ip=true", "external_ip", True),
        ("require_digest=false", "require_digest", False),
    ],
)
def test_a_change_is_added_to_what_is_allowed(change: str, field: str, value: Any) -> None:
    assert widen(POLICY, [change]) == POLICY | {field: value}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("max_instances=4", "allows less than 5"),
        ("max_instances=many", "must be a number"),
        ("max_accelerators=4", "limits nothing now"),
        ("regions=us-central1", "limits nothing now"),
        ("images=gcr.io/p", "limits nothing now"),
        ("external_ip=false", "allows less"),
        ("hosts", "must be FIELD=VALUE"),
        ("hosts=", "must be FIELD=VALUE"),
        ("host=*", "with a field of max_instances"),
        ("signers=key", "edit others in a file"),
        ("exposure=internal", "exposure must list external or none"),
    ],
)
def test_what_is_no_change_is_an_error(change: str, why: str) -> None:
    with pytest.raises(ValueError, match=why.replace("(", "[(]")) as error:
        widen(POLICY, [change])
    assert change.partition("=")[0] in str(error.value)


def test_all_changes_are_made_or_none() -> None:
    assert widen({}, ["hosts=a.example.com", "hosts=b.example.com", "exposure=external"]) == {
        "hosts": ["a.example.com", "b.example.com"],
        "exposure": ["external"],
    }
    with pytest.raises(ValueError, match="unknown fields misspelt"):
        widen({"misspelt": 1}, ["hosts=*"])
