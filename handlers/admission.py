"""Checks the caps that hold for the sum over all models of the project.

Called by the intake before a release is accepted, and by a pass before it applies anything of it.
The ledger (`infra/store/ledger.py`) says the most that the other models may use. What fits beside
that fits; before anything is refused, the models themselves are read, since what has ended stays in
the ledger for a while.

Invariants: what cannot be added up never counts as small. Too many models are a reason to refuse,
and a document of another schema stops the reader (`UnknownSchema`), so the message is redelivered.
Releases are accepted one after the other: each replaces the ledger that it was checked against.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

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

Specs = tuple[Spec, ...]
SpecsOf = Callable[[Rollout, Desired], Specs]


@dataclass(frozen=True)
class Admissions:
    """The document of the last admitted release, and its ledger, if that counts by the present
    policy. It is read before usage is added up and replaced in the commit that accepts the next
    release, so that of two concurrent releases one is accepted, and the other is checked again.
    """

    document: Document | None
    basis: str
    ledger: Ledger | None


def violations_beside_others(
    world: World, policy: Policy, state: ModelState, release: Release
) -> tuple[Violation, ...]:
    """Why a release may not be accepted beside everything else that was; empty if it may."""
    if not policy.has_project_caps:
        return ()
    before = _specs(state.rollout, state.desired)
    return _violations(
        world,
        policy,
        state.desired.model,
        (before, (*before, release.spec)),
        _specs,
        _read(world, policy).ledger,
    )


def candidate_violations(world: World, policy: Policy, state: ModelState) -> tuple[Violation, ...]:
    """Why the candidate may not go on. If two releases compete for capacity, the earlier one wins,
    so that not both are rolled back. A release that was accepted without the ledger is in it from
    now on.
    """
    stable, candidate = state.rollout.stable, state.rollout.candidate
    if candidate is None or not policy.has_project_caps:
        return ()
    model = state.desired.model
    last = _read(world, policy)
    own = max_usage(policy.prices, _specs(state.rollout, state.desired))
    present = last.ledger if last.ledger and last.ledger.covers(model, own) else None
    if present is None:
        with suppress(Conflict):  # another one has written it, and the next pass finds that
            present = _count_anew(world, policy, last).ledger
    before = (stable.spec,) if stable else ()
    since = (candidate.released_at, model)
    return _violations(
        world,
        policy,
        model,
        (before, (*before, candidate.spec)),
        lambda rollout, desired: competing(rollout, desired, since),
        present,
    )


def usage_of_others(world: World, policy: Policy, model: str) -> Usage:
    """What the other models may use of the project's caps; nothing is read if there are none."""
    others = _others(world, model) if policy.has_project_caps else ()
    return _usage(policy, others, _specs)


def last_admission(world: World, policy: Policy) -> Admissions | None:
    """None if the policy has no caps over the project. Counts anew if the ledger does not count by
    the present policy. Raises `Conflict` if another release is accepted meanwhile.
    """
    if not policy.has_project_caps:
        return None
    found = _read(world, policy)
    return found if found.ledger else _count_anew(world, policy, found)


def reserve(
    policy: Policy, last: Admissions | None, state: ModelState, release: Release
) -> tuple[Write, ...]:
    """The write that accepts the release. A ledger beside which it would not fit has entries that
    are too large, so it is left out, and the next release counts anew.
    """
    if last is None:
        return ()
    model = state.desired.model
    data = {"model": model, "generation": release.generation, "event_id": release.event_id}
    if last.ledger:
        specs = _specs(state.rollout, state.desired)
        before = max_usage(policy.prices, specs)
        after = max_usage(policy.prices, (*specs, release.spec))
        if not quota_violations(policy, before, after, last.ledger.others(model)):
            data |= ledger.to_fields(last.ledger.with_entry(model, after))
    return (_write(last, data),)


def _write(last: Admissions, data: dict[str, object]) -> Create | Replace:
    found = last.document
    return Replace(ADMISSION, data, found.version) if found else Create(ADMISSION, data)


def _read(world: World, policy: Policy) -> Admissions:
    found = world.store.get_many([ADMISSION, POLICY])
    version = found[POLICY].version if POLICY in found else ""
    basis, document = ledger.basis_of(version, policy.prices), found.get(ADMISSION)
    present = ledger.read_ledger(document.data, basis, world.clock.now()) if document else None
    if present and len(present.usage) > MAX_MODELS:
        present = None
    return Admissions(document, basis, present)


def _count_anew(world: World, policy: Policy, last: Admissions) -> Admissions:
    """Counts all models and saves the ledger. The document was read before the models, and is
    replaced at that version, so that a release accepted meanwhile is not left out. Raises
    `Conflict`.
    """
    counted = {
        desired.model: max_usage(policy.prices, _specs(rollout, desired))
        for rollout, desired in _others(world, "")
    }
    if len(counted) > MAX_MODELS:
        return last
    present = Ledger(last.basis, world.clock.now(), counted)
    before = last.document.data if last.document else {}
    write = _write(last, {**before, **ledger.to_fields(present)})
    versions = world.store.commit(write)
    return Admissions(
        Document(ADMISSION, dict(write.data), versions[ADMISSION]), last.basis, present
    )


def _violations(
    world: World,
    policy: Policy,
    model: str,
    change: tuple[Specs, Specs],
    specs_of: SpecsOf,
    present: Ledger | None,
) -> tuple[Violation, ...]:
    """Why the model may not grow in this way. `specs_of`: what of another model counts against
    it.
    """
    before, after = (max_usage(policy.prices, specs) for specs in change)
    if present and not quota_violations(policy, before, after, present.others(model)):
        return ()
    others = tuple(_others(world, model))
    if len(others) > MAX_MODELS:
        return (
            Violation(
                f"model: policy caps sums over the project, and more than {MAX_MODELS} models"
                " cannot be added up"
            ),
        )
    return quota_violations(policy, before, after, _usage(policy, others, specs_of))


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
