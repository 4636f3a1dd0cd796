"""Draws from a seed what happens to each delivery between Pub/Sub and a function. Pure.

A schedule is the list of fates of one model's messages: the n-th delivery of a message about a
model on a topic has the same fate in every run with that seed. After `LAST` deliveries no more
faults occur, so that a run must converge.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

Kind = Literal[
    "well",
    "lost",
    "refused",
    "late",
    "overtaken",
    "ack lost",
    "doubled",
    "repeated",
    "killed",
    "frozen",
]
Envelope = Literal["binary", "structured", "push"]

LAST = 20
GOOGLES_DEADLINE_SECONDS = 10  # the shortest that Pub/Sub allows
HINTS: dict[Kind, int] = {
    "well": 40,
    "lost": 6,
    "refused": 6,
    "late": 8,
    "overtaken": 8,
    "ack lost": 8,
    "doubled": 8,
    "repeated": 6,
    "killed": 8,
    "frozen": 2,
}
# Pub/Sub loses no release; it may drop a wake-up after its retention time.
RECORDS: dict[Kind, int] = HINTS | {"lost": 0}
ENVELOPES: tuple[Envelope, ...] = ("binary", "binary", "structured", "push")
SECONDS: dict[Kind, tuple[float, float]] = {
    "late": (0.2, 3.0),
    "overtaken": (2.0, 2.0),
    "doubled": (0.0, 0.3),
    "repeated": (0.5, 4.0),
    "killed": (0.0, 0.8),
    "frozen": (0.0, 0.2),
}
# A pass takes about a second, an intake a tenth of one.
RECORDS_SECONDS = SECONDS | {"killed": (0.0, 0.1)}


@dataclass(frozen=True)
class Fate:
    """`seconds` are real: the delay, or the time into the work. `is_hasty`: the ack deadline is
    the shortest possible, in the stack's time, so that a pass takes longer.
    """

    kind: Kind
    seconds: float
    envelope: Envelope
    is_hasty: bool


WELL = Fate("well", 0.0, "push", False)


def fate(seed: int, topic: str, model: str, number: int) -> Fate:
    """The fate of the delivery with that number, from 1, about the model on the topic."""
    chance = Random(f"{seed} {topic} {model} {number}")
    envelope = chance.choice(ENVELOPES)
    if number > LAST:
        return Fate("well", 0.0, envelope, False)
    weights, seconds = (HINTS, SECONDS) if topic.endswith("wakeups") else (RECORDS, RECORDS_SECONDS)
    kind = chance.choices(tuple(weights), tuple(weights.values()))[0]
    return Fate(
        kind, chance.uniform(*seconds.get(kind, (0.0, 0.0))), envelope, chance.random() < 0.5
    )
