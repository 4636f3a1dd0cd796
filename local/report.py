"""The results of a demo run: each release's story, the instances over time, and which promises
hold. Pure.

`local/demo.py` builds the report and writes it as `demo-report.json`; `local/picture.py` draws it.
All times are those of the run's clock, which may be faster than real time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from local.story import ROLLING, Promised, Scenario

READS = ("get", "list", "aggregatedList", "wait")  # prefixes of methods that change nothing
PHASES = ("desired", "baking", "rolling_back", "retiring")  # in addition to step_1, step_2, ...


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
    """`ended` is None while the release is in this phase."""

    name: str
    began: datetime
    ended: datetime | None
    why: str


@dataclass(frozen=True)
class Story:
    """The phases of one release so far. `outcome` is empty until it has ended."""

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
    """The instances by version at one moment: all of them, and those that the load balancer finds
    healthy. `shares`: the percentage of the requests that the URL map gives each version; empty
    if it does not tell, since releases share a group.
    """

    at: datetime
    by_version: Mapping[str, int]
    healthy: Mapping[str, int]
    shares: Mapping[str, float] = field(default_factory=dict)

    @property
    def serving(self) -> int:
        return sum(self.healthy.values())


@dataclass(frozen=True)
class Promise:
    """What must hold at the end; `differs` says what was found instead, if it does not."""

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
    scenario: Scenario = ROLLING


def stories(entries: Iterable[Entry]) -> tuple[Story, ...]:
    """The releases' stories from the log, in the order of their first entries."""
    found: dict[str, Story] = {}
    for entry in entries:
        found[entry.release] = _with_entry(found.get(entry.release, Story(entry.release)), entry)
    return tuple(found.values())


def _with_entry(story: Story, entry: Entry) -> Story:
    if entry.outcome:
        ended = _ended(story.phases, entry.at)
        return Story(story.version, ended, entry.outcome, entry.reason, entry.why)
    if entry.to == story.phase:  # it goes on, as when a step gets its requests
        return replace(story, why=entry.why)
    if entry.to in PHASES or entry.to.startswith("step_"):
        phases = (*_ended(story.phases, entry.at), Phase(entry.to, entry.at, None, entry.why))
        return Story(story.version, phases, "", entry.reason, entry.why)
    return story


def _ended(phases: tuple[Phase, ...], at: datetime) -> tuple[Phase, ...]:
    return tuple(
        phase if phase.ended else Phase(phase.name, phase.began, at, phase.why) for phase in phases
    )


def with_sample(samples: tuple[Sample, ...], sample: Sample) -> tuple[Sample, ...]:
    """Appends a sample if it differs from the last one, which holds until the next."""
    last = samples[-1] if samples else None
    same = last is not None and replace(last, at=sample.at) == sample
    return samples if same else (*samples, sample)


def count_changes(calls: Mapping[str, int]) -> int:
    """How many calls were writes; the others read or waited."""
    return sum(
        count for method, count in calls.items() if not method.rpartition(".")[2].startswith(READS)
    )


def check_promises(report: Report) -> tuple[Promise, ...]:
    """What the scenario promises about its releases, each with what differs, if anything."""
    releases = {story.version: story for story in report.releases}
    scenario = report.scenario
    return (
        *(_outcome(releases, promised) for promised in scenario.promises),
        *(_shares(version, shares, report) for version, shares in scenario.shares.items()),
        _all_on("2", report),
        _floor_kept(report),
    )


def _outcome(releases: Mapping[str, Story], promised: Promised) -> Promise:
    version, text, reason = promised.version, promised.text, promised.reason
    story = releases.get(version)
    if story is None:
        return Promise(text, f"release {version} is not in the log")
    if not story.outcome:
        return Promise(
            text,
            f"release {version} has not ended; it is in {story.phase or 'no phase'}: {story.why}",
        )
    if (story.outcome, reason and story.reason) != (promised.outcome, reason):
        given = f" ({story.reason})" if story.reason else ""
        return Promise(text, f"release {version} {story.outcome}{given}: {story.why}")
    return Promise(text)


def _shares(version: str, shares: tuple[int, ...], report: Report) -> Promise:
    """Which shares of the requests the release got, up to its largest."""
    text = f"release {version} gets {_series(shares)} % of the requests"
    rising = [0]
    for sample in report.instances:
        if (share := round(sample.shares.get(version, 0))) > rising[-1]:
            rising.append(share)
    del rising[0]
    if rising == [*shares]:
        return Promise(text)
    return Promise(text, f"it got {_series(rising)} %" if rising else "it got none")


def _series(shares: Iterable[int]) -> str:
    return ", then ".join(map(str, shares))


def _all_on(version: str, report: Report) -> Promise:
    text = f"at the end all instances run release {version} and are healthy"
    if not report.instances:
        return Promise(text, "there was never an instance")
    last = report.instances[-1]
    if set(last.by_version) == {version} and last.by_version == last.healthy:
        return Promise(text)
    return Promise(
        text, f"there are {_counted(last.by_version)}; healthy are {_counted(last.healthy)}"
    )


def floor_since(report: Report) -> datetime | None:
    """When the first release succeeded. Before that there is no floor to keep."""
    first = next(iter(report.releases), None)
    succeeded = first is not None and first.outcome == "succeeded" and first.phases
    return first.phases[-1].ended if first and succeeded else None


def _floor_kept(report: Report) -> Promise:
    text = f"never fewer than {report.floor} healthy instances while releases are swapped"
    since = floor_since(report)
    if since is None:
        return Promise(text, "release 1 never succeeded")
    before = [sample for sample in report.instances if sample.at <= since][-1:]
    lowest = min(
        (*before, *(s for s in report.instances if s.at > since)),
        key=lambda sample: sample.serving,
        default=None,
    )
    if lowest and lowest.serving >= report.floor:
        return Promise(text)
    return Promise(
        text,
        f"{lowest.serving} at {lowest.at:%H:%M:%S}" if lowest else "there was never an instance",
    )


def _counted(by_version: Mapping[str, int]) -> str:
    return (
        ", ".join(f"{count} of release {version}" for version, count in sorted(by_version.items()))
        or "none"
    )


def to_json(report: Report) -> dict[str, Any]:
    """The content of `demo-report.json`."""
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
                "shares": dict(sorted(s.shares.items())),
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
