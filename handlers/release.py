"""Handles a message on `model-releases`: a release becomes desired, a command is applied, anything
else is quarantined.

Called by `main.on_release`. It never touches Compute Engine. To return is to acknowledge, to raise
is to ask for redelivery: nothing is acknowledged before it is saved, and a message that can never
be accepted is acknowledged after it was recorded with its reason.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any, assert_never

from handlers import admission
from handlers.admission import Admissions
from handlers.command import record_command, release_to_retry
from handlers.ignored import record_ignored
from handlers.quarantine import Refuse, quarantine
from handlers.save_change import save_change
from infra.bus.envelope import (
    IGNORED_TYPE,
    Message,
    Payload,
    Unreadable,
    parse_message,
    parse_payload,
)
from infra.fleet.resources import instance_template
from infra.registry.port import NoDigest
from infra.settings import POLICY, load_project_policy
from infra.store import outbox, repository
from infra.store.documents import intent_from_document, release_from_record
from infra.store.port import Put, Unstorable, Write
from infra.store.repository import StoredState
from infra.wiring import World
from rollout.accept import accept
from rollout.intents import (
    NEWER,
    base_of,
    forget,
    is_outdated,
    join,
    rejecting_release,
    serving_release,
)
from rollout.model import Desired, Intent, IntentKey, Release, Rollout, Transition
from rollout.plan_hash import changed_documents, settled_before
from rollout.policy.checks import policy_violations
from rollout.policy.gate_hosts import unasked_gates
from rollout.policy.policy import Policy
from rollout.policy.signers import expired
from rollout.policy.violation import Violation, explain
from rollout.spec.compatibility import incompatible
from rollout.spec.defaults import project_defaults
from rollout.spec.images import TaggedImage, refusal, tagged_image
from rollout.spec.message import (
    CommandGiven,
    Invalid,
    ReleaseRequested,
    decode_json,
    inherited_note,
    not_inherited,
    parse,
    resolve,
)
from rollout.spec.metrics import RATES, is_same_machine, unknown_capacity, unmeasurable
from rollout.spec.model import digest
from rollout.spec.rule_context import gives
from rollout.state import ModelState
from rollout.transitions import PhaseChange
from rollout.visible import escape

MAX_EARLY = 200

FindDigest = Callable[[TaggedImage, tuple[str, ...]], str]


def handle(world: World, event: Any) -> None:
    handle_message(world, event, accept_message)


def handle_message(world: World, event: Any, accept: Callable[[World, Message], None]) -> None:
    """Save what the event's message requests, as `accept` does it, or record why it is refused."""
    try:
        message = parse_message(event, world.project)
    except Unreadable as error:
        quarantine(world, error.key, error, error.raw)
        return
    try:
        accept(world, message)
    except (Unreadable, Invalid, Refuse, Unstorable) as error:
        quarantine(world, message.id, error, message.data)


def accept_message(world: World, message: Message) -> None:
    """Save what the message requests, and wake its model."""
    payload = parse_payload(message)
    if payload.type == IGNORED_TYPE:
        record_ignored(world, payload)
        return
    request = parse(decode_json(payload.data))
    match request:
        case ReleaseRequested():
            find_digest = cache(world.registry.find_digest)  # once, however often this is repeated
            repository.retry_on_conflict(
                world,
                lambda: record_release(world, request, payload, message.published_at, find_digest),
            )
        case CommandGiven():
            repository.retry_on_conflict(
                world, lambda: _record_command(world, request, payload, message.published_at)
            )
        case _:
            assert_never(request)
    outbox.wake(world, request.model)


def _record_command(
    world: World, request: CommandGiven, payload: Payload, published_at: datetime
) -> None:
    """A retry of a release that has ended publishes it again."""
    again = release_to_retry(world, request, payload)
    if again is None:
        record_command(world, request, payload, published_at)
    else:
        record_release(world, again, payload, published_at, world.registry.find_digest)


