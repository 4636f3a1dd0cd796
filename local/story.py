"""The demo's three releases of one model, and how the instances of each behave. Pure.

Steps, checks and gates are the same as for any release. Only the times are shorter, so that the
demo takes a minute.
"""

from __future__ import annotations

from typing import Any

MODEL = "tiny"
FLOOR = 6
IMAGE = "us-docker.pkg.dev/demo/models/tiny"
SICK = "3-broken"

RELEASES: dict[str, dict[str, Any]] = {
    "1": {
        "model": MODEL,
        "version": "1",
        "artifact": {"image": f"{IMAGE}:1"},
        "serving": {"startup_seconds": 60},
        "scaling": {"min": FLOOR, "max": 10},
        "traffic": {"draining_seconds": 15},
        "rollout": {
            "steps": [{"percent": percent, "hold_seconds": 0} for percent in (10, 50, 100)],
            "bake_seconds": 60,
            "watch_seconds": 0,
        },
        "reason": "the first release creates the fleet",
    },
    "2": {
        "model": MODEL,
        "version": "2",
        "artifact": {"image": f"{IMAGE}:2"},
        "reason": "a healthy release takes over step by step",
    },
    "3": {
        "model": MODEL,
        "version": "3",
        "artifact": {"image": f"{IMAGE}:{SICK}"},
        "rollout": {"progress_deadline_seconds": 150},
        "reason": "a release that never becomes healthy is rolled back",
    },
}
"""The events, by version. Releases 2 and 3 inherit the fields that they omit."""

BEHAVIOURS: list[dict[str, Any]] = [
    {
        "image": f"*{SICK}*",
        "boot_seconds": 30,
        "never_ready": True,
        "alive_after_seconds": 10,
        "jitter": 0.2,
    },
    {"boot_seconds": 30, "ready_after_seconds": 10, "jitter": 0.2},
]
"""How the emulator's instances behave; the first match wins. The third release starts, is alive,
and is never ready to serve."""
