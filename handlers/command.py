"""Accepts a command, such as `pause` or `rollback`.

Called by `handlers/release.py`. `rollout/accept.py` decides what the command changes; here a
rollback is checked against the releases that baked, and against policy, and the release of a retry
is found. The next pass carries out what was decided. Invariant: a duplicate changes nothing.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from handlers import admission
from handlers.quarantine import NoModel, Refuse
from handlers.save_change import save_change
from infra.bus.envelope import Payload
from infra.settings import POLICY, load_project_policy
from infra.store import repository
from infra.store.documents import release_from_record
from infra.store.port import Write
from infra.wiring import World
from rollout import controls, restored
from rollout.accept import accept
from rollout.intents import serving_release
from rollout.model import Intent, Phase, Release, phase_name
from rollout.policy.checks import policy_violations
from rollout.policy.violation import explain
from rollout.spec.compatibility import incompatible, restorable
from rollout.spec.message import CommandGiven, ReleaseRequested
from rollout.state import ModelState

RETRIED = ("rolled_back", "aborted", "refused")
"""The outcomes after which `retry` tries a release again."""
APPROVALS = ("approve", "reject")


def record_command(
    world: World, request: CommandGiven, payload: Payload, published_at: datetime, topic: str = ""
) -> None:
    """`topic`: the topic for approvals on which the command came, empty if it came on another."""
    stored = repository.load_state(world.store, request.model)
    if stored is None:
        raise NoModel(request.model, _intent(request, payload, published_at))
    state = stored.state
    if payload.key in state.recent_events:
        return
    if why := controls.refusal(state, request.command, request.version or ""):
        raise Refuse(why)
    if request.command == "resume" and state.hold:
        resumed = _resume_hold(world, state, request, payload)
        world.store.commit(repository.write_state(stored, resumed))
        return
    intent = _intent(request, payload, published_at)
    if request.command in APPROVALS:
        intent = replace(intent, approver=_approver(world, state, request) or topic)
    if request.command == "rollback":
        goal = _kept_release(world, request) if request.version else state.rollout.previous
        stable = serving_release(state.rollout)
        if goal and stable and not _is_kept(state, goal):
            goal = replace(goal, spec=restorable(stable.spec, goal.spec))
        intent = replace(intent, generation=state.desired.generation + 1, goal=goal)
    change = accept(state.rollout, state.desired, intent, world.clock.now())
    desired = change.desired.release
    writes: tuple[Write, ...] = ()
    if desired and desired.event_id == intent.event_id:
        writes = _reserve(world, state, desired, is_named=bool(request.version))
    save_change(world, stored, change, payload, *writes)


def _intent(request: CommandGiven, payload: Payload, published_at: datetime) -> Intent:
    return Intent(
        request.command,
        payload.key,
        published_at,
        payload.at,
        request.version or "",
        requested_by=request.requested_by,
        reason=request.reason,
        own_id=payload.event_id,
        is_full=request.is_full,
    )


def release_to_retry(
    world: World, request: CommandGiven, payload: Payload
) -> ReleaseRequested | None:
    """The release that a retry publishes again: the last that failed, or the one that it names.
    None if the command is not a retry, or is about the release that is being rolled out.
    """
    stored = repository.load_state(world.store, request.model)
    if request.command != "retry" or stored is None or payload.key in stored.state.recent_events:
        return None
    state, named = stored.state, request.version or ""
    if why := controls.refusal(state, request.command, named):
        raise Refuse(why)
    if controls.is_about_candidate(state, named):
        return None
    version = named or state.rollout.last_failed
    record = world.store.get(repository.release_path(request.model, version))
    outcome = record.data.get("outcome") if record else "unknown"
    if outcome not in RETRIED:
        raise Refuse(
            f"version: release {version} of {request.model} has not failed, its outcome is"
            f" {outcome}; name one that was rolled back, aborted or refused"
        )
    return ReleaseRequested(
        request.model,
        version,
        force=True,
        requested_by=request.requested_by,
        reason=request.reason,
        is_retry=True,
    )


def _approver(world: World, state: ModelState, request: CommandGiven) -> str:
    """The name of the policy's key that signed the command; empty if it is not signed, or if there
    is no release that it could be about.
    """
    candidate = state.rollout.candidate
    if not request.signature or candidate is None:
        return ""
    policy = load_project_policy(world.store, world.store.get_many([POLICY]), world.project)
    text = signed_text(state.desired.model, request.command, candidate, state.rollout.phase)
    for name, key in policy.approvers.items():
        if policy.is_signed(text, request.signature, (key,)):
            return name
    raise Refuse(f"signature: must be one of {text!r} by a key of the policy's approvers")


def signed_text(model: str, command: str, release: Release, phase: Phase) -> str:
    """What an approver signs. It names the attempt, so that nobody can use the signature for
    another one, and with an approval also the step.
    """
    text = f"{command} {model} {release.version} {release.generation}"
    return f"{text} {phase_name(phase)}" if command == "approve" else text


def _resume_hold(
    world: World, state: ModelState, request: CommandGiven, payload: Payload
) -> ModelState:
    """A model on hold after its store was restored goes on with the next pass."""
    who = f"resumed by {request.requested_by}" if request.requested_by else "resumed on command"
    why = f"{who}: {request.reason}" if request.reason else who
    after = restored.resume(state, request.version or "", why, world.clock.now())
    return repository.with_event(after, payload.key)


def _kept_release(world: World, request: CommandGiven) -> Release:
    """The release that a rollback names: one that baked once."""
    path = repository.release_path(request.model, request.version or "")
    document = world.store.get(path)
    if document is None or not document.data.get("baked_at"):
        raise Refuse(
            f"version: release {request.version} of {request.model} never served; name one that did"
        )
    return release_from_record(document.data, path)


def _is_kept(state: ModelState, release: Release) -> bool:
    """Whether the release's group still exists, so that it only needs its requests back."""
    kept = state.rollout.kept
    return kept is not None and kept.release.version == release.version


def _reserve(
    world: World, state: ModelState, release: Release, *, is_named: bool
) -> tuple[Write, ...]:
    """Reserve capacity for the release to return to. Raises `Refuse` if policy or the serving group
    does not allow it.
    """
    policy = load_project_policy(world.store, world.store.get_many([POLICY]), world.project)
    last = admission.last_admission(world, policy)
    stable = serving_release(state.rollout)
    why: tuple[str, ...] = ()
    if is_named:
        is_kept = _is_kept(state, release)
        problems = incompatible(stable.spec, release.spec) if stable and not is_kept else ()
        before = stable.spec if stable else None
        caps = policy_violations(policy, state.desired.model, release.version, release.spec, before)
        why = (*map(str, problems), *explain(caps))
    why = why or explain(admission.violations_beside_others(policy, last, state, release))
    if why:
        raise Refuse(*why)
    return admission.reserve(policy, last, state, release)
