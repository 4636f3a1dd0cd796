"""A small model of a managed instance group, in steps of five seconds: it swaps, repairs, and loses
instances to the environment. Pure but for its random source; some thousand times faster than the
emulator, of which it keeps what verdicts depend on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from rollout.model import GroupTarget, GroupView, Health, Instance, Observed, Problem

TICK = 5
READY_AFTER, UNREADY_AFTER = 10, 15  # what the load balancer's check takes to notice
ALIVE_AFTER, DEAD_AFTER = 30, 150  # and the group's own
ZONES = ("us-central1-a", "us-central1-b", "us-central1-c")
LINK = "projects/demo/zones/{}/instances/{}"
NO_CAPACITY = Problem("stock-out", "ZONE_RESOURCE_POOL_EXHAUSTED", "the zone has none")
NO_QUOTA = Problem("quota", "QUOTA_EXCEEDED", "Quota 'CPUS' exceeded")


@dataclass(frozen=True)
class World:
    """What happens to a fleet. Rates are per instance and hour; a crash-looping release's process
    ends `crash_after` seconds after it became ready, each time.
    """

    size: int
    boot: float
    ready: float
    crash_after: float | None = None
    preemptions: float = 0.0
    host_errors: float = 0.0
    deletions: float = 0.0
    outages: tuple[tuple[float, float], ...] = ()  # of one zone: from, to
    growth: tuple[float, int, float] | None = None  # when, to which size, when quota follows


@dataclass
class Member:
    name: str
    zone: str
    template: str
    boots_until: float
    running_since: float | None = None
    is_blocked_by: Problem | None = None


@dataclass
class Fleet:
    world: World
    random: Random
    candidate: str
    now: float = 0.0
    members: list[Member] = field(default_factory=list)
    operations: list[dict[str, Any]] = field(default_factory=list)
    made: int = 0

    # ---- What is observed

    def observe(self) -> Observed:
        instances = tuple(self._instance(member) for member in self.members)
        is_stable = all(each.is_settled for each in instances) and len(instances) == self.size
        return Observed((GroupView("blue", "us-central1", self.size, is_stable, instances),))

    @property
    def size(self) -> int:
        growth = self.world.growth
        return growth[1] if growth and self.now >= growth[0] else self.world.size

    def _instance(self, member: Member) -> Instance:
        runs = member.running_since is not None
        alive = runs and self._alive_for(member) >= ALIVE_AFTER
        action = "NONE" if alive or self._was_alive(member) else "VERIFYING" if runs else "CREATING"
        health: Health = "healthy" if self._is_ready(member) else "unhealthy"
        return Instance(
            member.name,
            member.zone,
            member.template,
            action,
            "RUNNING" if runs else "",
            health if runs else "unknown",
            member.is_blocked_by,
        )

    # ---- The process of an instance

    def _up_since(self, member: Member) -> float:
        return (member.running_since or 0.0) + self.world.ready

    def _died_at(self, member: Member) -> float:
        crash = self.world.crash_after
        if crash is None or member.template != self.candidate:
            return float("inf")
        return self._up_since(member) + crash

    def _alive_for(self, member: Member) -> float:
        if self.now >= self._died_at(member):
            return 0.0
        return self.now - self._up_since(member)

    def _was_alive(self, member: Member) -> bool:
        if member.running_since is None:
            return False
        return min(self.now, self._died_at(member)) - self._up_since(member) >= ALIVE_AFTER

    def _is_ready(self, member: Member) -> bool:
        if member.running_since is None:
            return False
        is_up = self.now - self._up_since(member) >= READY_AFTER
        return is_up and self.now < self._died_at(member) + UNREADY_AFTER

    # ---- What happens

    def run(self, target: GroupTarget, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += TICK
            self._strike()
            self._heal()
            self._start()
            self._swap(target)

    def _is_down(self, zone: str) -> bool:
        return zone == ZONES[0] and any(a <= self.now < b for a, b in self.world.outages)

    def _strike(self) -> None:
        """The environment takes running VMs."""
        rates = {
            "compute.instances.preempted": self.world.preemptions,
            "compute.instances.hostError": self.world.host_errors,
            "delete": self.world.deletions,
        }
        for member in self.members:
            if member.running_since is None:
                continue
            if self._is_down(member.zone):
                self._stop(member)
                continue
            for kind, rate in rates.items():
                if self.random.random() < rate * TICK / 3600:
                    self._record(member, kind)
                    self._stop(member)
                    break

    def _heal(self) -> None:
        for member in self.members:
            if member.running_since is None:
                continue
            silent_since = max(self._up_since(member), self._died_at(member))
            if self.now - min(silent_since, self._died_at(member)) >= DEAD_AFTER:
                text = "current action is NONE, but health status is TIMEOUT."
                self._record(member, "compute.instances.repair.recreateInstance", text)
                self._stop(member)

    def _stop(self, member: Member) -> None:
        member.running_since = None
        member.boots_until = self.now + 10 + self.world.boot

    def _record(self, member: Member, kind: str, text: str = "") -> None:
        self.operations.append(
            {
                "operationType": kind,
                "targetLink": LINK.format(member.zone, member.name),
                "insertTime": datetime.fromtimestamp(self.now, UTC).isoformat(),
                "statusMessage": text,
                "user": "ann@example.com",
            }
        )

    def _start(self) -> None:
        running = sum(member.running_since is not None for member in self.members)
        growth = self.world.growth
        has_quota = growth is None or self.now >= growth[2]
        room = (self.size if has_quota else self.world.size) + len(ZONES) - running
        for member in self.members:
            if member.running_since is not None:
                continue
            problem = NO_CAPACITY if self._is_down(member.zone) else None
            if problem is None and room <= 0:
                problem = NO_QUOTA
            member.is_blocked_by = problem
            if problem is None and self.now >= member.boots_until:
                member.running_since = self.now
                room -= 1

    # ---- The updater: one more of what lacks, one less of what is too many

    def _swap(self, target: GroupTarget) -> None:
        counts = {share.release.template: share.count for share in target.shares}
        fixed = sum(count for count in counts.values() if count is not None)
        size = self.size
        for template, count in counts.items():
            share = size - fixed if count is None else min(count, size)
            own = [member for member in self.members if member.template == template]
            if len(own) < share and len(self.members) < size + target.surge:
                self._add(template)
        surplus = [member for member in self.members if self._surplus(member, counts, size, fixed)]
        healthy = sum(self._was_alive(member) for member in self.members)
        for member in surplus:
            if not self._was_alive(member) or healthy > size:
                self.members.remove(member)
                return

    def _surplus(
        self, member: Member, counts: dict[str, int | None], size: int, fixed: int
    ) -> bool:
        if member.template not in counts:
            return True
        count = counts[member.template]
        own = sum(each.template == member.template for each in self.members)
        return own > (size - fixed if count is None else count)

    def _add(self, template: str) -> None:
        self.made += 1
        fewest = min(ZONES, key=lambda zone: sum(each.zone == zone for each in self.members))
        jitter = self.random.uniform(0.8, 1.2)
        self.members.append(
            Member(
                f"tiny-{self.made:04d}",
                fewest,
                template,
                self.now + self.world.boot * jitter,
            )
        )


def moment(fleet: Fleet) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=fleet.now)
