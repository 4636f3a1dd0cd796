"""Releases that are judged by what their users get."""

from __future__ import annotations

from typing import Any

import pytest

from tests.requests_sent import SentRequests
from tests.scenario import Scenario

pytestmark = pytest.mark.wide

GATED: dict[str, Any] = {
    "strategy": "canary",
    "steps": [
        {"weight": 5, "hold_seconds": 300},
        {"weight": 25, "hold_seconds": 300},
        {"weight": 100, "hold_seconds": 0},
    ],
    "gates": {"http_errors": {}},
    "bake_seconds": 60,
    "watch_seconds": 0,
    "keep_old_seconds": 0,
}
GREEN = "slipway-tiny-green"
BLUE = "slipway-tiny-blue"


def gated(per_second: float, baseline: float, candidate: float, **rollout: Any) -> Scenario:
    """Release 1 serves with a share of errors, and release 2 begins as a canary with another."""
    story = Scenario()
    sent = SentRequests(story, per_second)
    sent.bad = {BLUE: baseline, GREEN: candidate}
    story.given_serving("1")
    story.when_released("2", rollout=GATED | rollout)
    return story


def test_a_good_release_passes_its_gates() -> None:
    story = gated(100, 0.01, 0.01)
    story.when_settled()
    for e in story.log():
        print(e["at"], e["from"], e["to"], e["why"])
    assert story.outcome("2") == "succeeded"


def test_a_release_with_more_errors_goes_back() -> None:
    story = gated(100, 0.01, 0.03)
    story.when_settled()
    for e in story.log():
        print(e["at"], e["from"], e["to"], e["why"])
    assert story.outcome("2") == "rolled_back"
