"""Forecasts what a release would do: read-only, for `slipway plan`.

Called by `console/plan.py`. The release is resolved and checked by the intake's own functions, and
Compute Engine is read as a pass reads it. Nothing is written or published.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from handlers.admission import last_admission, usage_of_others
from handlers.past_rollouts import recent_log
from handlers.quarantine import Refuse
from handlers.reconcile.measure import measure_before
from handlers.release import check_release, refuse_other_content, resolve_release
from infra.compute.errors import Refused
from infra.errors import Unavailable
from infra.fleet import preflight
from infra.fleet.forecast import Inputs, RolloutPlan, rollout_plan
from infra.fleet.forecast_steps import PlannedStep
from infra.fleet.reads import full_reads, scope_of
from infra.settings import POLICY, load_project_policy, load_project_prices
from infra.store import repository
from infra.store.documents import release_from_record
from infra.wiring import World
from rollout.accept import accept
from rollout.model import Desired, Intent, IntentKey, Release
from rollout.plan_hash import settled_before
from rollout.policy.usage import Usage
from rollout.spec.message import Invalid, ReleaseRequested
from rollout.state import ModelState

__all__ = [
    "Inputs",
    "PlannedStep",
    "RolloutPlan",
    "Usage",
    "forecast",
    "read_inputs",
    "rollout_plan",
    "usage_of_others",
]

EVENT = "slipway-plan"


def forecast(world: World, request: ReleaseRequested) -> RolloutPlan:
    """What would become of the release, also if it would be refused. Raises `Unavailable`."""
    found = read_inputs(world, request)
    return found if isinstance(found, RolloutPlan) else rollout_plan(found)


def read_inputs(world: World, request: ReleaseRequested) -> Inputs | RolloutPlan:
    """What a plan is made from; a plan if there is nothing to roll out. Raises `Unavailable`."""
    try:
        return _read_inputs(world, request)
    except Invalid as error:
        problems = tuple(map(str, error.problems))
    except Refuse as error:
        problems = error.problems
    return RolloutPlan(request.model, request.version, problems=problems, is_refused=True)


def _read_inputs(world: World, request: ReleaseRequested) -> Inputs | RolloutPlan:
    now = world.clock.now()
    model_path = repository.model_path(request.model)
    release_path = repository.release_path(request.model, request.version)
    documents = world.store.get_many([model_path, release_path, POLICY])
    stored = repository.stored_state(documents.get(model_path))
    state = stored.state if stored else ModelState(Desired(request.model))
    record = documents.get(release_path)
    before = release_from_record(record.data, release_path) if record else None
    refuse_other_content(request, before)
    if before and not request.force:
        return _unchanged(state, before)
    policy = load_project_policy(world.store, documents, world.project)
    key = IntentKey(now, now, len(EVENT), EVENT, EVENT)
    release, base = resolve_release(world, state, request, before, key)
    last = last_admission(world, policy)
    release = check_release(
        world, policy, last, state, request, release, base, world.registry.find_digest
    )
    state = _accepted(state, release, now)
    try:
        reads = full_reads(scope_of(state.rollout, state.desired), sweep=True)
        snapshot = world.compute.observe(reads)
        answers = world.compute.read_references(preflight.references(release.spec))
    except Refused as error:
        raise Unavailable(str(error)) from error
    return Inputs(
        state=state,
        release=release,
        base=base,
        patch=request.patch,
        policy=policy,
        prices=load_project_prices(world.store),
        snapshot=snapshot,
        answers=answers,
        log=recent_log(world.store, state),
        now=now,
        before=measure_before(world, replace(state, rollout=settled_before(state.rollout)), now),
    )


def _unchanged(state: ModelState, before: Release) -> RolloutPlan:
    stable = state.rollout.stable
    why = (
        f"release {before.version} was accepted before, with the same content; publish it with"
        ' "force": true to roll it out again'
    )
    return RolloutPlan(
        model=state.desired.model,
        version=before.version,
        base=before.inherits_from,
        serving=stable.version if stable else "",
        strategy=before.spec.rollout.strategy,
        notes=(why,),
        is_unchanged=True,
    )


def _accepted(state: ModelState, release: Release, now: datetime) -> ModelState:
    """The state once the intake has accepted the release."""
    intent = Intent("release", EVENT, now, now, release.version, release.generation, own_id=EVENT)
    change = accept(state.rollout, state.desired, intent, now, release)
    return replace(state, rollout=change.rollout, desired=change.desired)
