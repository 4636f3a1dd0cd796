"""Runs a plan: as parallel as its dependencies allow, and says of each action Applied, Pending or
Failed.

Called by `handlers/reconcile/loop.py`. Each action is a request and the wait for its operation; the
next one starts when all it waits for is over and went well. At `until` nothing new starts, and what
still runs is Pending: the next turn observes what came of it. Compute Engine's errors become
results; anything else is a mistake in here and is raised.

    template   |--send--wait--|
    live check |--send--wait-----|
    group                        |--send--wait--|            after both
    autoscaler                                  |--send--·   `until`: Pending
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime, timedelta
from uuid import UUID, uuid5

from infra.clock import Clock
from infra.compute.client import Compute
from infra.compute.errors import (
    BACK_OFF_SECONDS,
    AlreadyExists,
    Busy,
    ComputeError,
    Conflict,
    NotFound,
    Refused,
    Retry,
    classify_error,
    parse_operation_error,
)
from infra.fleet.model import Action, Applied, Body, Failed, Pending, Plan, Result
from infra.fleet.plan import completed
from rollout.model import Problem

RequestId = Callable[[Action], UUID]
CLOCKS_DIFFER = timedelta(seconds=1)


def apply(
    plan: Plan, compute: Compute, clock: Clock, request_id: RequestId, until: datetime
) -> tuple[Result, ...]:
    """One result for each action, in the plan's order. With `compute.workers` 1, one action after
    the other in that order."""

    def run(action: Action) -> Result:
        return _run(action, compute, clock, request_id, until)

    waits_for = _predecessors(plan.actions)
    if compute.workers == 1 or len(plan.actions) < 2:
        results: dict[int, Result] = {}
        for number, action in enumerate(plan.actions):
            results[number] = _blocked(action, waits_for[number], results) or run(action)
    else:
        results = _side_by_side(plan.actions, waits_for, run, compute.workers)
    return tuple(results[number] for number in range(len(plan.actions)))


def _predecessors(actions: tuple[Action, ...]) -> list[frozenset[int]]:
    """The earlier actions that each one waits for; those on its own resource among them, for
    Compute Engine takes one change at a time."""
    return [
        frozenset(
            earlier
            for earlier in range(number)
            if actions[earlier].key in (action.key, *action.after)
        )
        for number, action in enumerate(actions)
    ]


def _side_by_side(
    actions: tuple[Action, ...],
    waits_for: list[frozenset[int]],
    run: Callable[[Action], Result],
    workers: int,
) -> dict[int, Result]:
    results: dict[int, Result] = {}
    running: dict[Future[Result], int] = {}
    waiting = list(range(len(actions)))
    with ThreadPoolExecutor(min(workers, len(actions)), thread_name_prefix="apply") as pool:
        while waiting or running:
            for number in [number for number in waiting if waits_for[number] <= results.keys()]:
                waiting.remove(number)
                blocked = _blocked(actions[number], waits_for[number], results)
                if blocked:
                    results[number] = blocked
                else:
                    running[pool.submit(run, actions[number])] = number
            for future in wait(running, return_when=FIRST_COMPLETED).done if running else ():
                results[running.pop(future)] = future.result()
    return results


def _blocked(
    action: Action, waits_for: frozenset[int], results: Mapping[int, Result]
) -> Pending | None:
    for number in sorted(waits_for):
        match results[number]:
            case Pending(before, why, after):
                return Pending(action, f"waits for {_name(before)}: {why}", after)
            case Failed(before, problem):
                return Pending(
                    action, f"waits for {_name(before)}, which was refused: {problem.message}"
                )
    return None


def _name(action: Action) -> str:
    return f"{action.verb} {action.key.collection}/{action.key.name}"


# ---- One action


def _run(
    action: Action, compute: Compute, clock: Clock, request_id: RequestId, until: datetime
) -> Result:
    if clock.now() >= until:
        return Pending(action, "not started: the time of this turn is over")
    try:
        complete = _completed(action, compute)
        if isinstance(complete, Problem):
            return Failed(action, complete)
        if complete is None:
            return Applied(action)
        finished = compute.wait(_sent(complete, compute, clock, request_id(complete), until), until)
        said = parse_operation_error(finished) if finished else None
        if said:
            raise classify_error(said, clock.now())
    except (Retry, NotFound, AlreadyExists, Busy, Conflict, Refused) as error:
        return _result(action, error)
    return Applied(action) if finished else Pending(action, "its operation still runs")


def _completed(action: Action, compute: Compute) -> Action | Problem | None:
    """The action to send; for one on a resource that this very plan made, completed with what that
    has become."""
    if not action.reads_first:
        return action
    body = compute.get(action.key)
    if body is None:
        raise NotFound(f"{action.key.collection}/{action.key.name} is not there yet")
    return completed(action, body)


def _sent(
    action: Action, compute: Compute, clock: Clock, request_id: UUID, until: datetime
) -> Body:
    """The action's operation. A request id brings back the operation of its first use, also one
    that failed in an earlier turn: that one is over for certain, and only a new id asks anew."""
    now = clock.now()
    operation = compute.send(action, request_id, until)
    began = operation.get("insertTime")
    is_old = began is not None and datetime.fromisoformat(began) < now - CLOCKS_DIFFER
    if is_old and operation.get("status") == "DONE" and parse_operation_error(operation):
        operation = compute.send(action, uuid5(request_id, now.isoformat()), until)
    return operation


def _result(action: Action, error: ComputeError) -> Result:
    match error:
        case Refused(problem=problem):
            return Failed(action, problem)
        case NotFound() if action.verb == "delete":
            return Applied(action)
        case AlreadyExists() if action.verb == "insert":
            return Pending(action, f"to be read again, it is there already: {error.why}")
        case Retry(after_seconds=seconds, why=why):
            return Pending(action, why, seconds)
        case Busy(why=why):
            return Pending(action, why, BACK_OFF_SECONDS)
    return Pending(action, f"to be read again: {error.why}")
