"""What Google's APIs answered, or why they did not. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Body = Mapping[str, Any]


@dataclass(frozen=True)
class NoAnswer:
    """Why something was not read. `absent`: it does not exist."""

    kind: Literal["absent", "denied", "failed"]
    why: str


Answer = Body | NoAnswer


@dataclass(frozen=True)
class Reading:
    """All that was read. Measurements are answers of `timeSeries.list`."""

    services: Mapping[str, Answer]
    callers: Mapping[str, Answer]
    """By service: the IAM policy, which says who may call it."""
    database: Answer
    settings: Answer
    fields: Answer
    expiring: Answer
    queue: Answer
    tick: Answer
    used: Answer
    limits: Answer
    oldest: Answer
    undelivered: Answer
    logged: Mapping[str, Answer]
    """By service that writes no documents: answers of `entries.list`."""


def points_of(answer: Body) -> list[tuple[Mapping[str, str], Sequence[float]]]:
    """The labels of each series, of its resource and its metric, and its values, newest first."""
    return [
        (
            {
                **each.get("resource", {}).get("labels", {}),
                **each.get("metric", {}).get("labels", {}),
            },
            [_number(point.get("value", {})) for point in each.get("points", ())],
        )
        for each in answer.get("timeSeries", ())
    ]


def _number(value: Body) -> float:
    return float(value.get("int64Value", value.get("doubleValue", 0)))
