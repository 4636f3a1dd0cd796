"""Looks for drift among the settled models, all of them at once: whole collections by list calls, so that the cost grows with
pages
and not with models.

Called by `handlers/wakeup.py` every few ticks. It changes nothing and decides nothing: a model whose plan is not empty gets a
wake-up, and its turn reads it anew. Invariant: a model that is not settled is left to its own wake time.
"""

from __future__ import annotations

from collections.abc import Iterator

from handlers import records
from infra.compute import EVERYWHERE
from infra.plan import look, plan
from infra.resources import names
from infra.resources.base import Body, Collection, Key, Snapshot
from infra.wiring import World
from rollout.advance import asked
from rollout.encode import State, UnknownSchema, from_document
from rollout.guard import Policy, capped
from rollout.model import Observed, Settled

PAGE = 200
REGIONAL: tuple[Collection, ...] = ("regionInstanceGroupManagers", "regionAutoscalers")
GLOBAL: tuple[Collection, ...] = ("instanceTemplates", "healthChecks", "backendServices", "urlMaps")


def survey(world: World) -> tuple[str, ...]:
    """The names of the settled models whose world is not what it should be."""
    states = tuple(_settled(world))
    if not states:
        return ()
    policy, found = records.policy(world, world.store.get_many([records.POLICY])), read_all(world)
    return tuple(state.desired.model for state in states if has_drifted(state, found, policy))


def read_all(world: World) -> dict[Key, Body]:
    """Every resource of the project that a model's plan may speak of, by key."""
    found: dict[Key, Body] = {}
    for collection in REGIONAL:
        for body in world.compute.list(collection, EVERYWHERE):
            found[Key(collection, names.last(body["region"]) or "", body["name"])] = body
    for collection in GLOBAL:
        found |= {Key(collection, names.GLOBAL, body["name"]): body for body in world.compute.list(collection)}
    return found


def has_drifted(state: State, found: dict[Key, Body], policy: Policy) -> bool:
    stable = state.rollout.stable
    if stable is None:
        return False
    keys = look(state.desired.model, (stable,), with_gateway=False).keys
    # Only what was listed: of anything else "not found" would mean nothing, and the plan says so by a KeyError.
    snapshot = Snapshot({key: found.get(key) for key in keys if key.collection in (*REGIONAL, *GLOBAL)})
    planned = plan(capped(policy, asked(state.rollout, state.desired, Observed())), snapshot)
    known = {condition.why for condition in state.conditions}
    return not planned.is_empty or any(problem.message not in known for problem in planned.problems)


def _settled(world: World) -> Iterator[State]:
    """The states of all models with nothing under way. One that this Slipway cannot read is another's to look after."""
    after: str | None = None
    while page := world.store.list("models", PAGE, after):
        for document in page:
            try:
                state = from_document(document.data)
            except UnknownSchema:
                continue
            if isinstance(state.rollout.phase, Settled) and state.rollout.stable and state.wake_at is None:
                yield state
        after = page[-1].path.rpartition("/")[2]
