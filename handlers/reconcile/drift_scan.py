"""Looks for drift among the settled models, all of them at once: what differs from what they serve,
and what is theirs and should not be there, as when Compute Engine carries out a dead worker's
insert after the model has ended.

Called by `handlers/wakeup.py` every few ticks. It changes nothing and decides nothing: a model
whose plan is not empty gets a wake-up, and its turn reads it anew. Invariant: a model that is not
settled is left to its own wake time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from infra.compute.inventory import list_inventory
from infra.fleet.inventory import GLOBAL, REGIONAL, owned_by_model
from infra.fleet.model import Body, Key, Snapshot
from infra.fleet.plan import full_reads, plan
from infra.settings import POLICY, load_project_policy
from infra.store.documents import State, UnknownSchema, from_document
from infra.wiring import World
from rollout.advance import target_of
from rollout.model import Observed, Settled
from rollout.policy.caps import clamp
from rollout.policy.policy import Policy

PAGE = 200


def find_drifted(world: World) -> tuple[str, ...]:
    """The names of the settled models whose world is not what it should be."""
    states = tuple(_settled(world))
    if not states:
        return ()
    policy, found = (
        load_project_policy(world.store, world.store.get_many([POLICY])),
        list_inventory(world.compute),
    )
    owns = owned_by_model(found, (state.desired.model for state in states))
    return tuple(
        state.desired.model
        for state in states
        if has_drifted(state, found, owns[state.desired.model], policy)
    )


def has_drifted(
    state: State, found: Mapping[Key, Body], own: Mapping[Key, Body], policy: Policy
) -> bool:
    stable = state.rollout.stable
    keys = full_reads(state.desired.model, (stable,) if stable else (), with_gateway=False).keys
    # Only what was listed: of anything else "not found" would mean nothing, and the plan says so by
    # a KeyError.
    listed = {key: found.get(key) for key in keys if key.collection in (*REGIONAL, *GLOBAL)}
    planned = plan(
        clamp(policy, target_of(state.rollout, state.desired, Observed())),
        Snapshot({**listed, **own}),
    )
    known = {condition.why for condition in state.conditions}
    return not planned.is_empty or any(problem.message not in known for problem in planned.problems)


def _settled(world: World) -> Iterator[State]:
    """The states of all models with nothing under way. One that this Slipway cannot read is
    another's to look after."""
    after: str | None = None
    while page := world.store.list("models", PAGE, after):
        for document in page:
            try:
                state = from_document(document.data)
            except UnknownSchema:
                continue
            if isinstance(state.rollout.phase, Settled) and state.requeue_at is None:
                yield state
        after = page[-1].path.rpartition("/")[2]
