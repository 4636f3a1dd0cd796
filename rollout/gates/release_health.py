"""What the observed group shows of one release, against what its target asks for. Pure.

Called by `advance` once per pass; gates judge the result.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field, replace
from datetime import datetime, timedelta

from rollout.deferred import dataclass
from rollout.gates.clocks import (
    Clock,
    Clocks,
    State,
    decode,
    decode_times,
    encode,
    encode_times,
    key_of,
    update_clocks,
)
from rollout.model import GroupTarget, GroupView, Instance, Loss, Problem, Progress, Release

FLAP_WINDOW = timedelta(minutes=30)
TOLERATED = 10
"""One in ten instances that the environment took does not keep the others from passing: in a large
Spot fleet some are always on their way back."""


@dataclass(frozen=True)
class ReleaseHealth:
    """How many instances of a release there should be, and those that there are.

    Instances that the group cannot add for want of capacity or quota (`has_blocked_growth`) are
    neither needed nor counted. Without `clocks` nothing is excused.
    """

    release: Release
    needed: int
    instances: tuple[Instance, ...]
    group: GroupView | None
    clocks: Clocks = field(default_factory=dict)
    has_blocked_growth: bool = False

    @property
    def healthy(self) -> int:
        return sum(each.is_healthy for each in self.instances)

    @property
    def absent(self) -> int:
        """The instances that the environment took and that are not healthy again."""
        return sum(
            clock.state == "gone" or (clock.state == "starting" and clock.is_returned)
            for clock in map(self.clock_of, self.instances)
            if clock
        )

    @property
    def is_reached(self) -> bool:
        """Group stable on its versions, and every instance of the release healthy."""
        return self.is_done and self.has_replaced_others and self.is_well

    @property
    def is_done(self) -> bool:
        """The group has finished its changes; what the environment took may be on its way back."""
        if self.group is None:
            return False
        if self.group.is_stable or self.has_blocked_growth:
            return True
        unsettled = [each for each in self.group.instances if not each.is_settled]
        is_leaving = any(each.is_leaving for each in unsettled)
        return not is_leaving and 0 < len(unsettled) <= self.group.target_size // TOLERATED

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
    def has_taken_over(self) -> bool:
        """The same for the instances that are healthy. One that cannot start may keep the group
        from removing it, and serves nobody.
        """
        if self.group is None:
            return False
        others = (each for each in self.group.instances if each not in self.instances)
        return sum(each.is_healthy for each in others) <= self.group.target_size - self.needed

    @property
    def is_well(self) -> bool:
        excused = min(self.absent, self.needed // TOLERATED)
        is_whole = self.healthy + self.absent == len(self.instances)
        return self.needed - excused <= self.healthy and is_whole

    def unproven(self, hold: timedelta, now: datetime) -> int:
        """How many of the needed instances have not been healthy for that long without a break."""
        clocks = [clock for clock in map(self.clock_of, self.instances) if clock]
        healthy = [clock for clock in clocks if clock.state == "healthy"]
        proven = sum(now - clock.since >= hold for clock in healthy)
        excusable = sum(clock.is_returned and now - clock.since < hold for clock in healthy)
        excused = min(self.absent + excusable, self.needed // TOLERATED)
        return max(0, self.needed - excused - proven)

    def clock_of(self, instance: Instance) -> Clock | None:
        return self.clocks.get(key_of(instance.name))

    def since(self, state: State) -> list[datetime]:
        """Since when instances have been in a state, the longest first."""
        clocks = map(self.clock_of, self.instances)
        return sorted(clock.since for clock in clocks if clock and clock.state == state)

    @property
    def has_run(self) -> bool:
        """Whether any of its VMs has run."""
        return bool(self.clocks) or any(each.status == "RUNNING" for each in self.instances)

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
    needed = min(_share_of(release, target, group.target_size), group.target_size)
    running = tuple(
        instance
        for instance in group.instances
        if instance.template == release.template and not instance.is_leaving
    )
    return ReleaseHealth(release, needed, running, group)


def _share_of(release: Release, target: GroupTarget, size: int) -> int:
    """How many of `size` instances the target gives to the release."""
    counts = {share.release.template: share.count for share in target.shares}
    count = counts.get(release.template)
    if count is not None:
        return count
    return size - sum(other for other in counts.values() if other is not None)


def update_progress(
    health: ReleaseHealth,
    progress: Progress,
    losses: tuple[Loss, ...],
    now: datetime,
    *,
    is_patient: bool = False,
    least: int = 0,
) -> tuple[ReleaseHealth, Progress]:
    """The health with what is remembered of each instance, and the progress after this pass. The
    progress changes only when an instance does, so that it is seldom written. `is_patient`: see
    `GateContext`. `least`: so many instances the step itself asks for, which is no growth.
    """
    group = health.group
    if group is None:
        return replace(health, clocks=decode(progress.clocks)), progress
    clocks, fallen = update_clocks(decode(progress.clocks), health.instances, losses, now)
    health = replace(health, clocks=clocks)
    size = max(progress.size, _running(group)) if progress.size else group.target_size
    health = _without_blocked_growth(health, max(size, least))
    progress = replace(
        progress,
        initial_size=progress.initial_size or group.target_size,
        size=size,
        clocks=encode(clocks),
        flaps=_flaps(progress.flaps, fallen, now),
    )
    progress = _with_growth(progress, health.needed, now)
    if health.healthy > progress.healthy:
        progress = replace(progress, healthy=health.healthy, improved_at=now)
    is_short = is_patient and bool(_blocked(group))
    is_short = is_short or _has_outgrown(group, max(progress.initial_size, least))
    return health, _halted(progress, health, losses, max(size, least), now, is_short=is_short)


def _with_growth(progress: Progress, needed: int, now: datetime) -> Progress:
    """A group that grows after all its instances have been healthy gives the new ones the whole
    deadline. One that grows though they never were gets no more time.
    """
    before = progress.needed
    if needed <= before:
        return progress
    is_grown = before > 0 and progress.healthy >= before
    improved_at = now if is_grown else progress.improved_at
    return replace(progress, needed=needed, improved_at=improved_at)


def flaps_of(progress: Progress, now: datetime) -> int:
    """How many healthy instances the release has lost within the window."""
    return sum(now - time < FLAP_WINDOW for time in decode_times(progress.flaps))


def _flaps(before: str, fallen: int, now: datetime) -> str:
    if not fallen:
        return before
    kept = (time for time in decode_times(before) if now - time < FLAP_WINDOW)
    return encode_times((*kept, *[now] * fallen))


def _running(group: GroupView) -> int:
    running = sum(each.is_running for each in group.instances)
    return min(running, group.target_size)


def _without_blocked_growth(health: ReleaseHealth, size: int) -> ReleaseHealth:
    """What the group cannot add to the size that it had does not count against the release."""
    group = health.group
    blocked = _blocked(group)
    growth = max(0, group.target_size - size) if group and size else 0
    if not blocked or len(blocked) > growth:
        return health
    instances = tuple(each for each in health.instances if each not in blocked)
    needed = health.needed - (len(health.instances) - len(instances))
    return replace(health, instances=instances, needed=needed, has_blocked_growth=True)


def _blocked(group: GroupView | None) -> tuple[Instance, ...]:
    members = group.instances if group else ()
    return tuple(each for each in members if each.is_blocked and not each.is_leaving)


def _halted(
    progress: Progress,
    health: ReleaseHealth,
    losses: Iterable[Loss],
    size: int,
    now: datetime,
    *,
    is_short: bool,
) -> Progress:
    """While the environment keeps instances away, or the group's growth has taken the room of the
    swap, no deadline runs; afterwards it begins anew, for instances have to start again.
    """
    others = [each for each in _blocked(health.group) if each.template != health.release.template]
    growth = max(0, health.group.target_size - size) if health.group else 0
    gone, since = len(health.since("gone")), progress.halted_since
    if is_short or gone or len(others) > growth:
        if since:
            return progress
        known = [loss.why for loss in losses if loss.owner == "environment"]
        unknown = f"{gone} VMs of the group went, and not by the release's fault" if gone else ""
        return replace(progress, halted_since=now, halted_by=known[0] if known else unknown)
    if since is None:
        return progress
    return replace(progress, improved_at=now, halted_since=None, halted_by="")


def _has_outgrown(group: GroupView, size: int) -> bool:
    """Whether the group lacks capacity or quota since it is larger than when the rollout began, or
    than the step asks for.
    """
    return bool(_blocked(group)) and group.target_size > size
