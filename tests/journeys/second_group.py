"""What journeys of strategies with a second group share: where requests go, in every second."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from compute_emulator import route
from tests.scenario import Scenario

STEPS = [
    {"weight": 5, "hold_seconds": 120},
    {"weight": 50, "hold_seconds": 120},
    {"weight": 100, "hold_seconds": 0},
]
CANARY: dict[str, Any] = {
    "strategy": "canary",
    "steps": STEPS,
    "bake_seconds": 300,
    "watch_seconds": 600,
    "keep_old_seconds": 600,
}
BLUE_GREEN: dict[str, Any] = {
    "strategy": "blue_green",
    "steps": [{"preview": True, "hold_seconds": 120}, {"weight": 100, "hold_seconds": 60}],
    "bake_seconds": 300,
    "watch_seconds": 600,
    "keep_old_seconds": 600,
}
Weights = dict[str, int]


def routed(
    story: Scenario, headers: dict[str, str] | None = None, host: str = "any", model: str = "tiny"
) -> Weights:
    """How the URL map splits requests for the model, by colour, of 1000."""
    found = route(story.url_map(), f"{host}.example.com", f"/{model}/v1", headers).weights
    whole = sum(weight for _, weight in found)
    return {url.rsplit("-", 1)[-1]: weight * 1000 // whole for url, weight in found}


def weights(story: Scenario) -> Weights:
    """The weights of the model's route by colour."""
    return routed(story)


def mirrored(story: Scenario) -> float:
    """The percentage of requests that are copied."""
    action = route(story.url_map(), "any.example.com", "/tiny/v1").action
    return float((action.get("requestMirrorPolicy") or {}).get("mirrorPercent", 0))


@dataclass(frozen=True)
class Second:
    """What is true at one moment: the weights, and how many instances are healthy where."""

    at: datetime
    weights: Weights
    healthy: dict[str, int]


class Watch:
    """What was true in every second."""

    def __init__(self, story: Scenario) -> None:
        self.story = story
        self.seconds: list[Second] = []
        story.given_watcher(self.look)

    def look(self) -> None:
        healthy = {"blue": 0, "green": 0}
        for instance in self.story.instances():
            colour = "green" if "-green-" in instance.name else "blue"
            healthy[colour] += instance.healthy
        self.seconds.append(Second(self.story.clock.now(), weights(self.story), healthy))

    @property
    def course(self) -> list[Second]:
        """The moments at which the weights changed."""
        self.look()
        return [
            second
            for number, second in enumerate(self.seconds)
            if not number or self.seconds[number - 1].weights != second.weights
        ]

    def spans(self) -> list[tuple[Weights, float]]:
        """For how many seconds each weights lasted."""
        course = self.course
        return [
            (first.weights, (following.at - first.at).total_seconds())
            for first, following in pairwise(course)
        ]


def leftovers(story: Scenario, colour: str) -> set[str]:
    return {name for name in story.resources() if f"-{colour}" in name}