def record_release(
    world: World,
    request: ReleaseRequested,
    payload: Payload,
    published_at: datetime,
    find_digest: FindDigest,
) -> None:
    """Make the release desired, or record it as superseded if something newer was accepted before.
    A duplicate changes nothing, and what cannot be accepted raises `Refuse`. The tag of a release
    that is superseded already is not resolved: it never runs.
    """
    model_path = repository.model_path(request.model)
    release_path = repository.release_path(request.model, request.version)
    documents = world.store.get_many([model_path, release_path, POLICY])
    stored = repository.stored_state(documents.get(model_path))
    stored = stored or _new_model(world, request.model)
    known = documents.get(release_path)
    before = release_from_record(known.data, release_path) if known else None
    is_duplicate = before is not None and before.event_id == payload.key
    if is_duplicate or payload.key in stored.state.recent_events:
        return
    refuse_other_content(request, before)
    own_id = payload.event_id
    key = IntentKey(published_at, payload.at, len(own_id), own_id, payload.key)
    late = is_outdated(stored.state.rollout, stored.state.desired, key)
    if before and (late or not request.force):
        _record_unchanged(world, stored, before, payload, is_retry=request.is_retry)
        return
    release, base = resolve_release(world, stored.state, request, before, key)
    if late:
        accepted = repository.accept_release(world.store, request.model, release)
        notes = _note_on_newer(world, stored.state, release)
        _accept(world, stored, release, payload, *notes, accepted, is_retry=request.is_retry)
        return
    policy = load_project_policy(world.store, documents, world.project)
    last = admission.last_admission(world, policy)
    release = check_release(world, policy, last, stored.state, request, release, base, find_digest)
    if request.plan:
        settled = settled_before(stored.state.rollout)
        if changed := changed_documents(request.plan, settled, release, base, policy):
            raise Refuse(f"plan: {changed}")
    accepted = repository.accept_release(world.store, request.model, release)
    admitted = admission.reserve(policy, last, stored.state, release)
    _accept(world, stored, release, payload, accepted, *admitted, is_retry=request.is_retry)


def refuse_other_content(request: ReleaseRequested, before: Release | None) -> None:
    """A version is never used for other content."""
    if before and not request.is_retry and before.patch_digest != _digest(request):
        raise Refuse(
            f"version: release {request.version} of {request.model} exists with other content; give"
            " this one a new version"
        )


def check_release(
    world: World,
    policy: Policy,
    last: Admissions | None,
    state: ModelState,
    request: ReleaseRequested,
    release: Release,
    base: Release | None,
    find_digest: FindDigest,
) -> Release:
    """The release as it may be accepted, with its image's digest. Raises `Refuse` with all that
    forbids it. It changes nothing: `handlers/forecast.py` calls it too.
    """
    if rejecting := rejecting_release(state.rollout, state.desired):
        raise Refuse(
            f"release {release.version}: release {rejecting.version} is being rolled out, and its"
            " rollout.on_newer is reject; publish this one again when that has ended, or abort it"
        )
    why = _violations(world, policy, last, state, release)
    why = why or _unmeasurable(world, state, release, request, base)
    if why:
        raise Refuse(*(f"{each}{_inherited(request, each, base)}" for each in why))
    release = _with_digest(request.model, release, policy, find_digest)
    if release.digest in state.rollout.failed_digests and not release.force:
        raise Refuse(
            f"release {release.version}: this content was rolled back before; publish it with"
            ' "force": true to try it again'
        )
    return release


def _new_model(world: World, model: str) -> StoredState:
    """The state of a model without any release, with the commands that were refused because they
    arrived before its first one.
    """
    entries = world.store.list(f"models/{model}/log", MAX_EARLY, None)
    found = (each.data["intent"] for each in entries if "intent" in each.data)
    desired = Desired(model)
    for intent in map(intent_from_document, found):
        desired = join(desired, intent)
    return StoredState(ModelState(forget(Rollout(), desired, world.clock.now())), None)


def _accept(
    world: World,
    stored: StoredState,
    release: Release,
    payload: Payload,
    *writes: Write,
    is_retry: bool,
) -> None:
    state, now = stored.state, world.clock.now()
    intent = Intent(
        "retry" if is_retry else "release",
        release.event_id,
        release.released_at,
        payload.at,
        release.version,
        release.generation,
        requested_by=release.requested_by,
        reason=release.reason,
        own_id=release.own_id,
    )
    change = accept(state.rollout, state.desired, intent, now, release)
    save_change(world, stored, change, payload, *writes, release=release)


def _record_unchanged(
    world: World, stored: StoredState, release: Release, payload: Payload, *, is_retry: bool
) -> None:
    """A release that was published again with the same content: another try at a version that
    ended needs `force`, or `retry`.
    """
    why = (
        f"release {release.version} was accepted before, with the same content; publish it with"
        ' "force": true to roll it out again'
    )
    if is_retry:
        why = f"retry changes nothing: {NEWER}"
    unchanged = Transition(release.version, "published", "unchanged", why)
    change = PhaseChange(stored.state.rollout, stored.state.desired, (unchanged,))
    save_change(world, stored, change, payload)


def _note_on_newer(world: World, state: ModelState, late: Release) -> Iterator[Write]:
    """The records of newer releases say that they were resolved without the late one."""
    found = (state.rollout.stable, state.rollout.candidate, state.desired.release)
    newer = {each.version for each in found if each and each.key > late.key}
    for version in sorted(newer):
        path = repository.release_path(state.desired.model, version)
        record = world.store.get(path)
        if record:
            without = [*record.data.get("resolved_without", []), late.version]
            yield Put(path, record.data | {"resolved_without": without})


