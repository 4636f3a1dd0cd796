"""What a managed instance group does next: one pure function from what is wanted and what is there to the next steps.

Called by `groups.py` whenever something changed. Calling it again after its steps were taken gives no steps: there is
no hidden state, so only the latest intent counts and a new patch redirects a roll-out that is under way.

    budget      total VMs <= targetSize + maxSurge          available VMs >= targetSize - maxUnavailable
    substitute  create new (surge) -> running, verified -> drain and delete old        with surge
                drain and delete old -> gone -> create new                             with unavailable
    recreate    same name, in place of itself, within the unavailable budget

Source: Compute API reference (regionInstanceGroupManagers) and "Updating VM configurations in a MIG".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from local.compute.rules.group import (
    SETTLED,
    Create,
    Delete,
    Disruption,
    InPlace,
    Intent,
    Member,
    Plan,
    Recreate,
    Revision,
    Step,
)
from local.compute.rules.placement import FLEXIBLE_SHAPES, imbalance, zone_for_new
from local.compute.rules.sizes import rounded_up

DisruptionOf = Callable[[Revision, Revision], Disruption]


def always_replace(_from: Revision, _to: Revision) -> Disruption:
    """The need of a change when nothing is known about the templates."""
    return Disruption.REPLACE


def plan(
    intent: Intent,
    members: Sequence[Member],
    now: float,
    disruption: DisruptionOf = always_replace,
    full_zones: Collection[str] = (),
) -> Plan:
    """The next steps of the group, within its budgets."""
    draft = _Draft(intent, members, disruption, full_zones)
    draft.leave_full_zones()
    draft.create()
    draft.update_in_place()
    draft.delete()
    draft.repair(now)
    draft.balance()
    return Plan(tuple(draft.steps), draft.is_pending(), draft.look_at, tuple(step.why for step in draft.steps))


def is_stable(intent: Intent, members: Sequence[Member], outcome: Plan) -> bool:
    """No VM is changing and none will change. An opportunistic group is stable with outdated VMs in it."""
    calm = all(member.action == SETTLED for member in members)
    return calm and not outcome.steps and not outcome.is_pending and len(members) == intent.target_size


def is_version_target_reached(intent: Intent, members: Iterable[Member]) -> bool:
    """Every VM runs the version meant for it, in the wished split. VMs still to verify count, VMs still to boot do not."""
    staying = [member for member in members if not member.is_leaving]
    running = Counter(member.revision for member in staying if member.is_running)
    return running == +intent.wanted() and len(staying) == intent.target_size


def action_for(intent: Intent, need: Disruption) -> Disruption | None:
    """What an update does when the templates' difference needs `need`; None when that is more than is allowed."""
    action = max(need, intent.minimal)
    return action if action <= intent.most_disruptive else None


def updates_for(
    intent: Intent, members: Sequence[Member], names: Collection[str], disruption: DisruptionOf = always_replace
) -> tuple[Step, ...]:
    """The steps that bring these VMs to their version at once, outside of every budget (applyUpdatesToInstances)."""
    draft = _Draft(intent, members, disruption, ())
    chosen: list[Step] = []
    for member, to, action in draft.moves(among=names):
        if action is Disruption.REPLACE and intent.substitutes:
            chosen.append(Delete(member.name, "its update was asked for by name", is_replaced=True))
        elif action is Disruption.REPLACE:
            chosen.append(Recreate(member.name, to, "its update was asked for by name"))
        else:
            chosen.append(InPlace(member.name, to, action, "its update was asked for by name"))
    return tuple(chosen)


