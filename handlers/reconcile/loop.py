"""Reconciles one model: `reconcile(world, model)` runs passes while one is due and its time lasts.

Called by `handlers/wakeup.py`. With the lease held, each pass is

    load ───> observe ──> decide ──> guard ──> save ────> apply ──> remember ──> requeue_at
    Firestore Compute     pure       policy    Firestore  Compute                at once after a
      ^                                                                          change, else later
      └────────────────────────────────────────────────────────────────────────────────┘

A pass may be repeated or cut off anywhere: a decision is saved before anything acts on it, so that
a crash loses no verdict, and every action is idempotent. Between passes the state is one frozen
value, `Carried`. Invariant: a pass over a settled model writes nothing anywhere.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import field, replace
from datetime import datetime, timedelta
from functools import partial
from types import MappingProxyType

from handlers import admission
from handlers.reconcile import lease, log_lines, routine
from handlers.reconcile.decide import (
    PassDecision,
    Plans,
    applies_candidate,
    block,
    decide,
    end_loans,
    needs_no_policy,
    policy_problems,
)
from handlers.reconcile.explain import explain_edit, explain_losses
from handlers.reconcile.log_lines import Work
from handlers.reconcile.measure import measure, measure_before, measure_gates
from handlers.reconcile.observe import (
    Beginning,
    SnapshotCache,
    age,
    invalidate,
    observe,
    observe_lightly,
)
from handlers.reconcile.overdue import restore_overdue
from handlers.reconcile.predict import with_prediction
from handlers.reconcile.route_writer import all_pending, write_route
from handlers.reconcile.save import Run, save, save_observation_failure, save_stopped
from infra.compute import call_count
from infra.compute.apply import apply
from infra.compute.errors import RateLimited, Refused
from infra.fleet import gateway_room, naming, preflight
from infra.fleet.marks import mark
from infra.fleet.model import Action, Applied, Failed, Pending, Plan, ReadSet, Result, Snapshot
from infra.fleet.observe import observe as observed_fleet
from infra.fleet.observe import url_maps
from infra.fleet.pending_routes import PendingRoute, goes_first
from infra.fleet.preflight import Answers
from infra.fleet.reads import group_reads, is_blank, scope_of
from infra.fleet.room import room
from infra.settings import POLICY, load_project_policy, load_stop
from infra.store import repository
from infra.store.port import Conflict, Document, Unavailable
from infra.store.repository import StoredState
from infra.wiring import World
from rollout import stopped
from rollout.capacity import needs_room
from rollout.deferred import dataclass
from rollout.model import Observed, Problem, RollingBack, Room, Settled, Stepping
from rollout.policy.policy import Policy
from rollout.policy.stop import Stop
from rollout.requeue import Attempt, after_attempt, interval
from rollout.state import ModelState, Verified, is_verified
from rollout.targets import target_of
from rollout.transitions import has_newer

BUDGET = timedelta(seconds=45)
CONFIRM_SECONDS = 2.0
SAME_FOR = timedelta(seconds=60)
"""What releases refer to is read once for all of them in this time."""
LONGEST_WAIT = timedelta(seconds=10)
"""A pass that is due later is left to the scheduler."""
LOOK_EVERY = timedelta(seconds=15)
LOOK_EVERY_AT_FIRST = timedelta(seconds=30)
"""Instances are looked at so often, whatever their group says; less often while nothing serves."""
NEXT_MINUTE_SECONDS = 60.0
LOOK_WHILE_SCARCE = timedelta(seconds=20)
"""Passes that wait are so far apart at least while many models share slots or reads."""

SWAPS = (
    ("instanceTemplates", "insert"),
    ("healthChecks", "insert"),
    ("regionInstanceGroupManagers", "insert"),
    ("regionInstanceGroupManagers", "patch"),
    ("regionAutoscalers", "insert"),
    ("regionAutoscalers", "patch"),
    ("regionAutoscalers", "update"),
    ("backendServices", "insert"),
)


@dataclass(frozen=True)
class Carried:
    """State carried from one pass to the next: what was loaded and observed, the plans made, the
    last plan applied and how often again, what was refused of it, and what was read and found about
    the `references` of which generation before anything is created. `observed_at`: when the last
    pass observed; `verified`: whether it found nothing to change; `waiting_for`: why its route is
    not written yet; `needs_all`: everything has to be read, whatever an earlier pass verified;
    `is_waiting`: it changed nothing, or only what takes instances their time; `least`: how far
    routine passes are apart; `is_leased`: whether this pass may have the lease.
    """

    stored: StoredState | None = None
    cache: SnapshotCache = field(default_factory=SnapshotCache)
    plans: Plans = field(default_factory=Plans)
    applied: Plan = field(default_factory=Plan)
    repeats: int = 0
    refusals: tuple[Problem, ...] = ()
    revision: int = 0
    observed_at: datetime | None = None
    verified: Verified | None = None
    references: tuple[int, Answers] = (0, MappingProxyType({}))
    waiting_for: str = ""
    needs_all: bool = False
    is_waiting: bool = False
    preflight: tuple[int, tuple[Problem, ...]] = (0, ())
    least: timedelta = timedelta(0)
    is_leased: bool = True


class ObservationFailed(Unavailable):
    """Compute Engine could not be read, or does not let us: come later. A redelivery besides would
    only add to what it refuses already.
    """

    def __init__(
        self, why: str, retry_after_seconds: float, revision: int, *, is_spread: bool = False
    ) -> None:
        """`revision`: the last one that the pass knows. `is_spread`: passes that wait for the quota
        come one after the other.
        """
        super().__init__(why)
        self.retry_after_seconds = retry_after_seconds
        self.revision = revision
        self.is_spread = is_spread


def reconcile(world: World, model: str, event_id: str = "", number: int | None = None) -> None:
    """`number` is that of a wake-up for one wait of the model, which the next tick repeats."""
    started_at = world.clock.now()
    run = Run(model, event_id, world.new_token(), started_at + BUDGET, number)
    carried, passes, calls = Carried(), 0, call_count.start()
    try:
        while True:
            passes += 1
            carried, requeue_at = reconcile_once(world, run, carried)
            now = world.clock.now()
            if requeue_at is None or requeue_at > min(run.until, now + LONGEST_WAIT):
                break
            pause = (requeue_at - now).total_seconds()
            if pause > 0:
                if not world.sleepers.acquire(blocking=False):
                    requeue_at = _spaced(carried, requeue_at, now)
                    break  # others need the slot
                try:
                    world.clock.sleep(pause)
                finally:
                    world.sleepers.release()
                carried = replace(carried, cache=age(carried.cache))
    except Exception as error:
        work = Work(model, event_id, started_at, passes, calls.total)
        log_lines.failed(world, work, error)
        restore_overdue(world, model)
        if isinstance(error, ObservationFailed):
            is_repeated = lease.postpone(
                world,
                model,
                run.token,
                error.retry_after_seconds,
                error.revision,
                is_spread=error.is_spread,
            )
        else:
            lease.release(world, model, run.token, None)
            is_repeated = number is not None
        if not is_repeated:
            raise
        return
    wait = lease.Wait(
        carried.revision,
        requeue_at,
        carried.observed_at,
        carried.verified,
        carried.waiting_for,
        carried.is_leased,
    )
    lease.release(world, model, run.token, wait)
    state = carried.stored.state if carried.stored else None
    log_lines.reconciled(world, Work(model, event_id, started_at, passes, calls.total), state)


def reconcile_once(world: World, run: Run, carried: Carried) -> tuple[Carried, datetime | None]:
    """One pass. Returns what to carry on, and when the next pass is due (None: nothing to wait
    for).
    """
    # load
    documents = world.store.get_many([repository.model_path(run.model), POLICY, routine.DUE])
    stored = _load(documents.get(repository.model_path(run.model)), carried.stored)
    now = world.clock.now()
    if stored is None or lease.is_held_by_other(stored.state.lease, run.token, now):
        return carried, None
    state, is_same = stored.state, stored is carried.stored
    if carried.stored is None and run.number is not None and run.number < state.wakeups:
        return carried, None  # the pass that this wake-up was for has run
    carried = replace(carried, stored=stored, revision=state.revision)
    stop = load_stop(documents)
    if stop and stop.rollbacks:
        return _hold_all(world, run, carried, stored, stop)

    # observe
    carried = replace(carried, least=routine.least_interval(world, documents))
    is_expected = carried.observed_at is None and run.number is not None
    if is_expected and _is_as_healthy(world, run, stored, carried.least):
        unleased = replace(carried, observed_at=now, verified=state.verified, is_leased=False)
        return unleased, now + carried.least
    if is_same and _still_moves(world, state, carried):
        return carried, now + (interval(state.rollout, now) or timedelta(0))
    cache = _observe(world, run, stored, carried)
    world.compute.reads.count()
    carried = replace(carried, observed_at=world.clock.now())
    fleet = observed_fleet(cache.snapshot, run.model)
    losses = explain_losses(world.compute, state, fleet, world.clock.now())
    edited_by = explain_edit(world.compute, state, cache.snapshot, fleet)
    measurements = measure(world, state, fleet, world.clock.now())
    policy = _policy(world, documents, state)
    windows = measure_gates(world, state, policy, world.clock.now())
    before = measure_before(world, state, world.clock.now())

    # decide
    space, carried = _room(world, state, carried)
    decision, plans = decide(
        state,
        cache.snapshot,
        policy,
        carried.refusals,
        carried.plans,
        world.clock.now(),
        is_light=cache.is_light,
        losses=losses,
        room=space,
        edited_by=edited_by,
        measurements=measurements,
        windows=windows,
        before=before,
        routine_interval=carried.least,
    )
    carried = replace(carried, cache=replace(cache, is_noop=decision.is_noop), plans=plans)
    if cache.is_partial and not _is_as_expected(carried, state, decision):
        # observe the rest before anything is decided
        return replace(carried, cache=replace(cache, is_light=False, is_noop=False)), now
    if decision.ends_in_nothing and not cache.is_swept:
        # A 404 may be wrong, and nobody would look again: the lists have to agree.
        return replace(carried, cache=SnapshotCache(), needs_all=True), now
    decision = end_loans(decision) if cache.is_light else decision
    carried = replace(carried, verified=_verified(state, cache, decision, now))

    # guard, save
    decision = with_prediction(world, state, decision, fleet, policy, before)
    decision, carried = _preflight(world, _guard(world, policy, decision), carried)
    try:
        saved = save(world, run, stored, decision)
    except Conflict:
        # Another writer was faster, so this observation may be out of date.
        return replace(carried, cache=SnapshotCache()), now
    log_lines.decided(run.event_id, state, saved, decision.decision, world.clock.now())

    # apply, remember
    results = _apply(world, run, saved, decision)
    carried = _remember(carried, saved, decision, results)
    attempt = _attempt(results, carried.repeats)
    carried = _after_changes(carried, saved, decision, attempt, now)
    carried = replace(carried, is_waiting=decision.is_noop or attempt.is_swap)
    return carried, _next_pass(world, carried, saved, decision, attempt)


def _after_changes(
    carried: Carried, saved: ModelState, decision: PassDecision, attempt: Attempt, now: datetime
) -> Carried:
    """What the next pass has to read again."""
    cache = carried.cache
    if cache.is_assumed and attempt.is_unfinished:
        # What was not read may exist after all.
        return replace(carried, cache=SnapshotCache(), needs_all=True)
    if attempt.is_swap and isinstance(saved.rollout.phase, Stepping | Settled):
        # What was applied is as the target says, so the next pass expects nothing to do.
        verified = Verified(cache.complete_at or now, decision.target)
        return replace(carried, cache=replace(cache, is_light=True), verified=verified)
    return carried


def _next_pass(
    world: World,
    carried: Carried,
    saved: ModelState,
    decision: PassDecision,
    attempt: Attempt,
) -> datetime | None:
    now = world.clock.now()
    requeue_at = after_attempt(decision.decision, attempt, now)
    if requeue_at and decision.is_noop and saved.is_routine:
        requeue_at = max(requeue_at, now + carried.least)
    if requeue_at and world.compute.reads.is_scarce:
        return _spaced(carried, requeue_at, now)
    return requeue_at


def _spaced(carried: Carried, requeue_at: datetime, now: datetime) -> datetime:
    """When a pass is due while many models share slots or reads: later, if it only waits."""
    return max(requeue_at, now + LOOK_WHILE_SCARCE) if carried.is_waiting else requeue_at


def _is_as_expected(carried: Carried, state: ModelState, decision: PassDecision) -> bool:
    """Whether a pass that did not read everything may wait further."""
    if carried.cache.is_light:
        verified = carried.verified or state.verified
        is_same = verified is not None and verified.target == decision.target
        return decision.is_noop and is_same and decision.is_routed
    return decision.is_noop


def _verified(
    state: ModelState, cache: SnapshotCache, decision: PassDecision, now: datetime
) -> Verified | None:
    if not decision.verifies:
        return None
    return Verified(cache.complete_at or now, decision.target)


def _still_moves(world: World, state: ModelState, carried: Carried) -> bool:
    """Whether a group says that it is not stable yet, soon after a pass over the same document that
    read its instances and found nothing to do: no step can end before.
    """
    cache, seen, now = carried.cache, carried.observed_at, world.clock.now()
    is_trusted = not cache.is_light or _lately_verified(carried, state, now)
    is_quiet = cache.is_noop and isinstance(state.rollout.phase, Stepping)
    every = LOOK_EVERY if state.rollout.stable else LOOK_EVERY_AT_FIRST
    if not (seen and now - seen < every and is_quiet and is_trusted):
        return False
    groups = group_reads(scope_of(state.rollout, state.desired)).keys
    try:
        bodies = world.compute.observe(ReadSet(groups)).bodies.values()
    except (Unavailable, Refused):
        return False  # the full look tells why
    return any(body and not body.get("status", {}).get("isStable", True) for body in bodies)


def _lately_verified(carried: Carried, state: ModelState, now: datetime) -> Verified | None:
    """What an earlier pass found in order, lately enough that not everything needs to be read."""
    if carried.needs_all:
        return None
    latest = replace(state, verified=carried.verified or state.verified)
    return latest.verified if is_verified(latest, now, carried.least) else None


def _load(document: Document | None, known: StoredState | None) -> StoredState | None:
    """The state in a document; not decoded again if it is the one of the pass before."""
    if document and known and document.version == known.version:
        return known
    return repository.stored_state(document)


def _observe(world: World, run: Run, stored: StoredState, carried: Carried) -> SnapshotCache:
    state, now, cache = stored.state, world.clock.now(), carried.cache
    scope = scope_of(state.rollout, state.desired)
    verified = _lately_verified(carried, state, now)
    is_expected = carried.observed_at is None and run.number is not None
    is_stepping = isinstance(state.rollout.phase, Stepping)
    try:
        is_settled = isinstance(state.rollout.phase, Settled)
        if verified and (is_expected or (cache.is_light and (is_stepping or is_settled))):
            return observe_lightly(world.compute, scope, cache, verified.at, with_stale=is_settled)
        complete_at = verified.at if verified and is_stepping else None
        return observe(world.compute, scope, cache, now, complete_at, _beginning(state, carried))
    except (Unavailable, Refused) as error:
        raise _observation_failed(world, run, stored, error) from error


def _is_as_healthy(world: World, run: Run, stored: StoredState, least: timedelta) -> bool:
    try:
        return routine.is_as_healthy(world, stored.state, least)
    except (Unavailable, Refused) as error:
        raise _observation_failed(world, run, stored, error) from error


def _observation_failed(
    world: World, run: Run, stored: StoredState, error: Unavailable | Refused
) -> ObservationFailed:
    why, revision = str(error), save_observation_failure(world, run, stored, str(error))
    if not isinstance(error, RateLimited):
        return ObservationFailed(why, getattr(error, "after_seconds", 0.0), revision)
    if isinstance(stored.state.rollout.phase, RollingBack):
        return ObservationFailed(why, error.after_seconds, revision, is_spread=True)
    if stored.state.is_routine:
        # There are no more of them than the reads of a minute allow.
        seconds = error.after_seconds + world.jitter() * NEXT_MINUTE_SECONDS
    else:
        seconds = world.compute.reads.next_try(run.model)
    return ObservationFailed(why, seconds, revision, is_spread=True)


def _beginning(state: ModelState, carried: Carried) -> Beginning:
    """Whether a release is about to begin, so that lists tell enough of what there is."""
    rollout = state.rollout
    is_next = isinstance(rollout.phase, Settled) and has_newer(rollout, state.desired)
    if carried.needs_all or state.hold or not is_next:
        return "none"
    return "blank" if is_blank(rollout) else "next"


def _hold_all(
    world: World, run: Run, carried: Carried, stored: StoredState, stop: Stop
) -> tuple[Carried, datetime | None]:
    """A pass while rollbacks are stopped, too: nothing is observed, decided or changed."""
    now = world.clock.now()
    state = stopped.hold_all(stored.state, stop, now)
    if state.requeue_at is None:
        return carried, None
    try:
        saved = save_stopped(world, run, stored, state)
    except Conflict:
        return carried, now
    return replace(carried, revision=saved.revision, waiting_for=stop.why), state.requeue_at


def _policy(world: World, documents: Mapping[str, Document], state: ModelState) -> Policy:
    """An unreadable policy stops every pass, except on the way back and out."""
    try:
        return load_project_policy(world.store, documents, world.project)
    except ValueError:
        if needs_no_policy(state):
            return Policy(stop=load_stop(documents))
        raise


def _guard(world: World, policy: Policy, decision: PassDecision) -> PassDecision:
    """Policy violations that block the candidate now, checked just before anything is changed."""
    if not applies_candidate(decision):
        return decision
    beside_others = admission.candidate_violations(world, policy, decision.state)
    problems = (
        *policy_problems(policy, decision.state),
        *(Problem("policy", "POLICY", each.why) for each in beside_others),
    )
    return block(decision, problems)


def _preflight(
    world: World, decision: PassDecision, carried: Carried
) -> tuple[PassDecision, Carried]:
    """Drop the plan if the candidate refers to what does not exist or does not fit.

    It is read once, before anything is created, and if something is wrong once more: what was made
    a moment ago may not be visible everywhere. Once an instance has run, all of that existed, and a
    read that denies it is no reason to end the rollout.
    """
    rollout = decision.state.rollout
    candidate, has_run = rollout.candidate, bool(rollout.progress and rollout.progress.clocks)
    if candidate is None or has_run or not applies_candidate(decision):
        return decision, carried
    if full := _gateway_full(world, decision, carried.cache.snapshot):
        return block(decision, (full,)), carried
    if not preflight.is_due(decision.plan):
        return decision, carried
    generation, problems = carried.preflight
    if generation != candidate.generation:
        spec, model = candidate.spec, decision.state.desired.model
        zones = preflight.zones_of(spec, carried.cache.snapshot, model)
        read_for, answers = carried.references
        if read_for != candidate.generation:
            answers = world.compute.read_references(preflight.references(spec), SAME_FOR)
        problems = preflight.problems(spec, answers, zones)
        if problems:
            world.clock.sleep(CONFIRM_SECONDS)
            answers = world.compute.read_references(preflight.references(spec))
            problems = preflight.problems(spec, answers, zones)
        carried = replace(carried, preflight=(candidate.generation, problems))
    return block(decision, problems), carried


def _gateway_full(world: World, decision: PassDecision, snapshot: Snapshot) -> Problem | None:
    """Why a gateway has no room for the routes of the rollout."""
    model, maps = decision.state.desired.model, url_maps(snapshot)
    found = gateway_room.routes_of(decision.state.rollout, model, observed_fleet(snapshot, model))
    for key, routes in found.items():
        if key in maps:  # else it is about to be made
            pending = partial(all_pending, world, naming.gateway_name(key))
            if problem := gateway_room.lacks_room(routes, maps[key], pending):
                return problem
    return None


def _room(world: World, state: ModelState, carried: Carried) -> tuple[Room | None, Carried]:
    """How much room the quotas have for a release that is about to begin, if that decides how it
    gets its instances. The preflight, which follows, needs the same reads.
    """
    rollout, release = state.rollout, state.desired.release
    is_next = release is not None and has_newer(rollout, state.desired) and not state.hold
    if release is None or not is_next or not needs_room(rollout, release):
        return None, carried
    read_for, answers = carried.references
    if read_for != release.generation:
        answers = world.compute.read_references(preflight.references(release.spec))
        carried = replace(carried, references=(release.generation, answers))
    return room(release.spec, answers), carried


def _apply(world: World, run: Run, state: ModelState, decision: PassDecision) -> tuple[Result, ...]:
    if decision.plan.is_empty:
        return ()
    target = target_of(state.rollout, state.desired, Observed())
    traffic = decision.decision.target.traffic

    def number(action: Action) -> uuid.UUID:
        return request_id(state, action)

    def write(action: Action) -> Result:
        is_first = goes_first(state.rollout.phase, traffic)
        now, model = world.clock.now(), state.desired.model
        gateway = naming.gateway_name(action.key)
        route = PendingRoute(model, traffic, state.revision, is_first, now, gateway=gateway)
        return write_route(world, route, action, number(action), run.until)

    marked = mark(decision.plan, target, state.revision)
    results = apply(marked, world.compute, world.clock, number, run.until, write)
    for result in results:
        log_lines.applied(state, result)
    return results


def request_id(state: ModelState, action: Action) -> uuid.UUID:
    """The same for a repeat of the same change after a crash, another one for the same change after
    new drift.
    """
    key = action.key
    parts = (
        *(state.desired.model, state.revision, action.verb),
        *(key.collection, key.scope, key.name, action.based_on, action.body),
    )
    return uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(parts, sort_keys=True))


def _remember(
    carried: Carried, saved: ModelState, decision: PassDecision, results: tuple[Result, ...]
) -> Carried:
    refused = (result.problem for result in results if isinstance(result, Failed))
    return replace(
        carried,
        cache=invalidate(carried.cache, (action.key for action in decision.plan.actions)),
        applied=decision.plan,
        repeats=carried.repeats + 1 if decision.plan == carried.applied else 0,
        refusals=(*decision.blocked, *refused),
        revision=saved.revision,
        waiting_for="" if _route_of_a_start(results) else _waiting_for_route(results),
    )


def _waiting_for_route(results: tuple[Result, ...]) -> str:
    return next(
        (
            result.why
            for result in results
            if isinstance(result, Pending) and result.action.key.collection == "urlMaps"
        ),
        "",
    )


def _attempt(results: tuple[Result, ...], repeats: int) -> Attempt:
    route = _route_of_a_start(results)
    pending = [each for each in results if isinstance(each, Pending) and each is not route]
    return Attempt(
        actions=len(results),
        refused=sum(isinstance(result, Failed) for result in results),
        retry_after_seconds=tuple(result.retry_after_seconds or 0 for result in pending),
        repeats=repeats,
        is_swap=bool(results) and all(each is route or _is_swap(each) for each in results),
    )


def _is_swap(result: Result) -> bool:
    """Whether instances follow from what was applied, and no further change."""
    action = result.action
    return isinstance(result, Applied) and (action.key.collection, action.verb) in SWAPS


def _route_of_a_start(results: tuple[Result, ...]) -> Result | None:
    """The route of a group that was inserted with it, written or left to the next write of the URL
    map: nothing waits for it while the first instances start.
    """
    inserted = {each.action.key.collection for each in results if each.action.verb == "insert"}
    if "regionInstanceGroupManagers" not in inserted:
        return None
    return next(
        (
            each
            for each in results
            if (each.action.key, each.action.verb) == (naming.GATEWAY, "update")
            and not isinstance(each, Failed)
        ),
        None,
    )
