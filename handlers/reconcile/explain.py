"""Finds out whose fault the losses of a pass are, before it decides.

Called by `handlers/reconcile/loop.py`. Operations are read only after a loss, which is rare, and
only of the zones that lost something. What cannot be read explains nothing, and what is not
explained is nobody's fault.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from infra.compute.client import Compute
from infra.compute.errors import Refused, Retry
from infra.fleet.losses import OPERATIONS_FILTER, explain
from infra.fleet.model import Body, Snapshot
from infra.fleet.observe import observe
from rollout.advance import unexplained
from rollout.model import Loss
from rollout.state import ModelState

WITHIN = timedelta(minutes=10)

log = logging.getLogger("slipway")


def explain_losses(
    compute: Compute, state: ModelState, snapshot: Snapshot, now: datetime
) -> tuple[Loss, ...]:
    """Why instances were lost since the pass before, as far as Compute Engine says so."""
    model = state.desired.model
    lost = unexplained(state.rollout, observe(snapshot, model))
    operations: list[Body] = []
    for zone in sorted({each.zone for each in lost if each.zone}):
        try:
            operations += compute.list_operations(zone, OPERATIONS_FILTER)
        except (Retry, Refused) as error:
            fields = {"model": model, "zone": zone, "why": str(error)}
            log.warning("operations not read", extra={"fields": fields})
    return explain(lost, operations, now - WITHIN)
