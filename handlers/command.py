"""A command on `model-releases`: pause, resume, promote, abort, rollback or retire is recorded for
the next turn.

Called by `handlers/release.py`. Recording is all that happens here, if policy has room for it;
`rollout/commands.py` decides what it changes, against the world as the turn then sees it.
Invariant: a duplicate, or a command older than the release now desired, changes nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from handlers import admission
from infra.bus.envelope import Payload
from infra.settings import POLICY, load_project_policy
from infra.store import repository
from infra.store.documents import State, release_from_document
from infra.store.repository import Refuse
from infra.wiring import World
from rollout.model import Command, Release, Settled, Transition
from rollout.policy.caps import violations
from rollout.policy.policy import Policy
from rollout.spec.compatibility import incompatible
from rollout.spec.message import CommandGiven


def record_command(
    world: World, asked: CommandGiven, sent: Payload, published_at: datetime
) -> None:
    held = repository.load_state(world, asked.model)
    if held is None:
        raise Refuse(
            f"model: no model {asked.model} is known, so there is nothing to {asked.command}"
        )
    state = held.state
    if sent.key in state.seen:
        return
    now = world.clock.now()
    after = replace(repository.with_event_id(state, sent.key), revision=state.revision + 1)
    desired = state.desired
    if desired.latest and published_at < desired.latest:
        why = f"{asked.command} changes nothing: something newer was published before it came"
        version = desired.release.version if desired.release else ""
        beside = repository.record_transitions(
            after, (Transition(version, "commanded", "ignored", why),), now, sent.key
        )
    else:
        policy = _policy(world, state, asked)
        last = admission.last_admission(world, policy)
        goal, grows = _goals(world, policy, state, asked)
        command = Command(
            asked.command,
            sent.key,
            published_at,
            asked.version or "",
            goal,
            asked.requested_by,
            asked.reason,
        )
        wanted = replace(desired, commands=(*desired.commands, command), latest=published_at)
        after = replace(after, desired=wanted, requeue_at=now)
        beside = admission.admit(policy, last, asked.model, grows) if grows else ()
    world.store.commit(repository.write_state(held, after), *beside)
    repository.publish_outbox(world, beside)


def _policy(world: World, state: State, asked: CommandGiven) -> Policy:
    """What a rollback is held to; nothing else that is commanded asks for more than there is. Going
    back in the middle of a rollout does not either."""
    is_held = asked.command == "rollback" and (
        asked.version or isinstance(state.rollout.phase, Settled)
    )
    return load_project_policy(world.store, world.store.get_many([POLICY])) if is_held else Policy()


def _goals(
    world: World, policy: Policy, state: State, asked: CommandGiven
) -> tuple[Release | None, Release | None]:
    """The kept release that a rollback names, and the one that it may come to run, named or not.
    Raises `Refuse` where the other models leave no room for that."""
    goal = (
        _kept(world, policy, state, asked)
        if asked.command == "rollback" and asked.version
        else None
    )
    is_to_the_last = asked.command == "rollback" and isinstance(state.rollout.phase, Settled)
    grows = goal or (state.rollout.previous if is_to_the_last else None)
    crowded = admission.admission_violations(world, policy, state, grows) if grows else ()
    if crowded:
        raise Refuse("; ".join(crowded))
    return goal, grows


def _kept(world: World, policy: Policy, state: State, asked: CommandGiven) -> Release:
    """The kept release that a rollback names: one that baked once, and that the present group can
    run."""
    document = world.store.get(repository.release_path(asked.model, asked.version or ""))
    if document is None or document.data.get("outcome") not in ("succeeded", "retired"):
        raise Refuse(
            f"version: release {asked.version} of {asked.model} never served; go back to one"
            " that did"
        )
    release = release_from_document(document.data)
    stable = state.rollout.stable.spec if state.rollout.stable else None
    problems = incompatible(stable, release.spec) if stable else ()
    why = (*map(str, problems), *violations(policy, release.spec, stable))
    if why:
        raise Refuse("; ".join(why))
    return release
