"""Handles a message on `model-releases`: a release becomes desired, a command is recorded, anything
else is quarantined.

Called by `main.on_release`. It never touches Compute Engine. To return is to acknowledge, to raise
is to ask for redelivery: nothing is acknowledged before it is saved, and a message that can never
be accepted is acknowledged after it was recorded with its reason.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import datetime
from typing import Any, assert_never

from handlers import admission
from handlers.command import record_command
from handlers.quarantine import Refuse, quarantine
from infra.bus.envelope import Message, Payload, Unreadable, parse_message, parse_payload
from infra.fleet.resources import instance_template
from infra.settings import POLICY, load_project_policy
from infra.store import outbox, repository
from infra.store.documents import release_from_record
from infra.store.port import Unstorable, Write
from infra.store.repository import StoredState
from infra.wiring import World
from rollout.model import Desired, Release, Transition
from rollout.policy.caps import violations
from rollout.policy.policy import Policy
from rollout.spec.compatibility import incompatible
from rollout.spec.message import (
    CommandGiven,
    Invalid,
    ReleaseRequested,
    decode_json,
    parse,
    resolve,
)
from rollout.spec.model import Spec, digest
from rollout.state import ModelState
from rollout.transitions import supersede_pending


def handle(world: World, event: Any) -> None:
    try:
        message = parse_message(event, world.project)
    except Unreadable as error:
        quarantine(world, hashlib.sha256(error.raw).hexdigest(), str(error), error.raw)
        return
    try:
        model = accept(world, message)
    except (Unreadable, Invalid, Refuse, Unstorable) as error:
        quarantine(world, message.id, str(error), message.data)
        return
    outbox.wake(world, model)


def accept(world: World, message: Message) -> str:
    """Save what the message requests. Returns the name of its model."""
    payload = parse_payload(message)
    request = parse(decode_json(payload.data))
    match request:
        case ReleaseRequested():
            repository.retry_on_conflict(
                lambda: record_release(world, request, payload, message.published_at)
            )
        case CommandGiven():
            repository.retry_on_conflict(
                lambda: record_command(world, request, payload, message.published_at)
            )
        case _:
            assert_never(request)
    return request.model


def record_release(
    world: World, request: ReleaseRequested, payload: Payload, published_at: datetime
) -> None:
    """Make the release desired. A duplicate changes nothing, an event older than the newest
    accepted one is recorded as superseded, and what cannot be accepted raises `Refuse`.
    """
    model_path = repository.model_path(request.model)
    release_path = repository.release_path(request.model, request.version)
    documents = world.store.get_many([model_path, release_path, POLICY])
    stored = repository.stored_state(documents.get(model_path))
    stored = stored or StoredState(ModelState(Desired(request.model)), None)
    if payload.key in stored.state.recent_events:
        return
    known = documents.get(release_path)
    before = release_from_record(known.data, release_path) if known else None
    if before and before.patch_digest != _digest(request.patch):
        raise Refuse(
            f"version: release {request.version} of {request.model} exists with other content; give"
            " this one a new version"
        )
    latest = stored.state.desired.latest_published_at
    is_old = latest is not None and published_at < latest
    if before and (is_old or not request.force):
        return  # recorded already; another try at a version that ended needs "force": true
    spec = before.spec if before else None
    release = _release(stored.state, request, spec, payload, published_at)
    if is_old:
        _supersede(world, stored, release, payload)
    else:
        _desire(world, stored, release, payload, load_project_policy(world.store, documents))


def _supersede(world: World, stored: StoredState, release: Release, payload: Payload) -> None:
    why = f"something newer than release {release.version} was published before it arrived"
    superseded = Transition(
        release.version, "published", "superseded", why, "superseded", "superseded"
    )
    after = replace(stored.state, revision=stored.state.revision + 1)
    _save(world, stored, after, (superseded,), release, payload)


def _desire(
    world: World, stored: StoredState, release: Release, payload: Payload, policy: Policy
) -> None:
    state = stored.state
    last = admission.last_admission(world, policy)
    _check(world, policy, state, release)
    transitions = (
        *supersede_pending(state.rollout, state.desired, f"release {release.version} is newer"),
        Transition(release.version, "published", "desired", _why(release)),
    )
    desired = replace(
        state.desired,
        release=release,
        generation=release.generation,
        latest_published_at=release.released_at,
    )
    after = replace(
        state, desired=desired, requeue_at=world.clock.now(), revision=state.revision + 1
    )
    admitted = admission.reserve(policy, last, state.desired.model, release)
    _save(world, stored, after, transitions, release, payload, admitted)


def _save(
    world: World,
    stored: StoredState,
    state: ModelState,
    transitions: tuple[Transition, ...],
    release: Release,
    payload: Payload,
    admitted: tuple[Write, ...] = (),
) -> None:
    now, model = world.clock.now(), state.desired.model
    accepted = repository.accept_release(world.store, model, release)
    ended = (stored.state.desired.release, release)
    outcomes = repository.record_outcomes(world.store, model, ended, transitions, now)
    releases = {write.path: write for write in (accepted, *outcomes)}
    log = repository.record_transitions(state, transitions, now, payload.key)
    written = repository.write_state(stored, repository.with_event(state, payload.key))
    world.store.commit(written, *releases.values(), *log, *admitted)
    outbox.publish_committed(world, log)


def _release(
    state: ModelState,
    request: ReleaseRequested,
    spec: Spec | None,
    payload: Payload,
    published_at: datetime,
) -> Release:
    base = state.desired.release.spec if state.desired.release else None
    spec = spec or resolve(request, base)
    return Release(
        version=request.version,
        digest=digest(spec),
        template=instance_template.name(request.model, spec),
        spec=spec,
        generation=state.desired.generation + 1,
        released_at=published_at,
        event_id=payload.key,
        patch_digest=_digest(request.patch),
        requested_by=request.requested_by,
        reason=request.reason,
        force=request.force,
    )


def _check(world: World, policy: Policy, state: ModelState, release: Release) -> None:
    """Raises `Refuse` for a release that policy, its own past or the serving group does not
    allow.
    """
    stable = state.rollout.stable
    why = (
        *violations(policy, release.spec, stable.spec if stable else None),
        *admission.violations_beside_others(world, policy, state, release),
    )
    if why:
        raise Refuse("; ".join(why))
    if release.digest in state.rollout.failed_digests and not release.force:
        raise Refuse(
            f"release {release.version}: this content was rolled back before; publish it with"
            ' "force": true to try it again'
        )
    problems = incompatible(stable.spec, release.spec) if stable else ()
    if problems:
        raise Refuse("; ".join(str(problem) for problem in problems))


def _why(release: Release) -> str:
    by = f" by {release.requested_by}" if release.requested_by else ""
    reason = f": {release.reason}" if release.reason else ""
    return f"release {release.version} was published{by}{reason}"


def _digest(patch: Any) -> str:
    text = json.dumps(patch, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