def resolve_release(
    world: World,
    state: ModelState,
    request: ReleaseRequested,
    before: Release | None,
    key: IntentKey,
) -> tuple[Release, Release | None]:
    """The release, and what it inherits from. `before` is the same version, accepted earlier."""
    base = None if before else _base(world, state, request, key)
    return _release(world, state, request, before, base, key), base


def _release(
    world: World,
    state: ModelState,
    request: ReleaseRequested,
    before: Release | None,
    base: Release | None,
    key: IntentKey,
) -> Release:
    """`before` is the same version, accepted earlier; otherwise `base` is what it inherits from."""
    if before:
        spec, inherits_from = before.spec, before.inherits_from
    else:
        inherits_from = base.version if base else ""
        spec = resolve(
            request,
            base.spec if base else None,
            inherits_from,
            has_metrics=world.has_metrics,
            of_project=project_defaults(world.project),
        )
    misfits = not_inherited(request.patch, base.spec) if base else ()
    return Release(
        version=request.version,
        digest=digest(spec),
        template=instance_template.name(request.model, spec),
        spec=spec,
        generation=state.desired.generation + 1,
        released_at=key.published_at,
        event_id=key.event_id,
        patch_digest=before.patch_digest if before else _digest(request),
        requested_by=request.requested_by,
        reason=request.reason,
        force=request.force,
        sent_at=key.sent_at,
        own_id=key.id,
        inherits_from=inherits_from,
        plan=request.plan,
        not_inherited=before.not_inherited if before else " and ".join(misfits),
    )


def _base(
    world: World, state: ModelState, request: ReleaseRequested, key: IntentKey
) -> Release | None:
    """The release that this one inherits from: the one that it names, else the newest good one."""
    if request.base is None:
        return base_of(state.rollout, state.desired, key)
    path = repository.release_path(request.model, request.base)
    record = world.store.get(path)
    if record is None:
        raise Refuse(
            f"base: there is no release {request.base} of {request.model}; name one that was"
            " accepted, or leave it out"
        )
    return release_from_record(record.data, path)


def _with_digest(model: str, release: Release, policy: Policy, find_digest: FindDigest) -> Release:
    """The release with the digest that its image's tag has now. An inherited image has one already
    and is not resolved again.
    """
    artifact = release.spec.artifact
    image = tagged_image(artifact.image) if artifact.image else None
    if image is None:
        return release
    try:
        resolved = f"{image.name}@{find_digest(image, policy.registries)}"
    except NoDigest as error:
        raise Refuse(refusal(image, escape(str(error)))) from error
    spec = release.spec.model_copy(
        update={"artifact": artifact.model_copy(update={"image": resolved})}
    )
    template = instance_template.name(model, spec)
    return replace(release, spec=spec, digest=digest(spec), template=template)


def _violations(
    world: World,
    policy: Policy,
    last: Admissions | None,
    state: ModelState,
    release: Release,
) -> tuple[str, ...]:
    """Why policy or the serving group does not allow a release."""
    stable = serving_release(state.rollout)
    before = stable.spec if stable else None
    why = (
        *policy_violations(policy, state.desired.model, release.version, release.spec, before),
        *map(Violation, expired(policy, release.spec.artifact, world.clock.now())),
        *admission.violations_beside_others(policy, last, state, release),
    )
    if why:
        return explain(why)
    return tuple(map(str, incompatible(stable.spec, release.spec))) if stable else ()


def _unmeasurable(
    world: World,
    state: ModelState,
    release: Release,
    request: ReleaseRequested,
    base: Release | None,
) -> tuple[str, ...]:
    """Why requests could not be counted, a job not be asked, or the candidate not be sized, as the
    release needs it.
    """
    stable = serving_release(state.rollout)
    problems = unmeasurable(release.spec, world.metrics_source)
    problems += () if world.has_verdicts else unasked_gates(release.spec.rollout.gates)
    if stable:
        given = any(gives(request.patch, path) for path in RATES)
        is_other = base is not None and not is_same_machine(base.spec, release.spec)
        problems += unknown_capacity(
            stable.spec,
            release.spec,
            has_metrics=world.has_metrics,
            is_inherited=is_other and not given,
        )
    return tuple(map(str, problems))


def _inherited(request: ReleaseRequested, why: str, base: Release | None) -> str:
    """What to add to a reason of `_violations`, which begins with the path of a field."""
    path, spec = why.partition(":")[0], base.spec if base else None
    return inherited_note(request.patch, path, spec, base.version if base else "")


def _digest(request: ReleaseRequested) -> str:
    content = dict(request.patch) | ({"base": request.base} if request.base else {})
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
