"""What the observed group shows of one release, against what its target asks for. Pure.

Called by `advance` once per pass; gates judge the result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from rollout.model import GroupTarget, GroupView, Instance, Problem, Progress, Release


@dataclass(frozen=True)
class ReleaseHealth:
    """How many instances of a release there should be, and those that there are."""

    release: Release
    needed: int
    instances: tuple[Instance, ...]
    group: GroupView | None

    @property
    def healthy(self) -> int:
        return sum(each.is_settled and each.health == "healthy" for each in self.instances)

    @property
    def is_reached(self) -> bool:
        """Group stable on its versions, and every instance of the release healthy."""
        is_done = bool(self.group and self.group.is_stable)
        return is_done and self.has_replaced_others and self.is_well

    @property
    def has_replaced_others(self) -> bool:
        """No more instances run other releases than the target leaves to them.

        Counted by instance: `versionTarget.isReached` is true while instances are being created.
        """
        if self.group is None:
            return False
        staying = sum(not instance.is_leaving for instance in self.group.instances)
        return staying - len(self.instances) <= self.group.target_size - self.needed

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
        version = self.release.version
        return f"{self.healthy} of {self.needed} instances of release {version} are healthy"


def observe_release(
    target: GroupTarget, release: Release, group: GroupView | None
) -> ReleaseHealth:
    """Instances that are being deleted no longer count as the release's."""
    if group is None:
        return ReleaseHealth(release, max(1, target.min), (), None)
    shares = (share for share in target.shares if share.release.template == release.template)
    count = next((share.count for share in shares), None)
    needed = group.target_size if count is None else min(count, group.target_size)
    running = tuple(
        instance
        for instance in group.instances
        if instance.template == release.template and not instance.is_leaving
    )
    return ReleaseHealth(release, needed, running, group)


def update_progress(progress: Progress, health: ReleaseHealth, now: datetime) -> Progress:
    """The progress after this pass. It changes only if the number of healthy instances passed its
    best or fell below it, so that it is seldom written.
    """
    if health.healthy > progress.healthy:
        return Progress(health.healthy, now, progress.flaps)
    if health.healthy < progress.healthy:
        if progress.degraded_since:
            return progress
        return replace(progress, flaps=progress.flaps + 1, degraded_since=now)
    return replace(progress, degraded_since=None)
