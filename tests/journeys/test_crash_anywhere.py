"""A worker dies between any two lines: at every write to the store, every change on Compute Engine,
every publish.

The reference run counts the external writes; then the same story is told once for each of them with
a death before it or right after it took effect. Whatever the moment, the world ends as if nothing
had happened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from infra.store import outbox
from tests.scenario import Scenario

pytestmark = pytest.mark.wide


class Death(BaseException):
    """Not an `Exception`: no handler may survive it."""


@dataclass
class Fate:
    """Counts external writes and ends the worker at one of them: `at` = 0 never, `after` once it
    took effect."""

    at: int = 0
    after: bool = False
    count: int = 0

    def around(self, write: Callable[[], Any]) -> Any:
        self.count += 1
        if self.count == self.at and not self.after:
            raise Death
        answer = write()
        if self.count == self.at and self.after:
            raise Death
        return answer


def tell(fate: Fate) -> Scenario:
    """Provision, then swap."""
    story = Scenario()
    story.given_mortal_workers(fate.around, Death)
    story.when_released(
        "1", scaling={"min": 2, "max": 4}, rollout={"steps": [50, 100], "bake_seconds": 60}
    )
    story.when_minutes_pass(1)  # the death of the intake is mended by redelivery alone
    story.when_settled()
    story.when_released("2")
    story.when_minutes_pass(1)
    story.when_settled()
    return story


def told(story: Scenario) -> set[str]:
    return {attributes["ce-id"] for attributes in story.told_attributes(outbox.STATUS)}


def logged(story: Scenario) -> set[str]:
    return {
        f"tiny-{entry.path.rpartition('/')[2]}"
        for entry in story.store.list("models/tiny/log", 1000)
    }


REFERENCE = Fate()
WORLD = tell(REFERENCE)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("share", range(4))
def test_a_death_at_any_write_changes_nothing_in_the_end(share: int, after: bool) -> None:
    for at in range(1 + share, REFERENCE.count + 1, 4):
        story = tell(Fate(at, after))
        context = f"death {'after' if after else 'before'} write {at}:\n{story.story()}"
        assert (story.outcome("1"), story.outcome("2")) == ("succeeded", "succeeded"), context
        assert story.healthy_by_version() == {"2": 2}, context
        assert story.resources() == WORLD.resources(), context
        assert story.autoscaler()["mode"] == "ON", context
        assert story.leftovers() == (), context
        assert told(story) == logged(story), context
