"""Finds out whose fault the losses of a pass are, and who edited the route, before it decides.

Called by `handlers/reconcile/loop.py`. Operations are read only after a loss or an edit, which are
rare, and only of the zones that lost something. What cannot be read explains nothing, and what is
not explained is nobody's fault.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from infra.compute.client import Compute
from infra.compute.errors import Refused, Retry
from infra.fleet.edits import EDITS_FILTER, edited_by
from infra.fleet.losses import OPERATIONS_FILTER, explain
from infra.fleet.model import Body, Snapshot
from infra.fleet.observe import is_routed
from rollout.judging import unexplained
from rollout.model import Loss, Observed
from rollout.routing import routed_since
from rollout.state import ModelState
from rollout.targets import target_of

WITHIN = timedelta(minutes=10)

log = logging.getLogger("slipway")


def explain_losses(
    compute: Compute, state: ModelState, observed: Observed, now: datetime
) -> tuple[Loss, ...]:
    """Why instances were lost since the pass before, as far as Compute Engine says so."""
    model = state.desired.model
    lost = unexplained(state.rollout, observed)
    operations: list[Body] = []
    for zone in sorted({each.zone for each in lost if each.zone}):
        try:
            operations += compute.list_operations(zone, OPERATIONS_FILTER)
        except (Retry, Refused) as error:
            fields = {"model": model, "zone": zone, "why": str(error)}
            log.warning("operations not read", extra={"fields": fields})
    return explain(lost, operations, now - WITHIN)


def explain_edit(
    compute: Compute, state: ModelState, snapshot: Snapshot, observed: Observed
) -> str:
    """Who changed the route since a pass read it as it should be, and when; empty if nobody did, or
    if Compute Engine does not say.
    """
    model, since = state.desired.model, routed_since(state.rollout)
    if since is None:
        return ""
    target = target_of(state.rollout, state.desired, observed)
    if is_routed(target, snapshot):
        return ""
    try:
        return edited_by(compute.list_latest_operations(EDITS_FILTER), since)
    except (Retry, Refused) as error:
        fields = {"model": model, "why": str(error)}
        log.warning("operations not read", extra={"fields": fields})
        return ""
