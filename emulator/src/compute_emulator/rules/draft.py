"""The group while its next steps are chosen: each chosen step is applied to this copy, so that
later choices take it into account.

`updater.plan` creates one per plan. It answers what exists, what is missing, what is surplus,
and what a budget allows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from compute_emulator.rules.group import Create, Disruption, Intent, Member, Revision, Step
from compute_emulator.rules.placement import zone_for_new

DisruptionOf = Callable[[Revision, Revision], Disruption]


def always_replace(_from: Revision, _to: Revision) -> Disruption:
    """The disruption of a change when nothing is known about the templates."""
    return Disruption.REPLACE


def action_for(intent: Intent, need: Disruption) -> Disruption | None:
    """What an update does if the templates' difference needs `need`; None if that is not
    allowed.
    """
    action = max(need, intent.minimal)
    return action if action <= intent.most_disruptive else None


class GroupDraft:
    """A group's members and its desired state."""

    def __init__(
        self,
        intent: Intent,
        members: Sequence[Member],
        disruption: DisruptionOf,
        full_zones: Collection[str],
    ) -> None:
        self.intent = intent
        self.members = {member.name: member for member in members}
        self.disruption = disruption
        self.full_zones = frozenset(full_zones)
        self.desired = intent.desired()
        self.steps: list[Step] = []
        self.recheck_at: float | None = None
        self.blocked = False
        self._available: int | None = None

    # What exists

    def staying(self) -> list[Member]:
        return [member for member in self.members.values() if not member.is_leaving]

    def counts(self) -> Counter[Revision]:
        return Counter(member.revision for member in self.staying())

    def zone_counts(self) -> Counter[str]:
        return Counter(member.zone for member in self.staying())

    def available(self) -> int:
        if self._available is None:
            self._available = sum(
                member.is_available(self.intent.healing.has_check) for member in self.staying()
            )
        return self._available

    def deficits(self) -> list[Revision]:
        """The revisions that lack VMs, each once per missing VM, in the order of the versions."""
        return list((self.desired - self.counts()).elements())

    def excess(self) -> list[Member]:
        """The surplus VMs of each revision, in the order in which they would be deleted.

        Revisions that are not desired come first, then VMs in the fullest zone, then VMs that
        serve nobody, then the youngest.
        """
        surplus = self.counts() - self.desired
        if not surplus:
            return []
        zones = self.zone_counts()
        queues = self._queues(surplus)
        chosen: list[Member] = []
        while queues and surplus.total():
            queue = min(
                queues,
                key=lambda each: (
                    each[-1].revision in self.desired,
                    -zones[each[-1].zone],
                    *self._rank(each[-1]),
                ),
            )
            victim = queue.pop()
            queues = [each for each in queues if each]
            if surplus[victim.revision]:
                surplus[victim.revision] -= 1
                zones[victim.zone] -= 1
                chosen.append(victim)
        return chosen

    def _queues(self, surplus: Counter[Revision]) -> list[list[Member]]:
        """The candidates by zone and by whether their revision is desired; the first to leave is
        last.
        """
        queues: dict[tuple[bool, str], list[Member]] = {}
        for member in self.staying():
            if surplus[member.revision]:
                queues.setdefault((member.revision in self.desired, member.zone), []).append(member)
        for queue in queues.values():
            queue.sort(key=self._rank, reverse=True)
        return list(queues.values())

    def _rank(self, member: Member) -> tuple[bool, float, str]:
        return member.is_available(self.intent.healing.has_check), -member.created_at, member.name

    def updates(
        self, among: Collection[str] | None = None
    ) -> list[tuple[Member, Revision, Disruption]]:
        """Outdated VMs with the revision that each should get and what that does to it, without
        forbidden updates.

        Then the VMs that keep their revision and lack only their own config. Such a VM must keep
        its name, so it is never replaced by another one; where that would be necessary, it is
        left out.
        """
        candidates = [member for member in self.excess() if among is None or member.name in among]
        pairs: list[tuple[Member, Revision, Disruption]] = []
        for member, to in zip(candidates, self.deficits(), strict=False):
            action = action_for(self.intent, self.disruption(member.revision, to))
            if action is not None:
                pairs.append((member, to, action))
        moved = {member.name for member, _, _ in pairs}
        for member in self.staying():
            if (
                member.config_need
                and member.name not in moved
                and (among is None or member.name in among)
            ):
                action = action_for(self.intent, member.config_need)
                if action is not None and not (
                    action is Disruption.REPLACE and self.intent.substitutes
                ):
                    pairs.append((member, member.revision, action))
        return pairs

    # What an update may do

    def can_surge(self) -> bool:
        """Whether updates create new VMs before they delete old ones."""
        return self.intent.is_proactive and self.intent.substitutes

    def replaceable(self) -> set[Revision]:
        """The outdated revisions whose VMs an update deletes and replaces by others."""
        to = next(iter(self.deficits()), None)
        if to is None or not self.can_surge():
            return set()
        old = {member.revision for member in self.excess()}
        return {
            r for r in old if action_for(self.intent, self.disruption(r, to)) is Disruption.REPLACE
        }

    def can_remove(self, member: Member) -> bool:
        """Whether the budget allows removing this VM. A VM that serves nobody can always be
        removed.
        """
        if not member.is_available(self.intent.healing.has_check):
            return True
        return self.available() - 1 >= self.intent.floor

    # Chosen steps

    def add_step(self, step: Step) -> None:
        """Choose a step. `change` applies its effect on a member."""
        self.steps.append(step)

    def change(self, member: Member, **changes: object) -> None:
        self.members[member.name] = replace(member, **changes)  # type: ignore[arg-type]
        self._available = None

    def create(self, revision: Revision, why: str) -> None:
        """Choose to create a VM, and count it from now on."""
        same = Counter(member.zone for member in self.staying() if member.revision == revision)
        zone = zone_for_new(
            self.intent.shape, self.intent.zones, self.zone_counts(), same, self.full_zones
        )
        self.add_step(Create(zone, revision, why))
        name = f"\0new-{len(self.steps)}"  # cannot collide with a VM's name
        self.members[name] = Member(name, zone, revision, action="CREATING", is_running=False)
