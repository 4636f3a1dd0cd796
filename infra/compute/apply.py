"""Applies a plan, with as much concurrency as its dependencies allow. The result of each action is
Applied, Pending or Failed.

Called by `handlers/reconcile/loop.py`. An action is a request and the wait for its operation. It
starts once all actions it depends on have succeeded. After `until` no action starts, and one that
is still running is Pending: the next pass observes the outcome. Compute Engine's errors become
results; any other exception is a bug and is raised.

    template   |--send--wait--|
    live check |--send--wait-----|
    group                        |--send--wait--|            after both
    autoscaler                                  |--send--·   `until`: Pending
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID, uuid5

from infra.clock import Clock
from infra.compute import call_count
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
    is_own,
    missing_reference,
    missing_resource,
    parse_operation_error,
)
from infra.fleet.model import Action, Applied, Body, Failed, Pending, Plan, Result

RequestId = Callable[[Action], UUID]
WriteRoute = Callable[[Action], Result]
MAX_CLOCK_SKEW = timedelta(seconds=1)


def apply(
    plan: Plan,
    compute: Compute,
    clock: Clock,
    request_id: RequestId,
    until: datetime,
    write_route: WriteRoute | None = None,
) -> tuple[Result, ...]:
    """One result per action, in the plan's order. If `compute.workers` is 1, the actions run one
    after the other in that order. `write_route` writes a URL map, which models share.
    """

    def run(action: Action) -> Result:
        if write_route and (action.key.collection, action.verb) == ("urlMaps", "update"):
            return write_route(action)
        return _run(action, compute, clock, request_id(action), until)

    predecessors = _find_predecessors(plan.actions)
    if compute.workers == 1 or len(plan.actions) < 2:
        results: dict[int, Result] = {}
        for number, action in enumerate(plan.actions):
            results[number] = _check_predecessors(action, predecessors[number], results) or run(
                action
            )
    else:
        results = _run_concurrently(plan.actions, predecessors, run, compute.workers)
    return tuple(results[number] for number in range(len(plan.actions)))


def _find_predecessors(actions: tuple[Action, ...]) -> list[frozenset[int]]:
    """The earlier actions that each action waits for. Those on the same resource are among them:
    Compute Engine accepts one change at a time.
    """
    return [
        frozenset(
            earlier
            for earlier in range(number)
            if actions[earlier].key in (action.key, *action.after)
        )
        for number, action in enumerate(actions)
    ]


def _run_concurrently(
    actions: tuple[Action, ...],
    predecessors: list[frozenset[int]],
    run: Callable[[Action], Result],
    workers: int,
) -> dict[int, Result]:
    results: dict[int, Result] = {}
    running: dict[Future[Result], int] = {}
    waiting = list(range(len(actions)))
    with ThreadPoolExecutor(min(workers, len(actions)), thread_name_prefix="apply") as pool:
        while waiting or running:
            for number in [number for number in waiting if predecessors[number] <= results.keys()]:
                waiting.remove(number)
                blocked = _check_predecessors(actions[number], predecessors[number], results)
                if blocked:
                    results[number] = blocked
                else:
                    job = call_count.in_context(partial(run, actions[number]))
                    running[pool.submit(job)] = number
            for future in wait(running, return_when=FIRST_COMPLETED).done if running else ():
                results[running.pop(future)] = future.result()
    return results


def _check_predecessors(
    action: Action, predecessors: frozenset[int], results: Mapping[int, Result]
) -> Pending | None:
    for number in sorted(predecessors):
        match results[number]:
            case Pending(before, why, after):
                return Pending(action, f"waits for {_describe(before)}: {why}", after)
            case Failed(before, problem):
                return Pending(
                    action, f"waits for {_describe(before)}, which was refused: {problem.message}"
                )
    return None


def _describe(action: Action) -> str:
    return f"{action.verb} {action.key.collection}/{action.key.name}"


# ---- One action


def _run(
    action: Action, compute: Compute, clock: Clock, request_id: UUID, until: datetime
) -> Result:
    if clock.now() >= until:
        return Pending(action, "not started: no time left in this pass")
    try:
        operation = execute(action, compute, clock, request_id, until)
    except (Retry, NotFound, AlreadyExists, Busy, Conflict, Refused) as error:
        return failed_result(action, error)
    return Pending(action, "its operation is still running") if operation else Applied(action)


def execute(
    action: Action, compute: Compute, clock: Clock, request_id: UUID, until: datetime
) -> Body | None:
    """Send the action and wait. Returns its operation if that is still running at `until`; raises a
    `ComputeError` if it failed.
    """
    operation = _send(action, compute, clock, request_id, until)
    finished = compute.wait(operation, until)
    failure = parse_operation_error(finished) if finished else None
    if failure:
        raise classify_error(failure, clock.now())
    return None if finished else operation


def _send(
    action: Action, compute: Compute, clock: Clock, request_id: UUID, until: datetime
) -> Body:
    """Send the action and return its operation. For a repeated request id, Compute Engine returns
    the operation of the first request. If that one failed in an earlier pass, only a new id makes
    another attempt.
    """
    now = clock.now()
    operation = compute.send(action, request_id, until)
    began = operation.get("insertTime")
    is_old = began is not None and datetime.fromisoformat(began) < now - MAX_CLOCK_SKEW
    if is_old and operation.get("status") == "DONE" and parse_operation_error(operation):
        operation = compute.send(action, uuid5(request_id, now.isoformat()), until)
    return operation


def failed_result(action: Action, error: ComputeError) -> Result:
    """What it means for the plan that an action failed."""
    match error:
        case Refused(problem=problem) if not is_own(missing_resource(problem.message)):
            return Failed(action, problem)
        case NotFound() if action.verb == "delete":
            return Applied(action)
        case NotFound() if missing := missing_reference(error):
            return Failed(action, missing)
        case AlreadyExists() if action.verb == "insert":
            return Pending(action, f"it already exists and is read again: {error.why}")
        case Retry(after_seconds=seconds, why=why):
            return Pending(action, why, seconds)
        case Busy(why=why):
            return Pending(action, why, BACK_OFF_SECONDS)
    return Pending(action, f"it is read again: {error.why}")
