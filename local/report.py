"""What a demo run showed, as values: the releases' ways, the instances over time, and whether what
was promised is true.

Made by `local/demo.py` from what it saw, written as `demo-report.json`, drawn by
`local/picture.py`. Pure. All instants are those of the run's own clock, which may be faster than
the real one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

LOOKS = (
    "get",
    "list",
    "aggregatedList",
    "wait",
)  # how the names of methods begin that change nothing
PHASES = ("desired", "baking", "rolling_back", "retiring")  # beside step_1, step_2, ...


@dataclass(frozen=True)
class Entry:
    """One decision of the model's log."""

    at: datetime
    release: str
    from_: str
    to: str
    why: str
    reason: str | None = None
    outcome: str | None = None


@dataclass(frozen=True)
class Phase:
    """`ended` is None while the release is in it."""

    name: str
    began: datetime
    ended: datetime | None
    why: str


@dataclass(frozen=True)
class Story:
    """The way of one release so far. `outcome` is empty until it has ended."""

    version: str
    phases: tuple[Phase, ...] = ()
    outcome: str = ""
    reason: str | None = None
    why: str = ""

    @property
    def phase(self) -> str:
        return self.phases[-1].name if self.phases and not self.outcome else ""


@dataclass(frozen=True)
class Sample:
    """The instances by version at one moment: all there are, and those that are healthy by the
    balancer's own verdict."""

    at: datetime
    by_version: Mapping[str, int]
    healthy: Mapping[str, int]

    @property
    def serving(self) -> int:
        return sum(self.healthy.values())


@dataclass(frozen=True)
class Promise:
    """What should be true at the end, and what was found instead where it is not."""

    text: str
    differs: str = ""


@dataclass(frozen=True)
class Report:
    backend: str
    model: str
    speed: float
    floor: int
    releases: tuple[Story, ...]
    instances: tuple[Sample, ...]
    calls: Mapping[str, int] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    promises: tuple[Promise, ...] = ()
    real_seconds: float = 0.0


def stories(entries: Iterable[Entry]) -> tuple[Story, ...]:
    """The releases' ways as the log tells them, in the order in which they were first spoken of."""
    found: dict[str, Story] = {}
    for entry in entries:
        found[entry.release] = _told(found.get(entry.release, Story(entry.release)), entry)
    return tuple(found.values())


def _told(story: Story, entry: Entry) -> Story:
    if entry.outcome:
        ended = _ended(story.phases, entry.at)
        return Story(story.version, ended, entry.outcome, entry.reason, entry.why)
    if entry.to in PHASES or entry.to.startswith("step_"):
        phases = (*_ended(story.phases, entry.at), Phase(entry.to, entry.at, None, entry.why))
        return Story(story.version, phases, "", entry.reason, entry.why)
    return story


def _ended(phases: tuple[Phase, ...], at: datetime) -> tuple[Phase, ...]:
    return tuple(
        phase if phase.ended else Phase(phase.name, phase.began, at, phase.why) for phase in phases
    )


def with_sample(samples: tuple[Sample, ...], sample: Sample) -> tuple[Sample, ...]:
    """The samples with one more, if anything changed: between two of them the world was as the
    first says."""
    last = samples[-1] if samples else None
    same = last and (last.by_version, last.healthy) == (sample.by_version, sample.healthy)
    return samples if same else (*samples, sample)


def changes(calls: Mapping[str, int]) -> int:
    """How many calls changed something; the others looked or waited."""
    return sum(
        count for method, count in calls.items() if not method.rpartition(".")[2].startswith(LOOKS)
    )


def kept_promises(report: Report) -> tuple[Promise, ...]:
    """What the demo promises of its three releases, each with how the world differs from it, if it
    does."""
    told = {story.version: story for story in report.releases}
    return (
        _outcome(told, "1", "succeeded", "release 1 makes the fleet from nothing"),
        _outcome(told, "2", "succeeded", "release 2 takes over step by step and bakes"),
        _outcome(
            told,
            "3",
            "rolled_back",
            "release 3 never gets healthy and goes back by itself",
            "unhealthy",
        ),
        _all_on("2", report),
        _floor_kept(told, report),
    )


def _outcome(
    told: Mapping[str, Story], version: str, outcome: str, text: str, reason: str | None = None
) -> Promise:
    story = told.get(version)
    if story is None:
        return Promise(text, f"nothing was heard of release {version}")
    if not story.outcome:
        return Promise(
            text,
            f"release {version} has not ended; it is in {story.phase or 'no phase'}: {story.why}",
        )
    if (story.outcome, reason and story.reason) != (outcome, reason):
        given = f" ({story.reason})" if story.reason else ""
        return Promise(text, f"release {version} {story.outcome}{given}: {story.why}")
    return Promise(text)


def _all_on(version: str, report: Report) -> Promise:
    text = f"at the end all instances run release {version} and are healthy"
    if not report.instances:
        return Promise(text, "no instance was ever seen")
    last = report.instances[-1]
    if set(last.by_version) == {version} and last.by_version == last.healthy:
        return Promise(text)
    return Promise(
        text, f"there are {_counted(last.by_version)}; healthy are {_counted(last.healthy)}"
    )


def _floor_kept(told: Mapping[str, Story], report: Report) -> Promise:
    """The floor holds from the moment the first release stood. Until then there is nothing to
    swap."""
    text = f"never fewer than {report.floor} healthy instances while releases are swapped"
    first = told.get("1")
    stood = (
        first.phases[-1].ended if first and first.outcome == "succeeded" and first.phases else None
    )
    if stood is None:
        return Promise(text, "release 1 never stood")
    before = [sample for sample in report.instances if sample.at <= stood][-1:]
    lowest = min(
        (*before, *(s for s in report.instances if s.at > stood)),
        key=lambda sample: sample.serving,
        default=None,
    )
    if lowest and lowest.serving >= report.floor:
        return Promise(text)
    return Promise(
        text, f"{lowest.serving} at {lowest.at:%H:%M:%S}" if lowest else "no instance was ever seen"
    )


def _counted(by_version: Mapping[str, int]) -> str:
    return (
        ", ".join(f"{count} of release {version}" for version, count in sorted(by_version.items()))
        or "none"
    )


def to_json(report: Report) -> dict[str, Any]:
    """The report as it is written to `demo-report.json`."""
    return {
        "backend": report.backend,
        "model": report.model,
        "speed": report.speed,
        "floor": report.floor,
        "real_seconds": round(report.real_seconds, 1),
        "promises": [
            {"promise": promise.text, "kept": not promise.differs, "differs": promise.differs}
            for promise in report.promises
        ],
        "releases": [_story_json(story) for story in report.releases],
        "instances": [
            {
                "at": _iso(s.at),
                "by_version": dict(sorted(s.by_version.items())),
                "healthy": dict(sorted(s.healthy.items())),
            }
            for s in report.instances
        ],
        "calls": dict(sorted(report.calls.items())),
        "outputs": dict(sorted(report.outputs.items())),
    }


def _story_json(story: Story) -> dict[str, Any]:
    phases = [
        {
            "phase": phase.name,
            "began": _iso(phase.began),
            "ended": _iso(phase.ended),
            "why": phase.why,
        }
        for phase in story.phases
    ]
    return {
        "version": story.version,
        "outcome": story.outcome,
        "reason": story.reason,
        "why": story.why,
        "phases": phases,
    }


def _iso(at: datetime | None) -> str | None:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else None
