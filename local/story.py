"""The story that the demo tells: three releases of one model, and how the instances of each behave.
Pure.

Steps, checks and gates are those of any release; only the times are short ones, so that the whole
story fits in a minute."""

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
        "rollout": {"steps": [10, 50, 100], "bake_seconds": 60},
        "reason": "the first release makes the fleet from nothing",
    },
    "2": {
        "model": MODEL,
        "version": "2",
        "artifact": {"image": f"{IMAGE}:2"},
        "reason": "a good release takes over step by step",
    },
    "3": {
        "model": MODEL,
        "version": "3",
        "artifact": {"image": f"{IMAGE}:{SICK}"},
        "rollout": {"progress_deadline_seconds": 150},
        "reason": "a release that never gets healthy goes back by itself",
    },
}
"""What is published, by version. What releases 2 and 3 leave out they inherit."""

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
"""How the stand-in lets instances behave, the first match wins: the third release runs, answers,
and is never ready to serve."""