class _Draft:
    """The group while steps are being chosen: each chosen step is taken on this copy, so that later choices see it."""

    def __init__(self, intent: Intent, members: Sequence[Member], disruption: DisruptionOf, full_zones: Collection[str]) -> None:
        self.intent = intent
        self.members = {member.name: member for member in members}
        self.disruption = disruption
        self.full_zones = frozenset(full_zones)
        self.wanted = intent.wanted()
        self.steps: list[Step] = []
        self.look_at: float | None = None
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
            self._available = sum(member.is_available(self.intent.healing.has_check) for member in self.staying())
        return self._available

    def deficits(self) -> list[Revision]:
        """The revisions that lack VMs, each as often as it lacks one, in the order of the versions."""
        return list((self.wanted - self.counts()).elements())

    def excess(self) -> list[Member]:
        """VMs of revisions that have too many, as many as are too many, in the order in which they would leave.

        Foreign revisions first, then from the fullest zone, then what serves nobody, then the youngest.
        """
        too_many = self.counts() - self.wanted
        if not too_many:
            return []
        zones = self.zone_counts()
        queues = self._queues(too_many)
        chosen: list[Member] = []
        while queues and too_many.total():
            queue = min(queues, key=lambda each: (each[-1].revision in self.wanted, -zones[each[-1].zone], *self._rank(each[-1])))
            victim = queue.pop()
            queues = [each for each in queues if each]
            if too_many[victim.revision]:
                too_many[victim.revision] -= 1
                zones[victim.zone] -= 1
                chosen.append(victim)
        return chosen

    def _queues(self, too_many: Counter[Revision]) -> list[list[Member]]:
        """Those who may leave, by zone and by whether their revision is wanted at all; who leaves first stands last."""
        queues: dict[tuple[bool, str], list[Member]] = {}
        for member in self.staying():
            if too_many[member.revision]:
                queues.setdefault((member.revision in self.wanted, member.zone), []).append(member)
        for queue in queues.values():
            queue.sort(key=self._rank, reverse=True)
        return list(queues.values())

    def _rank(self, member: Member) -> tuple[bool, float, str]:
        return member.is_available(self.intent.healing.has_check), -member.created_at, member.name

    def moves(self, among: Collection[str] | None = None) -> list[tuple[Member, Revision, Disruption]]:
        """Outdated VMs with the revision each should get and what that does to it; forbidden updates are left out."""
        candidates = [member for member in self.excess() if among is None or member.name in among]
        pairs: list[tuple[Member, Revision, Disruption]] = []
        for member, to in zip(candidates, self.deficits(), strict=False):
            action = action_for(self.intent, self.disruption(member.revision, to))
            if action is not None:
                pairs.append((member, to, action))
        return pairs

    # Steps, in the order in which they are considered

    def leave_full_zones(self) -> None:
        """Flexible shapes give up a creation that found no capacity and try another zone."""
        if self.intent.shape not in FLEXIBLE_SHAPES or not set(self.intent.zones) - self.full_zones:
            return
        for member in self.staying():
            if member.is_stranded and member.zone in self.full_zones:
                self._take(Delete(member.name, f"{member.zone} has no capacity and another zone has"))
                del self.members[member.name]

    def create(self) -> None:
        """New VMs for what is missing; for an update as many more as the surge allows."""
        staying = len(self.staying())
        counted = staying + sum(member.is_leaving and member.is_replaced for member in self.members.values())
        replaceable = self._replaceable()
        substitutions = sum(member.revision in replaceable for member in self.excess())
        missing = self.intent.target_size - staying
        room = self.intent.target_size + self.intent.max_surge - counted
        for index, revision in enumerate(self.deficits()[: max(0, min(room, missing + substitutions))]):
            why = "the group is smaller than its target" if index < missing else "surge: made before an old one goes"
            self._create(revision, why)

    def _can_surge(self) -> bool:
        return self.intent.is_proactive and self.intent.substitutes

    def update_in_place(self) -> None:
        """Refresh, restart, relabel or recreate outdated VMs; what makes a VM unavailable waits for the budget."""
        if not self.intent.is_proactive:
            return
        for member, to, action in self.moves():
            if action is Disruption.REPLACE and self.intent.substitutes:
                continue
            if action >= Disruption.RESTART and not self._may_lose(member):
                self.blocked = True
                continue
            if action is Disruption.REPLACE:
                self._take(Recreate(member.name, to, "outdated: recreated under its name"))
                self._change(member, revision=to, action="RECREATING", is_running=False)
            else:
                self._take(InPlace(member.name, to, action, f"outdated: {action.name.lower()} is enough"))
                doing = {Disruption.RESTART: "RESTARTING", Disruption.REFRESH: "REFRESHING"}.get(action, member.action)
                self._change(member, revision=to, action=doing)

    def delete(self) -> None:
        """Old VMs that are replaced, and VMs beyond the target."""
        staying = self.staying()
        surplus = max(0, len(staying) - sum(m.is_moving_in for m in staying) - self.intent.target_size)
        replaceable = self._replaceable()
        is_update = self.intent.is_proactive and len(set(self.counts()) | set(+self.wanted)) > 1
        allowed = surplus + (len(self.deficits()) if replaceable else 0)
        for member in self.excess():
            if allowed <= 0 or (surplus <= 0 and member.revision not in replaceable):
                continue
            if is_update and not self._may_lose(member):
                self.blocked = True
                continue
            allowed -= 1
            surplus -= 1
            why = "outdated: its replacement takes over" if is_update else "the group is larger than its target"
            self._take(Delete(member.name, why, is_replaced=is_update))
            self._change(member, action="DELETING", is_replaced=is_update)

    def _replaceable(self) -> set[Revision]:
        """The outdated revisions whose VMs are deleted for the update to make others."""
        to = next(iter(self.deficits()), None)
        if to is None or not self._can_surge():
            return set()
        old = {member.revision for member in self.excess()}
        return {r for r in old if action_for(self.intent, self.disruption(r, to)) is Disruption.REPLACE}

    def repair(self, now: float) -> None:
        """Recreate VMs that failed, and VMs whose check fails after the initial delay or after having been healthy."""
        for member in self.staying():
            if member.action not in (SETTLED, "VERIFYING"):
                continue
            if member.is_failed:
                if self.intent.healing.repairs_failed:
                    self._repair(member, "it stopped by itself")
            elif self._is_unhealthy(member):
                due = member.running_since + self.intent.healing.initial_delay_seconds
                if member.was_healthy or now >= due:
                    self._repair(member, "its health check fails")
                else:
                    self.look_at = due if self.look_at is None else min(self.look_at, due)

    def _is_unhealthy(self, member: Member) -> bool:
        healing = self.intent.healing
        return healing.has_check and healing.repairs_unhealthy and member.health in ("UNHEALTHY", "TIMEOUT")

    def _repair(self, member: Member, why: str) -> None:
        revision = member.revision
        if self.intent.healing.takes_newest and revision not in self.wanted:
            revision = next(iter(self.deficits()), revision)
        self._take(Recreate(member.name, revision, why, is_repair=True))
        self._change(member, action="RECREATING", revision=revision, is_running=False)

    def balance(self) -> None:
        """When all is calm, move one VM from the fullest to the emptiest zone."""
        members = list(self.members.values())
        calm = not self.steps and not self.blocked and all(member.action == SETTLED for member in members)
        if not calm or not self.intent.redistributes or self.intent.shape != "EVEN":
            return
        gap = imbalance(self.intent.zones, self.zone_counts())
        if gap is None or gap[1] in self.full_zones:
            return
        fullest, emptiest = gap
        mover = next(member for member in members if member.zone == fullest)
        why = f"balance: {fullest} holds more VMs than {emptiest}"
        if self.intent.substitutes and rounded_up(self.intent.surge, self.intent.target_size):
            self._take(Create(emptiest, mover.revision, why, is_move=True))
        elif self._may_lose(mover):
            self._take(Delete(mover.name, why, is_replaced=True))

    # Bookkeeping

    def _may_lose(self, member: Member) -> bool:
        """Whether the budget allows to take this VM away. One that serves nobody can always go."""
        if not member.is_available(self.intent.healing.has_check):
            return True
        return self.available() - 1 >= self.intent.floor

    def _create(self, revision: Revision, why: str) -> None:
        same = Counter(member.zone for member in self.staying() if member.revision == revision)
        zone = zone_for_new(self.intent.shape, self.intent.zones, self.zone_counts(), same, self.full_zones)
        self._take(Create(zone, revision, why))
        name = f"\0new-{len(self.steps)}"  # cannot collide with a VM's name
        self.members[name] = Member(name, zone, revision, action="CREATING", is_running=False)

    def _take(self, step: Step) -> None:
        self.steps.append(step)

    def _change(self, member: Member, **changes: object) -> None:
        self.members[member.name] = replace(member, **changes)  # type: ignore[arg-type]
        self._available = None

    def is_pending(self) -> bool:
        """Whether this draft still differs from what is wanted and the group may change that by itself."""
        if self.blocked or self.look_at is not None or len(self.members) != self.intent.target_size:
            return True
        return self.intent.is_proactive and bool(self.moves())
