"""The group while its next steps are being chosen: each chosen step is taken on this copy, so that
later choices see it.

Made by `updater.plan` and forgotten with it. Answers what is there, what is missing, what is too
much, and what a budget allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from compute_emulator.rules.group import Create, Disruption, Intent, Member, Revision, Step
from compute_emulator.rules.placement import zone_for_new

DisruptionOf = Callable[[Revision, Revision], Disruption]


def always_replace(_from: Revision, _to: Revision) -> Disruption:
    """The need of a change when nothing is known about the templates."""
    return Disruption.REPLACE


def action_for(intent: Intent, need: Disruption) -> Disruption | None:
    """What an update does when the templates' difference needs `need`; None when that is more than
    is allowed."""
    action = max(need, intent.minimal)
    return action if action <= intent.most_disruptive else None


class GroupDraft:
    """A group's members and what is wanted of them."""

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

    # What is there

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
        """The revisions that lack VMs, each as often as it lacks one, in the order of the
        versions."""
        return list((self.desired - self.counts()).elements())

    def excess(self) -> list[Member]:
        """VMs of revisions that have too many, as many as are too many, in the order in which they
        would leave.

        Foreign revisions first, then from the fullest zone, then what serves nobody, then the
        youngest."""
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
        """Those who may leave, by zone and by whether their revision is wanted at all; who leaves
        first stands last."""
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
        """Outdated VMs with the revision each should get and what that does to it; forbidden
        updates are left out.

        Then those that keep their revision and lack only their own config. Such a VM has a name to
        keep, so it is never replaced by another one: where that would be due, it is left out."""
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
        """Whether updates make new VMs beside the old ones."""
        return self.intent.is_proactive and self.intent.substitutes

    def replaceable(self) -> set[Revision]:
        """The outdated revisions whose VMs are deleted for the update to make others."""
        to = next(iter(self.deficits()), None)
        if to is None or not self.can_surge():
            return set()
        old = {member.revision for member in self.excess()}
        return {
            r for r in old if action_for(self.intent, self.disruption(r, to)) is Disruption.REPLACE
        }

    def can_remove(self, member: Member) -> bool:
        """Whether the budget allows to take this VM away. One that serves nobody can always go."""
        if not member.is_available(self.intent.healing.has_check):
            return True
        return self.available() - 1 >= self.intent.floor

    # Steps taken

    def add_step(self, step: Step) -> None:
        """Choose a step. What it does to a member is told by `change`."""
        self.steps.append(step)

    def change(self, member: Member, **changes: object) -> None:
        self.members[member.name] = replace(member, **changes)  # type: ignore[arg-type]
        self._available = None

    def create(self, revision: Revision, why: str) -> None:
        """Choose to make a VM, and count it from now on."""
        same = Counter(member.zone for member in self.staying() if member.revision == revision)
        zone = zone_for_new(
            self.intent.shape, self.intent.zones, self.zone_counts(), same, self.full_zones
        )
        self.add_step(Create(zone, revision, why))
        name = f"\0new-{len(self.steps)}"  # cannot collide with a VM's name
        self.members[name] = Member(name, zone, revision, action="CREATING", is_running=False)
