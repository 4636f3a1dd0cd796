"""Builders of releases and observed groups for the pure tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from rollout.model import GroupView, Health, Instance, Observed, Problem, Reason, Release
from rollout.spec.message import ReleaseRequested, resolve
from rollout.spec.model import digest
from rollout.spec.steps import DEFAULT_PERCENTS, PercentStep

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def step(percent: int, hold_seconds: int = 0) -> PercentStep:
    return PercentStep(percent=percent, hold_seconds=hold_seconds)


def quick(rollout: Mapping[str, Any]) -> dict[str, Any]:
    """A rollout whose steps hold nothing, and that is not watched, unless it says so."""
    steps = [
        {"percent": each, "hold_seconds": 0} if isinstance(each, int) else each
        for each in rollout.get("steps", DEFAULT_PERCENTS)
    ]
    return {"watch_seconds": 0} | dict(rollout) | {"steps": steps}


def release(version: str, generation: int | None = None, **patch: Any) -> Release:
    sections: dict[str, Any] = {
        "artifact": {"image": f"eu-docker.pkg.dev/p/r/tiny:{version}"}
    } | patch
    sections["rollout"] = quick(sections.get("rollout", {}))
    spec = resolve(ReleaseRequested(model="tiny", version=version, patch=sections), None)
    return Release(
        version,
        digest(spec),
        f"tiny-{version}",
        spec,
        generation or int(version),
        NOON,
        f"event-{version}",
    )


def instances(
    of: Release, count: int, health: Health = "healthy", action: str = "NONE", start: int = 0
) -> tuple[Instance, ...]:
    return tuple(
        Instance(
            f"tiny-{of.version}-{number}", "us-central1-a", of.template, action, "RUNNING", health
        )
        for number in range(start, start + count)
    )


def stuck(of: Release, reason: Reason, message: str) -> Instance:
    """An instance that Compute Engine cannot create."""
    return Instance(
        f"tiny-{of.version}-x",
        "us-central1-a",
        of.template,
        "CREATING",
        "",
        "unknown",
        Problem(reason, "CODE", message),
    )


def group(*members: Instance, **changes: Any) -> Observed:
    """One observed group of these instances; `changes` override the view's other fields."""
    is_settled = all(instance.is_settled for instance in members)
    view = GroupView("blue", "us-central1", len(members), is_settled, members)
    return Observed((replace(view, **changes),))
