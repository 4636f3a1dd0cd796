"""A worker crashes at any external write: to the store, to Compute Engine, or to the bus.

The reference run counts the writes. Then the same journey runs once for each of them, with a crash
before the write or right after it took effect. Wherever the crash is, the world ends as it does
without one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from infra.store import outbox
from tests.scenario import Scenario

pytestmark = pytest.mark.wide


class Crash(BaseException):
    """Not an `Exception`: no handler may survive it."""


@dataclass
class CrashPoint:
    """Counts the external writes and crashes at number `at` (0: never), before it or `after` it."""

    at: int = 0
    after: bool = False
    count: int = 0

    def intercept(self, write: Callable[[], Any]) -> Any:
        self.count += 1
        if self.count == self.at and not self.after:
            raise Crash
        answer = write()
        if self.count == self.at and self.after:
            raise Crash
        return answer


def play(crash_point: CrashPoint) -> Scenario:
    """A first release, then a second one."""
    story = Scenario(is_fast=False)
    story.given_crashing_workers(crash_point.intercept, Crash)
    story.when_released(
        "1", scaling={"min": 2, "max": 4}, rollout={"steps": [50, 100], "bake_seconds": 60}
    )
    story.when_minutes_pass(1)  # only redelivery makes up for a crash of the intake
    story.when_settled()
    story.when_released("2")
    story.when_minutes_pass(1)
    story.when_settled()
    return story


def published_ids(story: Scenario) -> set[str]:
    return {attributes["ce-id"] for attributes in story.attributes_on(outbox.STATUS)}


def logged_ids(story: Scenario) -> set[str]:
    return {
        f"tiny-{entry.path.rpartition('/')[2]}"
        for entry in story.store.list("models/tiny/log", 1000)
    }


@cache
def reference() -> tuple[int, Scenario]:
    """How many writes a run without a crash makes, and its world."""
    crash_point = CrashPoint()
    world = play(crash_point)
    return crash_point.count, world


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("share", range(4))
def test_a_crash_at_any_write_changes_nothing_in_the_end(share: int, after: bool) -> None:
    count, world = reference()
    for at in range(1 + share, count + 1, 4):
        story = play(CrashPoint(at, after))
        context = f"crash {'after' if after else 'before'} write {at}:\n{story.history()}"
        assert (story.outcome("1"), story.outcome("2")) == ("succeeded", "succeeded"), context
        assert story.healthy_by_version() == {"2": 2}, context
        assert story.resources() == world.resources(), context
        assert story.autoscaler()["mode"] == "ON", context
        assert story.unsent_messages() == (), context
        assert published_ids(story) == logged_ids(story), context
