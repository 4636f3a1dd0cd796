"""The demo's stories: three releases of one model each, and how the instances behave. Pure.

Steps, checks and gates are the same as for any release. Only the times are shorter, so that the
demo takes a minute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MODEL = "tiny"
FLOOR = 6
IMAGE = "us-docker.pkg.dev/demo/models/tiny"


@dataclass(frozen=True)
class Scenario:
    """Three releases: their events, how the emulator's instances behave (the first match wins), and
    what the demo promises. `shares` are the percentages of the requests that a release gets, in
    their order; a release without an entry is not checked. Releases in `crashing` crash, and never
    become healthy again, once they get any requests.
    """

    about: str
    speed: float
    releases: Mapping[str, Mapping[str, Any]]
    behaviours: list[dict[str, Any]]
    promises: tuple[Promised, ...]
    shares: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    crashing: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Promised:
    """How a release has to end."""

    version: str
    outcome: str
    text: str
    reason: str | None = None


def _event(version: str, image: str, reason: str, **sections: Any) -> dict[str, Any]:
    """Releases after the first inherit the fields that they omit."""
    artifact = {"image": f"{IMAGE}:{image}"}
    return {"model": MODEL, "version": version, "artifact": artifact, "reason": reason, **sections}


def _first(**rollout: Any) -> dict[str, Any]:
    return _event(
        "1",
        "1",
        "the first release creates the fleet",
        serving={"startup_seconds": 60},
        scaling={"min": FLOOR, "max": 10},
        traffic={"draining_seconds": 15},
        rollout={"bake_seconds": 60, "watch_seconds": 0, **rollout},
    )


ROLLING_SICK = "3-broken"
CREATES = Promised("1", "succeeded", "release 1 creates the fleet")
WELL = {"boot_seconds": 30, "ready_after_seconds": 10, "jitter": 0.2}
FAILING = f"{IMAGE}:failing"
FAILS_LATER = {"image": f"{FAILING}*", **WELL, "unready_after_seconds": 180}
"""What a person can publish to see it taken back: healthy at first, later no more."""

CANARY = Scenario(
    """\
  release 1   creates the fleet
  release 2   is a canary: it gets 5, 50 and 100 % of the requests, and bakes
  release 3   crashes as soon as it gets 5 % of the requests, and all are taken back
""",
    30.0,
    {
        "1": _first(
            strategy="canary",
            steps=[{"weight": weight, "hold_seconds": 10} for weight in (5, 50, 100)],
            bake_seconds=30,
            keep_old_seconds=0,
        ),
        "2": _event("2", "2", "a healthy release takes over by weight"),
        "3": _event("3", "3", "a release that crashes under traffic is taken back"),
    },
    [FAILS_LATER, WELL],
    (
        CREATES,
        Promised("2", "succeeded", "release 2 takes over by weight and bakes"),
        Promised(
            "3",
            "rolled_back",
            "release 3 crashes as a canary and is taken back",
            "unhealthy",
        ),
    ),
    {"2": (5, 50, 100), "3": (5,)},
    {"3"},
)

ROLLING = Scenario(
    """\
  release 1   creates the fleet
  release 2   takes over in steps of 10, 50 and 100 % of the instances, and bakes
  release 3   never becomes healthy and is rolled back
""",
    20.0,
    {
        "1": _first(
            strategy="rolling",
            steps=[{"percent": percent, "hold_seconds": 0} for percent in (10, 50, 100)],
        ),
        "2": _event("2", "2", "a healthy release takes over step by step"),
        "3": _event(
            "3",
            ROLLING_SICK,
            "a release that never becomes healthy is rolled back",
            rollout={"progress_deadline_seconds": 150},
        ),
    },
    [
        {"image": f"*{ROLLING_SICK}*", **WELL, "never_ready": True, "alive_after_seconds": 10},
        FAILS_LATER,
        WELL,
    ],
    (
        CREATES,
        Promised("2", "succeeded", "release 2 takes over step by step and bakes"),
        Promised(
            "3", "rolled_back", "release 3 never becomes healthy and is rolled back", "unhealthy"
        ),
    ),
)

SCENARIOS = {"canary": CANARY, "rolling": ROLLING}
