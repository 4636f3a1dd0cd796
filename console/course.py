"""What was predicted of a rollout beside what was observed, from what is stored. Pure.

Shown by `why`, `history` and the dashboard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from console.text import span
from infra.store.documents import read_course
from rollout.course import Course, PhaseTime, Prediction
from rollout.state import ModelState

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Measures:
    """Of a rollout, as predicted or as observed. `seconds`: from its first step to its end, or to
    now. `instances`, `accelerators`, `cost` (an hour): at most; `lowest`: healthy instances at
    least; `seconds_to_roll_back`: at most. None: not known.
    """

    seconds: float
    phases: tuple[PhaseTime, ...]
    instances: int
    accelerators: int
    cost: float | None
    currency: str
    lowest: int | None
    seconds_to_roll_back: int | None


@dataclass(frozen=True)
class Comparison:
    """`predicted` is None if it was not predicted, `actual` if its beginning was not observed."""

    predicted: Measures | None = None
    actual: Measures | None = None
    has_ended: bool = False


def comparison_of(record: Json | None, state: ModelState | None, now: datetime) -> Comparison:
    """Of the last rollout of a release, by its record."""
    if record is None:
        return Comparison()
    generation = record["generation"]
    present = state.course if state else None
    course = present or read_course(record.get("course"))
    if present and present.generation != generation:
        course = read_course(record.get("course"))
    if course is None or course.generation != generation or not course.begun:
        return Comparison()
    ends = (each for each in record.get("attempts", ()) if each["generation"] == generation)
    ended: datetime | None = next((each["at"] for each in ends), None)
    predicted = predicted_measures(course.predicted) if course.predicted else None
    return Comparison(predicted, _actual(course, ended or now), ended is not None)


def predicted_measures(found: Prediction) -> Measures:
    return Measures(
        seconds=sum(each.seconds for each in found.phases),
        phases=found.phases,
        instances=found.instances,
        accelerators=found.accelerators,
        cost=found.cost,
        currency=found.currency,
        lowest=found.lowest,
        seconds_to_roll_back=found.seconds_to_roll_back,
    )


def _actual(course: Course, end: datetime) -> Measures:
    ends = (*(each.at for each in course.begun[1:]), end)
    return Measures(
        seconds=(end - course.begun[0].at).total_seconds(),
        phases=tuple(
            PhaseTime(each.phase, max(0, round((after - each.at).total_seconds())))
            for each, after in zip(course.begun, ends, strict=True)
        ),
        instances=course.instances,
        accelerators=course.accelerators,
        cost=course.cost,
        currency=course.predicted.currency if course.predicted else "",
        lowest=course.lowest,
        seconds_to_roll_back=course.seconds_to_roll_back,
    )


# ---- For people


def comparison_rows(found: Comparison) -> Iterator[tuple[str, str, str]]:
    """What, as predicted, as observed."""
    predicted, actual = found.predicted, found.actual
    expected, took = _by_phase(predicted), _by_phase(actual)
    for phase in dict.fromkeys([*expected, *took]):
        yield phase, _span(expected.get(phase)), _span(took.get(phase))
    total = "in all" if found.has_ended else "until now"
    is_gpu = any(side and side.accelerators for side in (predicted, actual))
    columns = [_totals(side) for side in (predicted, actual)]
    yield total, columns[0][0], columns[1][0]
    names = ("peak", "peak GPUs", "peak cost", "lowest", "way back")
    for name, *cells in zip(names, *(each[1:] for each in columns), strict=True):
        if is_gpu or name != "peak GPUs":
            yield name, cells[0], cells[1]


def _totals(side: Measures | None) -> tuple[str, ...]:
    if side is None:
        return ("-",) * 6
    return (
        _span(side.seconds),
        f"{side.instances} instances",
        str(side.accelerators),
        _cost(side),
        "-" if side.lowest is None else f"{side.lowest} healthy",
        _span(side.seconds_to_roll_back),
    )


def _by_phase(side: Measures | None) -> dict[str, int]:
    return {each.phase: each.seconds for each in side.phases} if side else {}


def short_comparison(found: Comparison) -> str:
    """How long it took and was predicted to take, in one unit: `6/5 min`."""
    if found.actual is None or not found.has_ended:
        return "-"
    times = [found.actual.seconds, *([found.predicted.seconds] if found.predicted else [])]
    size, unit = next(
        (each for each in ((86400, "d"), (3600, "h"), (60, "min")) if max(times) >= 2 * each[0]),
        (1, "s"),
    )
    return "/".join(f"{each / size:.0f}" for each in times) + f" {unit}"


def _span(seconds: float | None) -> str:
    return "-" if seconds is None else span(timedelta(seconds=seconds))


def _cost(side: Measures) -> str:
    return "-" if side.cost is None else f"{side.cost:.2f} {side.currency} an hour"
