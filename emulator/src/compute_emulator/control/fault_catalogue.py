"""Every kind of fault: its effect, and how to cause it by control and in a settings file. `GET
/control` shows it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from compute_emulator.control.faults import KINDS, STALE


@dataclass(frozen=True, slots=True)
class Cause:
    """A fault of the environment rather than of calls, and how to cause it by control and in a
    settings file.
    """

    control: str
    body: dict[str, Any]
    about: str
    member: str = ""

    @property
    def how(self) -> str:
        return f"POST /control{self.control} {json.dumps(self.body)}"

    @property
    def file(self) -> dict[str, Any]:
        """Instances exist only some time after the start, so a file schedules their faults for
        later.
        """
        if not self.member:
            return {"later": [{"after_seconds": 600, "post": self.control, "body": self.body}]}
        listed = self.member in ("behaviours", "traffic")
        return {self.member: [self.body] if listed else self.body}


ENVIRONMENT = {
    "zone_down": Cause(
        "/zones",
        {"us-central1-a": "DOWN"},
        "every VM in a zone is lost, and none can be created until it is up",
        "zones",
    ),
    "zone_unreachable": Cause(
        "/zones",
        {"us-central1-a": "UNREACHABLE"},
        "calls about a zone fail while its VMs keep running",
        "zones",
    ),
    "stock_out": Cause(
        "/stock-outs",
        {"us-central1-a": {}},
        "no VM can be created in a zone, a region or anywhere",
        "stock_outs",
    ),
    "quota": Cause("/quotas", {"CPUS": 24}, "no VM can be created beyond a limit", "quotas"),
    "preemption": Cause("/instances", {"effect": "preempt"}, "Spot VMs are preempted"),
    "host_error": Cause("/instances", {"effect": "stop"}, "VMs stop, whatever their type"),
    "illness": Cause(
        "/instances",
        {"effect": "kill"},
        "apps die (kill) or become unready (unready) while their VMs run",
    ),
    "behaviour": Cause(
        "/behaviours",
        {"template": "v2*", "never_ready": True},
        "how the instances of a release behave",
        "behaviours",
    ),
    "bad_answers": Cause(
        "/traffic",
        {"template": "v2*", "error_rate": 0.1},
        "failed or slow responses to real requests",
        "traffic",
    ),
}


def example(kind: str) -> dict[str, Any]:
    """The smallest fault of a kind that applies to every call it can."""
    needed = {
        STALE: {"versions": 1},
        "latency": {"seconds": 2},
        "operation_latency": {"seconds": 60},
    }
    return {"kind": kind} | needed.get(kind, {})


def listing() -> list[dict[str, Any]]:
    """Every kind of fault: its effect, and how to cause it by control and in a file."""
    of_calls = [
        {
            "fault": kind,
            "how": f"POST /control/faults {json.dumps(example(kind))}",
            "file": {"faults": [example(kind)]},
            "about": about,
        }
        for kind, about in KINDS.items()
    ]
    of_environment = [
        {"fault": name, "how": each.how, "file": each.file, "about": each.about}
        for name, each in ENVIRONMENT.items()
    ]
    return of_calls + of_environment
