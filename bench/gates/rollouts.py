"""Rolls a simulated release out by the steps of `strategy: canary`, minute by minute, until a rule
has decided. Capacity is there at once, and every instance is healthy: only the numbers decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from bench.gates.releases import SimulatedRelease
from bench.gates.traffic import PROPAGATION, Minute, Traffic
from rollout.spec.steps import DEFAULT_WEIGHTS

BAKE_SECONDS = 300
SHORTEST = sum(PROPAGATION + hold // 60 for _, hold in DEFAULT_WEIGHTS) + BAKE_SECONDS // 60
"""Minutes of a rollout that nothing delays."""

Answer = Literal["go on", "stay", "roll back", "ask"]


@dataclass(frozen=True)
class Moment:
    """What a rule gets once a minute. `step`: its number, that of the bake after the last.
    `routed`: the minute from which its weight is in the route. `due`: whether its hold is over.
    `minutes`: by gate, all that have been measured.
    """

    step: int
    weight: float
    routed: int
    now: int
    due: bool
    minutes: Sequence[Mapping[str, Minute]]

    @property
    def of_step(self) -> Sequence[Mapping[str, Minute]]:
        """The minutes with the weight of this step."""
        return self.minutes[self.routed + PROPAGATION :]


class Rule(Protocol):
    def answer(self, moment: Moment) -> Answer: ...


@dataclass(frozen=True)
class Outcome:
    """`minutes`: what each step took, without its propagation."""

    end: Literal["promoted", "rolled back", "left"]
    weight: float
    minutes: tuple[int, ...]
    total: int


def roll_out(
    release: SimulatedRelease,
    rule: Rule,
    seed: str,
    *,
    requests_per_second: float = 100,
    delay: int = 1,
) -> Outcome:
    """`delay`: minutes until the source of metrics has the numbers of a minute."""
    traffic = Traffic(release, requests_per_second, seed)
    spent: list[int] = []
    for number, (weight, hold) in enumerate((*DEFAULT_WEIGHTS, (100, BAKE_SECONDS))):
        is_bake = number == len(DEFAULT_WEIGHTS)
        routed = len(traffic.minutes)
        if not is_bake:
            traffic.route(weight)
        began = routed if is_bake else routed + PROPAGATION
        while True:
            traffic.advance()
            now = len(traffic.minutes)
            due = now - began >= hold // 60
            measured = traffic.minutes[: max(0, now - delay)]
            answer = rule.answer(Moment(number, weight, routed, now, due, measured))
            if answer in ("roll back", "ask"):
                end: Literal["rolled back", "left"] = (
                    "rolled back" if answer == "roll back" else "left"
                )
                return Outcome(end, weight, (*spent, now - began), now)
            if answer == "go on" and due:
                break
        spent.append(now - began)
    return Outcome("promoted", 100, tuple(spent), len(traffic.minutes))
