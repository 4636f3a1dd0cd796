"""Checks the caps that hold for the sum over all models of the project.

Called by the intake before a release is accepted, and by a pass before it applies anything of it.
The ledger (`infra/store/ledger.py`) says the most that the other models may use. What fits beside
that fits; before anything is refused, the models themselves are counted, since what has ended stays
in the ledger for a while.

Invariants: what cannot be added up never counts as small. Too many models are a reason to refuse,
and a document of another schema stops the reader (`UnknownSchema`), so the message is redelivered.
Releases are accepted one after the other: each replaces the ledger that it was checked against. A
release that is refused writes nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from infra.settings import POLICY
from infra.store import ledger, repository
from infra.store.ledger import Ledger
from infra.store.live import LIVE_FIELDS, read_live
from infra.store.port import Conflict, Create, Document, Replace, Write
from infra.wiring import World
from rollout.model import Desired, Release, Rollout
from rollout.policy.policy import Policy
from rollout.policy.usage import Usage, competing, live_releases, max_usage, quota_violations
from rollout.policy.violation import Violation
from rollout.spec.model import Spec
from rollout.state import ModelState

PAGE = 200
MAX_MODELS = 10_000
ADMISSION = "settings/admission"

_TOO_MANY = Violation(
    f"model: policy caps sums over the project, and more than {MAX_MODELS} models cannot be added"
    " up"
)

Specs = tuple[Spec, ...]
SpecsOf = Callable[[Rollout, Desired], Specs]


@dataclass(frozen=True)
class Admissions:
    """The document of the last admitted release, its ledger, if that counts by the present policy,
    and what counts the models anew, once at most (None: they cannot be added up). The document is
    read before usage is added up and replaced in the commit that accepts the next release, so that
    of two concurrent releases one is accepted, and the other is checked again.
    """

    document: Document | None
    ledger: Ledger | None
    count: Callable[[], Ledger | None]


def last_admission(world: World, policy: Policy) -> Admissions | None:
    """None if the policy has no caps over the project."""
    return _read(world, policy) if policy.has_project_caps else None


def violations_beside_others(
    policy: Policy, last: Admissions | None, state: ModelState, release: Release
) -> tuple[Violation, ...]:
    """Why a release may not be accepted beside everything else that was; empty if it may."""
    if last is None or _fitting(policy, last, state, release):
        return ()
    counted = last.count()
    if counted is None:
        return (_TOO_MANY,)
    model = state.desired.model
    return quota_violations(policy, *_growth(policy, state, release), counted.others(model))


def reserve(
    policy: Policy, last: Admissions | None, state: ModelState, release: Release
) -> tuple[Write, ...]:
    """The write that accepts the release. Without a ledger the next release counts anew."""
    if last is None:
        return ()
    model = state.desired.model
    data = {"model": model, "generation": release.generation, "event_id": release.event_id}
    if present := _fitting(policy, last, state, release) or last.count():
        _, after = _growth(policy, state, release)
        data |= ledger.to_fields(present.with_entry(model, after))
    return (_write(last, data),)


def _fitting(
    policy: Policy, last: Admissions, state: ModelState, release: Release
) -> Ledger | None:
    """The stored ledger, if the release fits beside it."""
    present = last.ledger
    if present is None:
        return None
    others = present.others(state.desired.model)
    violations = quota_violations(policy, *_growth(policy, state, release), others)
    return None if violations else present


def _growth(policy: Policy, state: ModelState, release: Release) -> tuple[Usage, Usage]:
    """What the model may use before and after the release is accepted."""
    specs = _specs(state.rollout, state.desired)
    return max_usage(policy.prices, specs), max_usage(policy.prices, (*specs, release.spec))


def candidate_violations(world: World, policy: Policy, state: ModelState) -> tuple[Violation, ...]:
    """Why the candidate may not go on. If two releases compete for capacity, the earlier one wins,
    so that not both are rolled back. A release that was accepted without the ledger is in it from
    now on.
    """
    stable, candidate = state.rollout.stable, state.rollout.candidate
    if candidate is None or not policy.has_project_caps:
        return ()
    model, last = state.desired.model, _read(world, policy)
    own = max_usage(policy.prices, _specs(state.rollout, state.desired))
    present = last.ledger
    if present is None or not present.covers(model, own):
        present = last.count()
        _save(world, last, present)
    before = max_usage(policy.prices, (stable.spec,) if stable else ())
    after = max_usage(policy.prices, (*((stable.spec,) if stable else ()), candidate.spec))
    if present and not quota_violations(policy, before, after, present.others(model)):
        return ()
    others = tuple(_others(world, model))
    if len(others) > MAX_MODELS:
        return (_TOO_MANY,)
    since = (candidate.released_at, model)
    usage = _usage(policy, others, lambda rollout, desired: competing(rollout, desired, since))
    return quota_violations(policy, before, after, usage)


def usage_of_others(world: World, policy: Policy, model: str) -> Usage:
    """What the other models may use of the project's caps; nothing is read if there are none."""
    others = _others(world, model) if policy.has_project_caps else ()
    return _usage(policy, others, _specs)


def _read(world: World, policy: Policy) -> Admissions:
    found = world.store.get_many([ADMISSION, POLICY])
    version = found[POLICY].version if POLICY in found else ""
    basis, document = ledger.basis_of(version, policy.prices), found.get(ADMISSION)
    present = ledger.read_ledger(document.data, basis, world.clock.now()) if document else None
    return Admissions(document, present, cache(lambda: _count(world, policy, basis)))


def _count(world: World, policy: Policy, basis: str) -> Ledger | None:
    """Of all models, as they are now. None if there are too many."""
    counted = {
        desired.model: max_usage(policy.prices, _specs(rollout, desired))
        for rollout, desired in _others(world, "")
    }
    return Ledger(basis, world.clock.now(), counted) if len(counted) <= MAX_MODELS else None


def _save(world: World, last: Admissions, counted: Ledger | None) -> None:
    """Saves what was counted. The document was read before the models, and is replaced at that
    version, so that a release accepted meanwhile is not left out; then nothing is saved, and what
    was accepted has written a ledger itself.
    """
    before = last.document.data if last.document else {}
    with suppress(Conflict):
        if counted:
            world.store.commit(_write(last, {**before, **ledger.to_fields(counted)}))


def _write(last: Admissions, data: Mapping[str, object]) -> Create | Replace:
    found = last.document
    return Replace(ADMISSION, data, found.version) if found else Create(ADMISSION, data)


def _usage(policy: Policy, others: Iterable[tuple[Rollout, Desired]], specs_of: SpecsOf) -> Usage:
    return ledger.total(max_usage(policy.prices, specs_of(*other)) for other in others)


def _others(world: World, model: str) -> Iterator[tuple[Rollout, Desired]]:
    """The other models that have a release, up to a page more than can be added up. A retired model
    uses nothing.
    """
    after: str | None = None
    found = 0
    while found <= MAX_MODELS and (page := world.store.list("models", PAGE, after, LIVE_FIELDS)):
        for document in page:
            if document.path != repository.model_path(model):
                rollout, desired = read_live(document.data)
                is_live = bool(live_releases(rollout, desired))
                found += is_live
                if is_live:
                    yield rollout, desired
        after = page[-1].path.rpartition("/")[2]


def _specs(rollout: Rollout, desired: Desired) -> Specs:
    return tuple(release.spec for release in live_releases(rollout, desired))
