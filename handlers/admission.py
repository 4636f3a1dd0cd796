"""What all models of the project may use together, for the caps of a policy that hold for their
sum.

Called by `handlers/release.py` before a release is accepted, and by `handlers/reconcile/loop.py`
before a turn applies anything of it. It changes nothing. Invariant: what cannot be added up is
never taken to be small. Too many models are a reason to refuse, and a document of another Slipway
stops the reader (`UnknownSchema`), so that the message comes again."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from infra.store import repository
from infra.store.documents import State, from_document
from infra.store.port import Create, Document, Replace, Write
from infra.wiring import World
from rollout.model import Release
from rollout.policy.policy import Policy
from rollout.policy.usage import (
    Usage,
    competing,
    live_releases,
    max_usage,
    quota_violations,
)
from rollout.spec.model import Spec

PAGE = 200
MOST_MODELS = 2000
ADMISSION = "settings/admission"

Specs = tuple[Spec, ...]


def admission_violations(
    world: World, policy: Policy, state: State, release: Release
) -> tuple[str, ...]:
    """Why a release that arrived may not be accepted beside everything else that was; nothing where
    it may."""
    before = _specs(state)
    return _crowded(world, policy, state, (before, (*before, release.spec)), _specs)


def candidate_violations(world: World, policy: Policy, state: State) -> tuple[str, ...]:
    """Why the candidate may not go on. Of other models' releases on their way only those count that
    were published before it, so that when there is no longer room for both, one goes back and not
    both."""
    stable, candidate = state.rollout.stable, state.rollout.candidate
    if candidate is None:
        return ()
    before = (stable.spec,) if stable else ()
    since = (candidate.released_at, state.desired.model)
    after = (*before, candidate.spec)
    return _crowded(
        world,
        policy,
        state,
        (before, after),
        lambda other: competing(other.rollout, other.desired, since),
    )


def last_admission(world: World, policy: Policy) -> Document | None:
    """The record of the release that was let in last. It is read before `quota_violations` adds up, and
    replaced together with the model's document: of two releases that are accepted at once only one
    is, and the other is looked at anew."""
    return world.store.get(ADMISSION) if policy.has_project_caps else None


def admit(policy: Policy, last: Document | None, model: str, release: Release) -> tuple[Write, ...]:
    if not policy.has_project_caps:
        return ()
    data = {"model": model, "generation": release.generation, "event_id": release.event_id}
    return (Replace(ADMISSION, data, last.version) if last else Create(ADMISSION, data),)


def _crowded(
    world: World,
    policy: Policy,
    state: State,
    grows: tuple[Specs, Specs],
    counts: Callable[[State], Specs],
) -> tuple[str, ...]:
    if not policy.has_project_caps:
        return ()
    others = tuple(_others(world, state.desired.model))
    if len(others) > MOST_MODELS:
        return (
            (
                f"model: policy caps sums over the project, and more than {MOST_MODELS} models"
                " cannot be added up"
            ),
        )
    before, after = (max_usage(policy.prices, specs) for specs in grows)
    return quota_violations(
        policy,
        before,
        after,
        sum((max_usage(policy.prices, counts(other)) for other in others), Usage()),
    )


def _others(world: World, model: str) -> Iterator[State]:
    """The states of the other models, up to a page more than can be added up."""
    after: str | None = None
    read = 0
    while read <= MOST_MODELS + 1 and (page := world.store.list("models", PAGE, after)):
        read += len(page)
        yield from (
            from_document(document.data)
            for document in page
            if document.path != repository.model_path(model)
        )
        after = page[-1].path.rpartition("/")[2]


def _specs(state: State) -> Specs:
    return tuple(release.spec for release in live_releases(state.rollout, state.desired))
