"""A demo run as data: the log and the instances by minute."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from local.report import Entry, Report, Sample, check_promises, stories
from local.story import CANARY

BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)
FLOOR = 4


def at(minute: float) -> datetime:
    return BEGAN + timedelta(minutes=minute)


def entry(
    minute: float,
    release: str,
    from_: str,
    to: str,
    reason: str | None = None,
    outcome: str | None = None,
) -> Entry:
    return Entry(at(minute), release, from_, to, f"{to} was due", reason, outcome)


def sample(minute: float, healthy: dict[str, int], others: dict[str, int] | None = None) -> Sample:
    """`others` are the instances that are not healthy."""
    others = others or {}
    versions = sorted({*healthy, *others})
    return Sample(
        at(minute),
        {version: healthy.get(version, 0) + others.get(version, 0) for version in versions},
        healthy,
    )


ENTRIES = (
    entry(0, "1", "published", "desired"),
    entry(0.1, "1", "settled", "step_1"),
    entry(2, "1", "step_1", "baking"),
    entry(3, "1", "baking", "succeeded", outcome="succeeded"),
    entry(3.1, "2", "published", "desired"),
    entry(3.2, "2", "settled", "step_1"),
    entry(3.8, "2", "step_1", "step_1"),
    entry(4.5, "2", "step_1", "step_2"),
    entry(6, "2", "step_2", "step_3"),
    entry(7.5, "2", "step_3", "baking"),
    entry(8.5, "2", "baking", "succeeded", outcome="succeeded"),
    entry(8.6, "3", "published", "desired"),
    entry(8.7, "3", "settled", "step_1"),
    entry(11, "3", "step_1", "rolling_back", "unhealthy"),
    entry(11.5, "3", "rolling_back", "rolled_back", "unhealthy", "rolled_back"),
)
SAMPLES = (
    sample(0, {}),
    sample(0.5, {}, {"1": 4}),
    sample(1.5, {"1": 4}),
    sample(3.3, {"1": 4}, {"2": 1}),
    sample(4.2, {"1": 3, "2": 1}, {"1": 1}),
    sample(6.2, {"1": 2, "2": 2}, {"2": 2}),
    sample(7.3, {"2": 4}),
    sample(8.8, {"2": 4}, {"3": 1}),
    sample(11.4, {"2": 4}),
)


CANARY_SAMPLES = tuple(
    Sample(at(minute), {"1": 4, "2": 4}, {"1": 4, "2": 4}, shares)
    for minute, shares in (
        (0.5, {"1": 100.0}),
        (4, {"1": 95.0, "2": 5.0}),
        (5, {"1": 50.0, "2": 50.0}),
        (7, {"2": 100.0}),
        (9, {"2": 95.0, "3": 5.0}),
        (11, {"2": 100.0}),
    )
)
"""Two canaries; the second one is taken back."""


def a_canary_run(samples: tuple[Sample, ...] = CANARY_SAMPLES) -> Report:
    return replace(a_run(samples=samples), scenario=CANARY)


def a_run(entries: tuple[Entry, ...] = ENTRIES, samples: tuple[Sample, ...] = SAMPLES) -> Report:
    return Report(
        "emulators", "tiny", 20.0, FLOOR, stories(entries), samples, {"compute.urlMaps.get": 7}
    )


def differing(report: Report) -> list[str]:
    return [promise.differs for promise in check_promises(report) if promise.differs]
