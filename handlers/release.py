"""A message on `model-releases`: a model-release event becomes desired, a command is recorded,
anything else is quarantined.

Called by `main.on_release`. It never touches Compute Engine. Return means acknowledged, raise means
redelivered: a message that can never be accepted is acknowledged after it is on record with its
reason, and nothing is acknowledged before it is saved."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from datetime import datetime
from typing import Any, assert_never

from handlers import admission
from handlers.command import record_command
from handlers.redaction import redact_message
from infra.bus.envelope import Message, Payload, Unreadable, parse_message, parse_payload
from infra.fleet.resources import instance_template
from infra.settings import POLICY, load_project_policy
from infra.store import repository
from infra.store.documents import State, release_from_document, release_to_document
from infra.store.port import Conflict, Create, Put, Unstorable, Write
from infra.store.repository import Refuse, StoredState
from infra.wiring import World
from rollout.commands import superseded
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

RAW_CAP = 32 * 1024


def handle(world: World, event: Any) -> None:
    try:
        message = parse_message(event, world.project)
    except Unreadable as unreadable:
        quarantine(
            world, hashlib.sha256(unreadable.raw).hexdigest(), str(unreadable), unreadable.raw
        )
        return
    try:
        model = accept(world, message)
    except (Unreadable, Invalid, Refuse, Unstorable) as refusal:
        quarantine(world, message.id, str(refusal), message.data)
        return
    repository.wake(world, model)


def accept(world: World, message: Message) -> str:
    """The name of the model that the message is about, once what it asks is saved."""
    sent = parse_payload(message)
    asked = parse(decode_json(sent.data))
    match asked:
        case ReleaseRequested():
            repository.retry_on_conflict(
                lambda: record_release(world, asked, sent, message.published_at)
            )
        case CommandGiven():
            repository.retry_on_conflict(
                lambda: record_command(world, asked, sent, message.published_at)
            )
        case _:
            assert_never(asked)
    return asked.model


def record_release(
    world: World, asked: ReleaseRequested, sent: Payload, published_at: datetime
) -> None:
    """Make the release desired. Nothing changes for a duplicate; an older release than the desired
    one is put on record as superseded; what cannot be accepted raises `Refuse`."""
    path = repository.release_path(asked.model, asked.version)
    documents = world.store.get_many([repository.model_path(asked.model), path, POLICY])
    held = repository.stored_state(
        documents.get(repository.model_path(asked.model))
    ) or StoredState(State(Desired(asked.model)), None)
    state, known = held.state, documents.get(path)
    if sent.key in state.seen:
        return
    before = release_from_document(known.data) if known else None
    if before and before.asked != _hash(asked.patch):
        raise Refuse(
            f"version: release {asked.version} of {asked.model} exists with other content; give"
            " this one a new version"
        )
    latest = state.desired.latest
    is_old = latest is not None and published_at < latest
    if before and (is_old or not asked.force):
        return  # known already: a new try at a version that ended needs "force": true
    release = _release(state, asked, before.spec if before else None, sent, published_at)
    if is_old:
        why = f"something newer than release {release.version} was published before it came"
        told = Transition(
            release.version, "published", "superseded", why, "superseded", "superseded"
        )
        _save(world, held, replace(state, revision=state.revision + 1), (told,), release, sent)
        return
    policy = load_project_policy(world.store, documents)
    last = admission.last_admission(world, policy)
    _check(
        state,
        release,
        (
            *_forbidden(policy, state, release),
            *admission.admission_violations(world, policy, state, release),
        ),
    )
    told = Transition(release.version, "published", "desired", _who(release))
    ended = superseded(state.rollout, state.desired, f"release {release.version} is newer")
    after = replace(
        state,
        desired=replace(
            state.desired, release=release, generation=release.generation, latest=published_at
        ),
        requeue_at=world.clock.now(),
        revision=state.revision + 1,
    )
    _save(
        world,
        held,
        after,
        (*ended, told),
        release,
        sent,
        admission.admit(policy, last, asked.model, release),
    )


def _save(
    world: World,
    held: StoredState,
    state: State,
    transitions: tuple[Transition, ...],
    release: Release,
    sent: Payload,
    beside: tuple[Write, ...] = (),
) -> None:
    now, model = world.clock.now(), state.desired.model
    path, record = repository.release_path(model, release.version), release_to_document(release)
    known = {known.version: known for known in (held.state.desired.release, release) if known}
    writes: list[Write] = [Put(path, record) if release.force else Create(path, record)]
    writes += [
        repository.release_outcome(model, known[told.release], told, now)
        for told in transitions
        if told.outcome
    ]
    told = repository.record_transitions(state, transitions, now, sent.key)
    remembered = repository.with_event_id(state, sent.key)
    world.store.commit(
        repository.write_state(held, remembered),
        *{write.path: write for write in writes}.values(),
        *told,
        *beside,
    )
    repository.publish_outbox(world, told)


def _release(
    state: State, asked: ReleaseRequested, spec: Spec | None, sent: Payload, published_at: datetime
) -> Release:
    base = state.desired.release.spec if state.desired.release else None
    spec = spec or resolve(asked, base)
    return Release(
        version=asked.version,
        digest=digest(spec),
        template=instance_template.name(asked.model, spec),
        spec=spec,
        generation=state.desired.generation + 1,
        released_at=published_at,
        event_id=sent.key,
        asked=_hash(asked.patch),
        requested_by=asked.requested_by,
        reason=asked.reason,
        force=asked.force,
    )


def _forbidden(policy: Policy, state: State, release: Release) -> tuple[str, ...]:
    return violations(
        policy, release.spec, state.rollout.stable.spec if state.rollout.stable else None
    )


def _check(state: State, release: Release, forbidden: tuple[str, ...]) -> None:
    if forbidden:
        raise Refuse("; ".join(forbidden))
    if release.digest in state.rollout.failed and not release.force:
        raise Refuse(
            f'release {release.version}: this content went back before; publish it with "force":'
            " true to try it again"
        )
    if state.rollout.stable:
        problems = incompatible(state.rollout.stable.spec, release.spec)
        if problems:
            raise Refuse("; ".join(str(problem) for problem in problems))


def quarantine(world: World, key: str, why: str, raw: bytes) -> None:
    """Put a message on record that can never be accepted: once, however often it comes, with a dead
    letter and a status event."""
    now, size, raw = world.clock.now(), len(raw), redact_message(raw)[:RAW_CAP]
    data = {"why": why, "raw": base64.b64encode(raw).decode(), "size": size, "at": now}
    notice = json.dumps({"why": why, "quarantine": key, "size": size}).encode()
    about = {"why": why.encode(errors="replace")[:1000].decode(errors="ignore"), "quarantine": key}
    told = repository.status_attributes(key, "", now, "quarantine")
    outgoing = (
        repository.outbox_message(
            f"quarantine-{key}-dead", repository.DEAD_LETTERS, raw, about, now
        ),
        repository.outbox_message(f"quarantine-{key}-status", repository.STATUS, notice, told, now),
    )
    try:
        world.store.commit(Create(f"quarantine/{key}", data), *outgoing)
    except Conflict:
        return
    repository.log_quarantine(key, why)
    repository.publish_outbox(world, outgoing)


def _who(release: Release) -> str:
    by = f" by {release.requested_by}" if release.requested_by else ""
    return f"release {release.version} was published{by}" + (
        f": {release.reason}" if release.reason else ""
    )


def _hash(patch: Any) -> str:
    return hashlib.sha256(
        json.dumps(patch, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()
