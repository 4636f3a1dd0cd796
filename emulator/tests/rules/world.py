"""A simulated group for the updater's tests: it applies steps, and the test decides which VM makes
progress.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from compute_emulator.rules.draft import DisruptionOf, always_replace
from compute_emulator.rules.group import (
    Create,
    Delete,
    Disruption,
    InPlace,
    Intent,
    Member,
    Plan,
    Recreate,
    Revision,
)
from compute_emulator.rules.updater import is_stable, plan


class Group:
    """Members by name. Every step is checked against the budgets."""

    def __init__(self, intent: Intent, disruption: DisruptionOf = always_replace) -> None:
        self.intent = intent
        self.disruption = disruption
        self.members: dict[str, Member] = {}
        self.now = 0.0
        self.full_zones: set[str] = set()
        self.shrinking = 0  # VMs deleted by a resize, which are outside the budgets
        self._number = 0

    @property
    def has_check(self) -> bool:
        return self.intent.healing.has_check

    def update(self) -> Plan:
        """Apply the next steps until there are none; a second run must have none."""
        outcome = plan(
            self.intent, list(self.members.values()), self.now, self.disruption, self.full_zones
        )
        available = self.available()
        for step in outcome.steps:
            self.take(step)
        if (
            self.members
            and any(not isinstance(step, Create) for step in outcome.steps)
            and self.is_update()
        ):
            lost = available - self.available()
            assert lost <= 0 or self.available() >= self.intent.floor, outcome.why
        if any(isinstance(step, Create) for step in outcome.steps):
            counted = [m for m in self.members.values() if not m.is_leaving or m.is_replaced]
            cap = self.intent.target_size + max(
                self.intent.max_surge, sum(m.is_rebalancing for m in counted)
            )
            assert len(counted) <= cap, outcome.why
        again = plan(
            self.intent, list(self.members.values()), self.now, self.disruption, self.full_zones
        )
        assert not again.steps, (outcome.why, again.why)
        return outcome

    def is_update(self) -> bool:
        return (
            self.intent.is_proactive and len(set(self.counts()) | set(+self.intent.desired())) > 1
        )

    def take(self, step: Create | Delete | Recreate | InPlace) -> None:
        match step:
            case Create():
                self._number += 1
                name = f"vm-{self._number:03}"
                self.members[name] = Member(
                    name,
                    step.zone,
                    step.revision,
                    "CREATING",
                    is_running=False,
                    is_rebalancing=step.is_move,
                    created_at=self.now,
                )
            case Delete() if self.members[step.name].is_stranded:
                del self.members[step.name]
            case Delete():
                self.change(step.name, action="DELETING", is_replaced=step.is_replaced)
            case Recreate():
                self.change(
                    step.name,
                    action="RECREATING",
                    revision=step.revision,
                    is_running=False,
                    is_failed=False,
                )
            case InPlace(how=Disruption.RESTART):
                self.change(
                    step.name,
                    action="RESTARTING",
                    revision=step.revision,
                    was_healthy=False,
                    health="UNKNOWN",
                )
            case InPlace():
                self.change(step.name, revision=step.revision)

    def change(self, name: str, **changes: object) -> None:
        self.members[name] = replace(self.members[name], **changes)  # type: ignore[arg-type]

    def progress(self, name: str, healthy: bool = True) -> None:
        """Advance one VM by one stage: gone, booted, or verified."""
        member = self.members[name]
        if member.is_leaving:
            del self.members[name]
        elif member.action in ("CREATING", "RECREATING", "RESTARTING"):
            after = "VERIFYING" if self.has_check else "NONE"
            self.change(
                name,
                action=after,
                is_running=True,
                health="UNKNOWN",
                was_healthy=False,
                running_since=self.now,
                is_rebalancing=member.is_rebalancing and self.has_check,
            )
        elif member.action == "VERIFYING" and healthy:
            self.change(
                name, action="NONE", health="HEALTHY", was_healthy=True, is_rebalancing=False
            )
        elif member.action == "VERIFYING":
            self.change(name, health="UNHEALTHY")

    def settle(
        self, is_healthy: Callable[[Member], bool] = lambda member: True, rounds: int = 200
    ) -> Plan:
        """Let all VMs make progress, round by round, until nothing changes. Returns the last
        plan.
        """
        outcome = self.update()
        for _ in range(rounds):
            before = dict(self.members)
            for name, member in before.items():
                self.progress(name, is_healthy(member))
            outcome = self.update()
            if self.members == before:
                return outcome
        raise AssertionError(f"no rest after {rounds} rounds: {self.members}")

    def counts(self) -> Counter[Revision]:
        return Counter(member.revision for member in self.members.values() if not member.is_leaving)

    def zones(self) -> Counter[str]:
        return Counter(member.zone for member in self.members.values() if not member.is_leaving)

    def available(self) -> int:
        return sum(
            m.is_available(self.has_check) for m in self.members.values() if not m.is_leaving
        )

    def is_stable(self) -> bool:
        members = list(self.members.values())
        return is_stable(
            self.intent,
            members,
            plan(self.intent, members, self.now, self.disruption, self.full_zones),
        )
