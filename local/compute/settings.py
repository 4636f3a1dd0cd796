"""Settings by file (`--config`): a JSON object that says at the start what the controls say while it runs.

    {"behaviours": [...], "traffic": [...], "load": {...}, "stock_outs": {...}, "quotas": {...}, "faults": [...],
     "zones": {"us-central1-a": "DOWN"}, "operation_seconds": 2, "operation_seconds_by_method": {...},
     "later": [{"after_seconds": 600, "post": "/instances", "body": {"effect": "preempt", "most": 2}}]}

Each member takes what the control of its name takes by PUT, `zones` and `later` what theirs take by POST.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.compute import later, outages
from local.compute.cloud import Cloud
from local.compute.faults import Fault
from local.compute.traffic.profile import check_entries

MAPS = ("load", "stock_outs", "quotas")


def configure(cloud: Cloud, settings: Mapping[str, Any]) -> None:
    """Raises ValueError naming a member that is none."""
    for name, given in settings.items():
        match name, given:
            case "behaviours", list():
                cloud.set_behaviours(given)
            case "traffic", list():
                check_entries(given)
                cloud.traffic = list(given)
            case member, dict() if member in MAPS:
                getattr(cloud, member).update(given)
            case "faults", list():
                cloud.faults.active += [Fault.read(each) for each in given]
            case "operation_seconds", int() | float():
                cloud.operations.seconds = float(given)
            case "operation_seconds_by_method", dict():
                cloud.operations.seconds_by_method.update(given)
            case _:
                _of_the_world(cloud, name, given)


def _of_the_world(cloud: Cloud, name: str, given: Any) -> None:
    match name, given:
        case "zones", dict():
            outages.set_states(cloud, given)
        case "later", list():
            for each in given:
                later.plan(cloud, each)
        case _:
            raise ValueError(f"{name}: unknown, or of a wrong type")
