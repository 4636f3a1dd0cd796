"""What a managed instance group does next: a pure function of its intent and its members.

`groups.py` calls it whenever something changes. Once its steps are applied, calling it again
returns no steps. There is no hidden state, so only the latest intent counts: a new patch
redirects a running rollout.

    budget      total VMs <= targetSize + maxSurge
                available VMs >= targetSize - maxUnavailable
    substitute  with surge:       create new -> running, verified -> drain and delete old
                with unavailable: drain and delete old -> gone -> create new
    recreate    under the same name, within the unavailable budget

Source: Compute API reference (regionInstanceGroupManagers) and "Updating VM configurations in a
MIG".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from compute_emulator.rules.draft import DisruptionOf, GroupDraft, always_replace
from compute_emulator.rules.group import (
    SETTLED,
    Create,
    Delete,
    Disruption,
    InPlace,
    Intent,
    Member,
    Plan,
    Recreate,
    Step,
)
from compute_emulator.rules.placement import FLEXIBLE_SHAPES, imbalance
from compute_emulator.rules.sizes import rounded_up


def plan(
    intent: Intent,
    members: Sequence[Member],
    now: float,
    disruption: DisruptionOf = always_replace,
    full_zones: Collection[str] = (),
) -> Plan:
    """The next steps of the group, within its budgets."""
    draft = GroupDraft(intent, members, disruption, full_zones)
    _leave_full_zones(draft)
    if intent.healing.takes_newest:
        _repair_all(
            draft, now
        )  # such a repair is also an update, and the budgets do not apply to it
    _create(draft)
    _update(draft)
    _repair_all(draft, now)
    _balance(draft)
    return Plan(
        tuple(draft.steps),
        _is_pending(draft),
        draft.recheck_at,
        tuple(step.why for step in draft.steps),
    )


def is_stable(intent: Intent, members: Sequence[Member], outcome: Plan) -> bool:
    """No VM is changing and none will change. An opportunistic group with outdated VMs is
    stable.
    """
    is_settled = all(member.action == SETTLED for member in members)
    return (
        is_settled
        and not outcome.steps
        and not outcome.is_pending
        and len(members) == intent.target_size
    )


def is_version_target_reached(intent: Intent, members: Iterable[Member]) -> bool:
    """The managed instances have the desired versions, in the desired split. It says nothing
    about their progress: VMs that are still being created or verified count.
    """
    versions = Counter(member.revision.version for member in members if not member.is_leaving)
    return versions == intent.desired_versions()


def updates_for(
    intent: Intent,
    members: Sequence[Member],
    names: Collection[str],
    disruption: DisruptionOf = always_replace,
) -> tuple[Step, ...]:
    """The steps that bring these VMs to their version at once, outside of every budget
    (applyUpdatesToInstances).
    """
    draft = GroupDraft(intent, members, disruption, ())
    chosen: list[Step] = []
    for member, to, action in draft.updates(among=names):
        if action is Disruption.REPLACE and intent.substitutes:
            chosen.append(Delete(member.name, "its update was requested by name", is_replaced=True))
        elif action is Disruption.REPLACE:
            chosen.append(Recreate(member.name, to, "its update was requested by name"))
        else:
            chosen.append(InPlace(member.name, to, action, "its update was requested by name"))
    return tuple(chosen)


def most_needed(
    intent: Intent,
    members: Sequence[Member],
    names: Collection[str],
    disruption: DisruptionOf = always_replace,
) -> Disruption:
    """The most disruptive action that bringing these VMs to their version needs."""
    draft = GroupDraft(intent, members, disruption, ())
    return max((action for _, _, action in draft.updates(among=names)), default=Disruption.NONE)


# The steps, in the order in which they are considered


def _leave_full_zones(draft: GroupDraft) -> None:
    """Flexible shapes give up a creation that found no capacity and try another zone."""
    if draft.intent.shape not in FLEXIBLE_SHAPES or not set(draft.intent.zones) - draft.full_zones:
        return
    for member in draft.staying():
        if member.is_stranded and member.zone in draft.full_zones:
            draft.add_step(
                Delete(member.name, f"{member.zone} has no capacity and another zone has")
            )
            del draft.members[member.name]


def _create(draft: GroupDraft) -> None:
    """Create the missing VMs; during an update, as many more as the surge allows."""
    staying = len(draft.staying())
    counted = staying + sum(
        member.is_leaving and member.is_replaced for member in draft.members.values()
    )
    replaceable = draft.replaceable()
    substitutions = sum(member.revision in replaceable for member in draft.excess())
    missing = draft.intent.target_size - staying
    room = draft.intent.target_size + draft.intent.max_surge - counted
    for index, revision in enumerate(
        draft.deficits()[: max(0, min(room, missing + substitutions))]
    ):
        why = (
            "the group is smaller than its target"
            if index < missing
            else "surge: created before an old VM is deleted"
        )
        draft.create(revision, why)


def _update(draft: GroupDraft) -> None:
    """Repeat until nothing more follows: one VM's update or deletion may allow another's."""
    before = -1
    while len(draft.steps) != before:
        before, draft.blocked = len(draft.steps), False
        _update_in_place(draft)
        _delete(draft)


def _update_in_place(draft: GroupDraft) -> None:
    """Refresh, restart, relabel or recreate outdated VMs; what makes a VM unavailable waits for
    the budget.
    """
    if not draft.intent.is_proactive:
        return
    for member, to, action in draft.updates():
        if action is Disruption.REPLACE and draft.intent.substitutes:
            continue
        if action >= Disruption.RESTART and not draft.can_remove(member):
            draft.blocked = True
            continue
        if action is Disruption.REPLACE:
            draft.add_step(Recreate(member.name, to, "outdated: recreated under its name"))
            draft.change(
                member,
                revision=to,
                action="RECREATING",
                is_running=False,
                config_need=Disruption.NONE,
            )
        else:
            draft.add_step(
                InPlace(member.name, to, action, f"outdated: {action.name.lower()} is enough")
            )
            doing = {Disruption.RESTART: "RESTARTING", Disruption.REFRESH: "REFRESHING"}.get(
                action, member.action
            )
            draft.change(member, revision=to, action=doing, config_need=Disruption.NONE)


def _delete(draft: GroupDraft) -> None:
    """Delete outdated VMs that are replaced, and VMs beyond the target."""
    staying = draft.staying()
    surplus = max(
        0, len(staying) - sum(m.is_rebalancing for m in staying) - draft.intent.target_size
    )
    replaceable = draft.replaceable()
    is_update = draft.intent.is_proactive and len(set(draft.counts()) | set(+draft.desired)) > 1
    allowed = surplus + (len(draft.deficits()) if replaceable else 0)
    for member in draft.excess():
        if allowed <= 0 or (surplus <= 0 and member.revision not in replaceable):
            continue
        if is_update and not draft.can_remove(member):
            draft.blocked = True
            continue
        allowed -= 1
        surplus -= 1
        why = (
            "outdated: its replacement takes over"
            if is_update
            else "the group is larger than its target"
        )
        draft.add_step(Delete(member.name, why, is_replaced=is_update))
        draft.change(member, action="DELETING", is_replaced=is_update)


def _repair_all(draft: GroupDraft, now: float) -> None:
    """Recreate failed VMs, and VMs whose check fails after the initial delay or after they have
    been healthy.
    """
    for member in draft.staying():
        if member.action not in (SETTLED, "VERIFYING"):
            continue
        if member.is_failed:
            if draft.intent.healing.repairs_failed:
                _repair(draft, member, "it stopped by itself")
        elif _is_unhealthy(draft.intent, member):
            due = member.running_since + draft.intent.healing.initial_delay_seconds
            if member.was_healthy or now >= due:
                _repair(draft, member, "its health check fails")
            else:
                draft.recheck_at = due if draft.recheck_at is None else min(draft.recheck_at, due)


def _is_unhealthy(intent: Intent, member: Member) -> bool:
    healing = intent.healing
    return (
        healing.has_check
        and healing.repairs_unhealthy
        and member.health in ("UNHEALTHY", "TIMEOUT")
    )


def _repair(draft: GroupDraft, member: Member, why: str) -> None:
    revision = member.revision
    if draft.intent.healing.takes_newest and revision not in draft.desired:
        revision = next(iter(draft.deficits()), revision)
    draft.add_step(Recreate(member.name, revision, why, is_repair=True))
    draft.change(member, action="RECREATING", revision=revision, is_running=False)


def _balance(draft: GroupDraft) -> None:
    """Once the group is settled, move one VM from the fullest to the emptiest zone."""
    members = list(draft.members.values())
    is_settled = (
        not draft.steps
        and not draft.blocked
        and all(member.action == SETTLED for member in members)
    )
    if not is_settled or not draft.intent.redistributes or draft.intent.shape != "EVEN":
        return
    gap = imbalance(draft.intent.zones, draft.zone_counts())
    if gap is None or gap[1] in draft.full_zones:
        return
    fullest, emptiest = gap
    moving = next(member for member in members if member.zone == fullest)
    why = f"balance: {fullest} holds more VMs than {emptiest}"
    if draft.intent.substitutes and rounded_up(draft.intent.surge, draft.intent.target_size):
        draft.add_step(Create(emptiest, moving.revision, why, is_move=True))
    elif draft.can_remove(moving):
        draft.add_step(Delete(moving.name, why, is_replaced=True))


def _is_pending(draft: GroupDraft) -> bool:
    """Whether this draft still differs from the desired state and the group may change that by
    itself.
    """
    if (
        draft.blocked
        or draft.recheck_at is not None
        or len(draft.members) != draft.intent.target_size
    ):
        return True
    return draft.intent.is_proactive and bool(draft.updates())
