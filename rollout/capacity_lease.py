"""The capacity lease: what a rollout has borrowed of its groups' bounds, and until when. Pure.

During a rollout groups may not scale in, and may be larger than their releases ask for. `advance`
writes down what it lends before anything acts on it, and every pass over the rollout renews it:

    rollout begins      each group of the target has a loan with the bounds to restore
    each pass           the expiry moves by an hour, at most every half hour; while a rollout is
                        paused, by twice the time until the next pass, since stable must be able to
                        take everything back
    rollout ends        the target has the releases' own bounds; a loan ends when that is observed,
                        or when a pass that reads little finds all in order that was applied
    no pass succeeds    after the expiry the tick restores them (`handlers/reconcile/overdue.py`)

Invariant: a target differs from its releases' own bounds only under a lease that is in force.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from rollout.model import (
    Bounds,
    CapacityLease,
    Colour,
    GroupTarget,
    GroupView,
    Loan,
    Observed,
    Target,
)

DURATION = timedelta(hours=1)
"""And twice as long as passes are apart, should that be more: while a rollout is paused."""


def renew(
    lease: CapacityLease | None,
    target: Target,
    observed: Observed,
    now: datetime,
    interval: timedelta = timedelta(0),
) -> CapacityLease | None:
    """The lease after a pass that leads to the target; None if nothing is lent. `interval`: until
    the next pass.
    """
    duration = max(DURATION, interval * 2)
    before = {loan.colour: loan for loan in lease.loans} if lease else {}
    lent = {
        group.colour: _loan(group, before.get(group.colour), observed.group(group.colour))
        for group in target.groups
        if _exceeds(_bounds_of(group), own_bounds(group))
    }
    ending = {
        colour: loan
        for colour, loan in before.items()
        if colour not in lent and _is_outstanding(loan, observed.group(colour))
    }
    loans = tuple(sorted((*lent.values(), *ending.values()), key=lambda loan: loan.colour))
    if not loans:
        return None
    if lease is None:
        return CapacityLease(now, now + duration, loans)
    is_due = bool(lent) and lease.expires_at - now <= duration / 2
    return CapacityLease(lease.since, now + duration if is_due else lease.expires_at, loans)


def without_ended(lease: CapacityLease | None, target: Target) -> CapacityLease | None:
    """The lease when all groups are as the target says: what it does not lend was given back."""
    lent = {each.colour for each in target.groups if _exceeds(_bounds_of(each), own_bounds(each))}
    loans = tuple(loan for loan in lease.loans if loan.colour in lent) if lease else ()
    return replace(lease, loans=loans) if lease and loans else None


def own_bounds(group: GroupTarget) -> Bounds:
    """The bounds that the release asks for whose settings the group carries."""
    scaling = group.settings.spec.scaling
    return Bounds(scaling.min, scaling.max)


def with_floor(
    groups: tuple[GroupTarget, ...],
    lease: CapacityLease | None,
    serving: Colour,
    observed: Observed,
) -> tuple[GroupTarget, ...]:
    """The groups of a rollout that has two. The one that serves the stable release gets back the
    size that it had under the lease, should somebody have made it smaller.
    """
    loan = next((each for each in lease.loans if each.colour == serving), None) if lease else None
    view = observed.group(serving)
    if loan is None or view is None or len(groups) < 2 or view.target_size >= loan.size:
        return groups
    return tuple(
        replace(group, min=max(group.min, min(loan.size, group.max)))
        if group.colour == serving
        else group
        for group in groups
    )


def is_overdue(lease: CapacityLease | None, now: datetime) -> bool:
    return lease is not None and lease.expires_at <= now


def _loan(group: GroupTarget, before: Loan | None, view: GroupView | None) -> Loan:
    size = max(before.size if before else 0, view.target_size if view else 0)
    return Loan(group.colour, group.settings.spec.placement.region, own_bounds(group), size)


def _is_outstanding(loan: Loan, view: GroupView | None) -> bool:
    """Whether the group still has more than its own bounds. What was not read may have."""
    if view is None:
        return False
    return view.bounds is None or _exceeds(view.bounds, loan.bounds)


def _exceeds(bounds: Bounds, own: Bounds) -> bool:
    """The policy may have made bounds narrower than the release asks for."""
    return not bounds.may_scale_in or bounds.min > own.min or bounds.max > own.max


def _bounds_of(group: GroupTarget) -> Bounds:
    return Bounds(group.min, group.max, group.may_scale_in)
