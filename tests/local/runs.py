"""A run as the demo would have seen it, made by hand: minutes and counts instead of a stack."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from local.report import Entry, Report, Sample, kept_promises, stories

BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)
FLOOR = 4


def at(minute: float) -> datetime:
    return BEGAN + timedelta(minutes=minute)


def told(
    minute: float,
    release: str,
    from_: str,
    to: str,
    reason: str | None = None,
    outcome: str | None = None,
) -> Entry:
    return Entry(at(minute), release, from_, to, f"{to} was due", reason, outcome)


def seen(minute: float, healthy: dict[str, int], others: dict[str, int] | None = None) -> Sample:
    """`others` are the instances that are there and not healthy."""
    others = others or {}
    versions = sorted({*healthy, *others})
    return Sample(
        at(minute),
        {version: healthy.get(version, 0) + others.get(version, 0) for version in versions},
        healthy,
    )


ENTRIES = (
    told(0, "1", "published", "desired"),
    told(0.1, "1", "settled", "step_1"),
    told(2, "1", "step_1", "baking"),
    told(3, "1", "baking", "succeeded", outcome="succeeded"),
    told(3.1, "2", "published", "desired"),
    told(3.2, "2", "settled", "step_1"),
    told(4.5, "2", "step_1", "step_2"),
    told(6, "2", "step_2", "step_3"),
    told(7.5, "2", "step_3", "baking"),
    told(8.5, "2", "baking", "succeeded", outcome="succeeded"),
    told(8.6, "3", "published", "desired"),
    told(8.7, "3", "settled", "step_1"),
    told(11, "3", "step_1", "rolling_back", "unhealthy"),
    told(11.5, "3", "rolling_back", "rolled_back", "unhealthy", "rolled_back"),
)
SAMPLES = (
    seen(0, {}),
    seen(0.5, {}, {"1": 4}),
    seen(1.5, {"1": 4}),
    seen(3.3, {"1": 4}, {"2": 1}),
    seen(4.2, {"1": 3, "2": 1}, {"1": 1}),
    seen(6.2, {"1": 2, "2": 2}, {"2": 2}),
    seen(7.3, {"2": 4}),
    seen(8.8, {"2": 4}, {"3": 1}),
    seen(11.4, {"2": 4}),
)


def a_run(entries: tuple[Entry, ...] = ENTRIES, samples: tuple[Sample, ...] = SAMPLES) -> Report:
    return Report(
        "emulators", "tiny", 20.0, FLOOR, stories(entries), samples, {"compute.urlMaps.get": 7}
    )


def differing(report: Report) -> list[str]:
    return [promise.differs for promise in kept_promises(report) if promise.differs]
