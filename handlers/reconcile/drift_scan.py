"""Finds the settled models whose resources differ from their target, all models at once, by list
calls.

Called by `handlers/wakeup.py` every few ticks. It changes nothing and decides nothing: a model
whose plan is not empty gets a wake-up, and its pass observes it anew. It also finds what should not
exist, for example when Compute Engine carries out a dead worker's insert after the model was
retired. Invariants: a model that is not settled is left to its own `requeue_at`; while a model is
on hold because the store was restored, no other one is repaired, since its document may be as old.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

from infra.compute.inventory import list_inventory
from infra.fleet.inventory import GLOBAL, REGIONAL, owned_by_model
from infra.fleet.marks import newest_revision
from infra.fleet.model import Body, Key, Snapshot
from infra.fleet.plan import plan
from infra.fleet.reads import full_reads, scope_of
from infra.settings import POLICY, load_project_policy
from infra.store.documents import UnknownSchema, from_document
from infra.wiring import World
from rollout.advance import target_of
from rollout.model import Observed, Settled
from rollout.policy.caps import clamp
from rollout.policy.policy import Policy
from rollout.restored import is_newer
from rollout.state import ModelState

PAGE = 200


def find_drifted(world: World) -> tuple[str, ...]:
    """The names of the settled models that have drifted, or only of those that are newer on Compute
    Engine than in the store, if there are any.
    """
    known = tuple(_states(world))
    states = tuple(filter(_is_settled, known))
    if not states:
        return ()
    policy = load_project_policy(world.store, world.store.get_many([POLICY]))
    inventory = list_inventory(world.compute)
    owned = owned_by_model(inventory, (state.desired.model for state in states))
    newer = tuple(
        state.desired.model
        for state in states
        if is_newer(
            state, newest_revision(Snapshot(owned[state.desired.model]), state.desired.model)
        )
    )
    if newer or any(state.hold for state in known):
        return newer
    return tuple(
        state.desired.model
        for state in states
        if has_drifted(state, inventory, owned[state.desired.model], policy)
    )


def has_drifted(
    state: ModelState,
    inventory: Mapping[Key, Body],
    owned: Mapping[Key, Body],
    policy: Policy,
) -> bool:
    scope = scope_of(state.rollout, state.desired)
    keys = full_reads(scope, with_gateway=False).keys
    # Only what was listed. Anything else would look deleted; without it the plan raises a KeyError.
    listed = {key: inventory.get(key) for key in keys if key.collection in (*REGIONAL, *GLOBAL)}
    target = clamp(policy, target_of(state.rollout, state.desired, Observed()))
    planned = plan(target, Snapshot({**listed, **owned}))
    known = {condition.why for condition in state.conditions}
    is_news = any(problem.message not in known for problem in planned.problems)
    return not planned.is_empty or is_news


def _is_settled(state: ModelState) -> bool:
    return isinstance(state.rollout.phase, Settled) and state.requeue_at is None


def _states(world: World) -> Iterator[ModelState]:
    """The states of all models. A document of another schema is left to the Slipway that wrote
    it.
    """
    after: str | None = None
    while page := world.store.list("models", PAGE, after):
        for document in page:
            with suppress(UnknownSchema):
                yield from_document(document.data)
        after = page[-1].path.rpartition("/")[2]
