"""The questions that must be answered well before a step or the bake is left. Pure; called by
`advance` alone.

A verdict is one of four: `Passed`, `Waiting`, `Failed`, `Inconclusive`. Invariant: missing data
never passes. What Compute Engine will not mend by itself (quota, configuration) fails at once; what
it may mend (a stock-out, slow starts) fails when the progress deadline has run out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rollout.model import (
    Evidence,
    GroupTarget,
    GroupView,
    Instance,
    Problem,
    Progress,
    Reason,
    Release,
)

MAX_FLAPS = 3
NON_RETRYABLE: frozenset[Reason] = frozenset({"quota", "config", "policy"})
SICK_MAJORITY_SECONDS = 30


@dataclass(frozen=True)
class Passed:
    why: str


@dataclass(frozen=True)
class Waiting:
    why: str


@dataclass(frozen=True)
class Failed:
    reason: Reason
    why: str


@dataclass(frozen=True)
class Inconclusive:
    why: str


Verdict = Passed | Waiting | Failed | Inconclusive


@dataclass(frozen=True)
class ReleaseHealth:
    """One look at a release in its group: how many instances it should have, has, and has
    healthy."""

    release: Release
    needed: int
    instances: tuple[Instance, ...]
    group: GroupView | None

    @property
    def healthy(self) -> int:
        return sum(
            instance.is_settled and instance.health == "healthy" for instance in self.instances
        )

    @property
    def is_reached(self) -> bool:
        """Version target reached, group stable, and every instance of the release healthy by the
        balancer's own verdict."""
        return (
            bool(self.group and self.group.version_reached and self.group.is_stable)
            and self.is_well
        )

    @property
    def is_well(self) -> bool:
        return self.needed <= self.healthy == len(self.instances)

    @property
    def has_no_data(self) -> bool:
        settled = [instance for instance in self.instances if instance.is_settled]
        return bool(settled) and all(instance.health == "unknown" for instance in settled)

    @property
    def problems(self) -> tuple[Problem, ...]:
        return tuple(instance.problem for instance in self.instances if instance.problem)

    def __str__(self) -> str:
        return (
            f"{self.healthy} of {self.needed} instances of release {self.release.version} are"
            " healthy"
        )


def observe_release(
    target: GroupTarget, release: Release, group: GroupView | None
) -> ReleaseHealth:
    """What the group shows of the release against what the target asks. Deletions no longer count
    as the release's."""
    if group is None:
        return ReleaseHealth(release, max(1, target.min), (), None)
    asked = next(
        (share.count for share in target.shares if share.release.template == release.template), None
    )
    needed = group.target_size if asked is None else min(asked, group.target_size)
    running = tuple(
        i
        for i in group.instances
        if i.template == release.template and i.action not in ("DELETING", "ABANDONING")
    )
    return ReleaseHealth(release, needed, running, group)


def update_progress(progress: Progress, seen: ReleaseHealth, now: datetime) -> Progress:
    """The progress with this look taken in. It changes only when something got better or fell, so
    that it is seldom written."""
    if seen.healthy > progress.healthy:
        return Progress(seen.healthy, now, progress.flaps)
    if seen.healthy < progress.healthy:
        if progress.degraded_since:
            return progress
        return replace(progress, flaps=progress.flaps + 1, degraded_since=now)
    return replace(progress, degraded_since=None)


def step_gate(
    seen: ReleaseHealth, progress: Progress, evidence: Evidence, now: datetime
) -> Verdict:
    """May the step be left? The deadline counts from the last time the candidate got better, so
    slow is not sick."""
    hopeless = _hopeless(seen, evidence)
    if hopeless:
        return hopeless
    if progress.flaps >= MAX_FLAPS:
        return Failed(
            "unhealthy",
            f"release {seen.release.version} lost healthy instances {progress.flaps} times in this"
            " step",
        )
    if seen.is_reached and not evidence.pending_changes:
        return Passed(str(seen))
    deadline = timedelta(seconds=seen.release.spec.rollout.progress_deadline_seconds)
    if now - progress.at < deadline:
        return Waiting(_waits_for(seen, evidence))
    return _overdue(seen, evidence, deadline)


def bake_gate(
    seen: ReleaseHealth, progress: Progress, evidence: Evidence, since: datetime, now: datetime
) -> Verdict:
    """Has the candidate been well for its whole bake time? Instances that start (the group grew)
    are given their start-up time; when most of them are sick at once there is no waiting for
    that."""
    hopeless = _hopeless(seen, evidence)
    if hopeless:
        return hopeless
    if progress.flaps >= MAX_FLAPS:
        return Failed(
            "unhealthy",
            f"release {seen.release.version} lost healthy instances {progress.flaps} times while it"
            " baked",
        )
    spec = seen.release.spec
    if progress.degraded_since:
        sick_majority = seen.healthy * 2 < seen.needed
        patience = (
            SICK_MAJORITY_SECONDS if sick_majority else max(60, 2 * spec.serving.startup_seconds)
        )
        sick_for = now - progress.degraded_since
        if sick_for >= timedelta(seconds=patience):
            if seen.has_no_data:
                return Inconclusive(
                    f"no health answer for release {seen.release.version} for {_span(sick_for)}"
                )
            return Failed("unhealthy", f"{seen}, for {_span(sick_for)} of its bake time")
    rest = since + timedelta(seconds=spec.rollout.bake_seconds) - now
    if rest > timedelta():
        return Waiting(f"bakes for another {_span(rest)}; {seen}")
    return (
        Passed(f"baked for {_span(now - since)}; {seen}")
        if seen.is_well
        else Waiting(f"baked, but only {seen}")
    )


def _hopeless(seen: ReleaseHealth, evidence: Evidence) -> Failed | None:
    for problem in (*evidence.refusals, *seen.problems):
        if problem.reason in NON_RETRYABLE:
            return Failed(problem.reason, problem.message)
    return None


def _overdue(seen: ReleaseHealth, evidence: Evidence, deadline: timedelta) -> Verdict:
    """What it is that made no progress. A candidate that is all there and well passes even now:
    then it is the old release that keeps the group from being stable, and waiting for that would
    keep the bad one."""
    if seen.is_well and seen.group and seen.group.version_reached and not evidence.pending_changes:
        return Passed(f"{seen}; the rest of the group does not get stable")
    span = _span(deadline)
    if seen.problems:
        problem = seen.problems[0]
        return Failed(problem.reason, f"no instance could be created for {span}: {problem.message}")
    if seen.has_no_data:
        return Inconclusive(f"no health answer for release {seen.release.version} for {span}")
    is_sick = (
        not seen.is_well
    )  # where all are well something else is in the way, and that is what to tell
    if is_sick and any(
        instance.is_settled or instance.action in ("VERIFYING", "RECREATING")
        for instance in seen.instances
    ):
        return Failed("unhealthy", f"{seen}, and none got better for {span}")
    return Failed("timeout", f"no progress for {span}: {_waits_for(seen, evidence)}")


def _waits_for(seen: ReleaseHealth, evidence: Evidence) -> str:
    if seen.problems:
        return f"{seen}; {seen.problems[0].message}"
    if evidence.pending_changes:
        return evidence.pending_changes[0]
    if seen.group is None:
        return "the group does not exist yet"
    if not seen.is_well:
        return str(seen)
    return f"{seen}; the group is still changing"


def _span(time: timedelta) -> str:
    """A duration for people: `150 s`, `15 min`, `2 h`."""
    seconds = round(time.total_seconds())
    if seconds < 300:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
