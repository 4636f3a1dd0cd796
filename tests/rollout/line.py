"""A model to which intents are delivered in any order, with or without passes in between, in a
world where every instance is healthy at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Literal, get_args

from rollout.accept import accept
from rollout.advance import advance
from rollout.model import (
    Desired,
    Evidence,
    GroupTarget,
    GroupView,
    Intent,
    Observed,
    Release,
    Rollout,
    Target,
    Verb,
)
from tests.rollout.build import at, group, instances
from tests.rollout.build import release as built

ONE, TWO = replace(built("1"), released_at=at(-200)), replace(built("2"), released_at=at(-100))
SERVING = Rollout(stable=TWO, previous=ONE, serving_group="blue")
VERBS: dict[str, Verb | Literal["release"]] = {verb: verb for verb in ("release", *get_args(Verb))}


@dataclass(frozen=True)
class End:
    """The release that should serve, whether it is paused, and the one that serves."""

    desired: str | None
    is_paused: bool
    serves: str | None


def line(names: Iterable[str], seconds_apart: float = 2) -> tuple[Intent, ...]:
    """The intents with these names, in order: `release`, `rollback 1`, `promote full`, or another
    verb.
    """
    return tuple(
        intent(name, number + 3, at(number * seconds_apart)) for number, name in enumerate(names)
    )


def intent(name: str, number: int, published_at: datetime) -> Intent:
    verb, _, rest = name.partition(" ")
    is_full = rest == "full"
    named = str(number) if verb == "release" else "" if is_full else rest
    event_id = f"event-{number}"
    return Intent(VERBS[verb], event_id, published_at, published_at, named, is_full=is_full)


@cache
def _built(version: str) -> Release:
    return built(version)


class Model:
    def __init__(self, rollout: Rollout = SERVING) -> None:
        stable = rollout.stable
        self.rollout = rollout
        self.desired = Desired("tiny", stable, stable.generation if stable else 0)
        self.now = at(10)
        self.observed = Observed()

    def deliver(self, intent: Intent) -> None:
        release, goal, generation = None, None, 0
        if intent.verb in ("release", "rollback"):
            generation = self.desired.generation + 1
        if intent.verb == "release":
            release = replace(
                _built(intent.version),
                generation=generation,
                released_at=intent.published_at,
                event_id=intent.event_id,
            )
        elif intent.verb == "rollback":
            goal = {"": self.rollout.previous, "1": ONE, "2": TWO}[intent.version]
        intent = replace(intent, generation=generation, goal=goal)
        change = accept(self.rollout, self.desired, intent, self.now, release)
        assert change.transitions
        self.rollout, self.desired = change.rollout, change.desired

    def run_passes(self, count: int, seconds_apart: float = 0) -> None:
        for _ in range(count):
            self.now += timedelta(seconds=seconds_apart)
            decision = advance(self.rollout, self.desired, self.observed, Evidence(), self.now)
            self.rollout, self.desired = decision.rollout, decision.desired
            self.observed = _observed(decision.target)
            if decision.requeue_at is None:
                break

    def end(self) -> End:
        """The end, after as much time as every rollout needs."""
        self.run_passes(100, 120)
        stable, goal = self.rollout.stable, self.desired.release
        is_paused = bool(self.rollout.paused or self.desired.paused)
        assert is_paused or goal == stable, self.rollout
        return End(goal.version if goal else None, is_paused, stable.version if stable else None)


def _observed(target: Target) -> Observed:
    return Observed(tuple(_view(each) for each in target.groups))


def _view(target: GroupTarget) -> GroupView:
    size = max(4, target.min)
    counted = sum(share.count or 0 for share in target.shares)
    members = tuple(
        instance
        for share in target.shares
        for instance in instances(
            share.release, size - counted if share.count is None else share.count
        )
    )
    [view] = group(*members).groups
    return replace(view, colour=target.colour)
