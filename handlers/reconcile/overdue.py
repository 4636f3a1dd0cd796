"""Restores the bounds of groups whose capacity lease nobody renews.

Called by `loop` when a pass fails, and by the drift scan for documents that cannot be read. Passes
renew the lease of a rollout, so an overdue one means that none has succeeded for an hour, or that
the record of the rollout is gone. The lease itself says what to restore. It stays in the document:
the next pass that succeeds renews or ends it.
"""

from __future__ import annotations

import logging
import uuid
from datetime import timedelta

from infra.compute.apply import apply
from infra.fleet import naming
from infra.fleet.marks import newest_revision
from infra.fleet.model import Action, Applied, Plan, ReadSet
from infra.fleet.resources import autoscaler
from infra.settings import read_stop
from infra.store import repository
from infra.store.documents import UnknownSchema, read_capacity_lease
from infra.store.port import Document
from infra.wiring import World
from rollout.capacity_lease import is_overdue
from rollout.model import CapacityLease

PATIENCE = timedelta(seconds=20)

log = logging.getLogger("slipway")


def restore_overdue(world: World, model: str, document: Document | None = None) -> None:
    """Give groups their own bounds back if the lease in the model's document is overdue. The
    document is read unless it is given. A failure is logged, since the next tick tries again.
    """
    try:
        document = document or world.store.get(repository.model_path(model))
        lease = read_capacity_lease(document.data) if document else None
        if document and lease and is_overdue(lease, world.clock.now()):
            _restore(world, model, lease, document.data["revision"])
    except UnknownSchema:
        pass  # the Slipway that wrote it renews it
    except Exception as error:
        fields = {"model": model, "why": repr(error)}
        log.exception("capacity lease not restored", extra={"fields": fields})


def _restore(world: World, model: str, lease: CapacityLease, revision: int) -> None:
    """Nothing is changed while the policy says `stop`, or if Compute Engine is newer than the
    document: a backup was restored.
    """
    if read_stop(world.store):
        return
    loans = {naming.autoscaler(model, loan.colour, loan.region): loan for loan in lease.loans}
    snapshot = world.compute.observe(ReadSet(tuple(loans)))
    if newest_revision(snapshot, model) > revision:
        return
    actions: list[Action] = []
    for key, loan in loans.items():
        body = snapshot.bodies.get(key)
        action = autoscaler.restore(key, loan, body) if body else None
        if action and body and naming.is_owned(body, model):
            actions.append(action)
    token = world.new_token()

    def request_id(action: Action) -> uuid.UUID:
        return uuid.uuid5(uuid.NAMESPACE_URL, f"{token} {action.key.name}")

    until = world.clock.now() + PATIENCE
    for result in apply(Plan(tuple(actions)), world.compute, world.clock, request_id, until):
        fields = {
            "model": model,
            "group": result.action.key.name,
            "why": result.action.why,
            "is_applied": isinstance(result, Applied),
        }
        log.warning("capacity lease overdue, bounds restored", extra={"fields": fields})
