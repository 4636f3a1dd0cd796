"""Records a command (pause, resume, promote, abort, rollback, retire) for the next pass.

Called by `handlers/release.py`. `rollout/commands.py` decides later what the command changes, when
the pass has observed the world; here only a rollback is checked against policy. Invariant: a
duplicate, or a command older than the newest accepted event, changes nothing.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from handlers import admission
from handlers.quarantine import Refuse
from infra.bus.envelope import Payload
from infra.settings import POLICY, load_project_policy
from infra.store import outbox, repository
from infra.store.documents import release_from_record
from infra.store.port import Write
from infra.wiring import World
from rollout import restored
from rollout.model import Command, Release, Settled, Transition
from rollout.policy.caps import violations
from rollout.policy.policy import Policy
from rollout.spec.compatibility import incompatible
from rollout.spec.message import CommandGiven
from rollout.state import ModelState


def record_command(
    world: World, request: CommandGiven, payload: Payload, published_at: datetime
) -> None:
    stored = repository.load_state(world.store, request.model)
    if stored is None:
        raise Refuse(
            f"model: there is no model {request.model}, so there is nothing to {request.command}"
        )
    if payload.key in stored.state.recent_events:
        return
    if request.command == "resume" and stored.state.hold:
        resumed = _resume_held(world, stored.state, request, payload)
        world.store.commit(repository.write_state(stored, resumed))
        return
    latest = stored.state.desired.latest_published_at
    if latest and published_at < latest:
        after, writes = _ignore(world, stored.state, request, payload)
    else:
        after, writes = _accept(world, stored.state, request, payload, published_at)
    world.store.commit(repository.write_state(stored, after), *writes)
    outbox.publish_committed(world, writes)


def _resume_held(
    world: World, state: ModelState, request: CommandGiven, payload: Payload
) -> ModelState:
    """A model that is held after its store was restored goes on with the next pass."""
    who = f"resumed by {request.requested_by}" if request.requested_by else "resumed on command"
    why = f"{who}: {request.reason}" if request.reason else who
    after = restored.resume(state, request.version or "", why, world.clock.now())
    return repository.with_event(after, payload.key)


def _ignore(
    world: World, state: ModelState, request: CommandGiven, payload: Payload
) -> tuple[ModelState, tuple[Write, ...]]:
    """A command that is older than the newest accepted event is recorded and not applied."""
    release = state.desired.release
    why = f"{request.command} changes nothing: something newer was published before it arrived"
    ignored = Transition(release.version if release else "", "commanded", "ignored", why)
    after = _with_event(state, payload)
    now = world.clock.now()
    return after, repository.record_transitions(after, (ignored,), now, payload.key)


def _accept(
    world: World, state: ModelState, request: CommandGiven, payload: Payload, published_at: datetime
) -> tuple[ModelState, tuple[Write, ...]]:
    policy = _policy(world, state, request)
    last = admission.last_admission(world, policy)
    named = _named_release(world, policy, state, request)
    coming = named or _previous_release(state, request)
    _check_quota(world, policy, state, coming)
    command = Command(
        request.command,
        payload.key,
        published_at,
        request.version or "",
        named,
        request.requested_by,
        request.reason,
    )
    commands = (*state.desired.commands, command)
    desired = replace(state.desired, commands=commands, latest_published_at=published_at)
    after = replace(_with_event(state, payload), desired=desired, requeue_at=world.clock.now())
    return after, admission.reserve(policy, last, request.model, coming) if coming else ()


def _with_event(state: ModelState, payload: Payload) -> ModelState:
    return repository.with_event(replace(state, revision=state.revision + 1), payload.key)


def _policy(world: World, state: ModelState, request: CommandGiven) -> Policy:
    """The policy for a rollback that may need more capacity. No other command does, nor does a
    rollback in the middle of a rollout that names no release.
    """
    is_checked = request.command == "rollback" and (
        request.version or isinstance(state.rollout.phase, Settled)
    )
    if not is_checked:
        return Policy()
    return load_project_policy(world.store, world.store.get_many([POLICY]))


def _previous_release(state: ModelState, request: CommandGiven) -> Release | None:
    """The release that a rollback without a version may return to."""
    is_settled = isinstance(state.rollout.phase, Settled)
    return state.rollout.previous if request.command == "rollback" and is_settled else None


def _check_quota(world: World, policy: Policy, state: ModelState, coming: Release | None) -> None:
    why = admission.violations_beside_others(world, policy, state, coming) if coming else ()
    if why:
        raise Refuse("; ".join(why))


def _named_release(
    world: World, policy: Policy, state: ModelState, request: CommandGiven
) -> Release | None:
    """The release that a rollback names: one that baked once, and that the present group can
    run.
    """
    if request.command != "rollback" or not request.version:
        return None
    path = repository.release_path(request.model, request.version)
    document = world.store.get(path)
    if document is None or not document.data.get("baked_at"):
        raise Refuse(
            f"version: release {request.version} of {request.model} never served; name one that did"
        )
    release = release_from_record(document.data, path)
    stable = state.rollout.stable.spec if state.rollout.stable else None
    problems = incompatible(stable, release.spec) if stable else ()
    why = (*map(str, problems), *violations(policy, release.spec, stable))
    if why:
        raise Refuse("; ".join(why))
    return release
