"""Checks the caps that hold for the sum over all models of the project.

Called by the intake before a release is accepted, and by a pass before it applies anything of it.
It changes nothing. Invariant: what cannot be added up never counts as small. Too many models are a
reason to refuse, and a document of another schema stops the reader (`UnknownSchema`), so the
message is redelivered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from infra.store import repository
from infra.store.documents import from_document
from infra.store.port import Create, Document, Replace, Write
from infra.wiring import World
from rollout.model import Release
from rollout.policy.policy import Policy
from rollout.policy.usage import Usage, competing, live_releases, max_usage, quota_violations
from rollout.policy.violation import Violation
from rollout.spec.model import Spec
from rollout.state import ModelState

PAGE = 200
MAX_MODELS = 2000
ADMISSION = "settings/admission"

Specs = tuple[Spec, ...]


def violations_beside_others(
    world: World, policy: Policy, state: ModelState, release: Release
) -> tuple[Violation, ...]:
    """Why a release may not be accepted beside everything else that was; empty if it may."""
    before = _specs(state)
    return _violations(world, policy, state, before, (*before, release.spec), _specs)


def candidate_violations(world: World, policy: Policy, state: ModelState) -> tuple[Violation, ...]:
    """Why the candidate may not go on. If two releases compete for capacity, the earlier one wins,
    so that not both are rolled back.
    """
    stable, candidate = state.rollout.stable, state.rollout.candidate
    if candidate is None:
        return ()
    before = (stable.spec,) if stable else ()
    since = (candidate.released_at, state.desired.model)
    return _violations(
        world,
        policy,
        state,
        before,
        (*before, candidate.spec),
        lambda other: competing(other.rollout, other.desired, since),
    )


def usage_of_others(world: World, policy: Policy, model: str) -> Usage:
    """What the other models may use of the project's caps; nothing is read if there are none."""
    others = _others(world, model) if policy.has_project_caps else ()
    return _usage(policy, others, _specs)


def last_admission(world: World, policy: Policy) -> Document | None:
    """The record of the last admitted release. It is read before usage is added up and replaced in
    the commit that accepts the next one, so that only one of two concurrent releases is accepted,
    and the other is checked again.
    """
    return world.store.get(ADMISSION) if policy.has_project_caps else None


def reserve(
    policy: Policy, last: Document | None, model: str, release: Release
) -> tuple[Write, ...]:
    if not policy.has_project_caps:
        return ()
    data = {"model": model, "generation": release.generation, "event_id": release.event_id}
    return (Replace(ADMISSION, data, last.version) if last else Create(ADMISSION, data),)


def _violations(
    world: World,
    policy: Policy,
    state: ModelState,
    before: Specs,
    after: Specs,
    specs_of: Callable[[ModelState], Specs],
) -> tuple[Violation, ...]:
    if not policy.has_project_caps:
        return ()
    others = tuple(_others(world, state.desired.model))
    if len(others) > MAX_MODELS:
        return (
            Violation(
                f"model: policy caps sums over the project, and more than {MAX_MODELS} models"
                " cannot be added up"
            ),
        )
    return quota_violations(
        policy,
        max_usage(policy.prices, before),
        max_usage(policy.prices, after),
        _usage(policy, others, specs_of),
    )


def _usage(
    policy: Policy, others: Iterable[ModelState], specs_of: Callable[[ModelState], Specs]
) -> Usage:
    return sum((max_usage(policy.prices, specs_of(other)) for other in others), Usage())


def _others(world: World, model: str) -> Iterator[ModelState]:
    """The states of the other models that have a release, up to a page more than can be added up. A
    retired model uses nothing.
    """
    after: str | None = None
    found = 0
    while found <= MAX_MODELS and (page := world.store.list("models", PAGE, after)):
        for document in page:
            if document.path != repository.model_path(model):
                state = from_document(document.data)
                is_live = bool(live_releases(state.rollout, state.desired))
                found += is_live
                if is_live:
                    yield state
        after = page[-1].path.rpartition("/")[2]


def _specs(state: ModelState) -> Specs:
    return tuple(release.spec for release in live_releases(state.rollout, state.desired))
