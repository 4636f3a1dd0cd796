"""Applying a plan: the resources afterwards, and the result of each action."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
import requests

from compute_emulator import Emulator, RealClock
from infra import wiring
from infra.compute.apply import apply
from infra.compute.client import Compute
from infra.fleet.model import Action, Failed, Key, Pending, Plan, ReadSet, Result
from tests.infra import cloud as given
from tests.infra.cloud import (
    AUTOSCALER,
    BODIES,
    CHECK,
    GROUP,
    SERVICE,
    TEMPLATE,
    URL_MAP,
    World,
    delete,
    insert,
    request_id,
)

FLEET = Plan(
    (
        insert(TEMPLATE),
        insert(CHECK),
        insert(GROUP, TEMPLATE),
        insert(AUTOSCALER, GROUP),
        insert(SERVICE, GROUP, CHECK),
    )
)


def apply_plan(world: World, plan: Plan, seconds: float = 45) -> tuple[Result, ...]:
    return apply(plan, world.compute, world.clock, request_id, world.soon(seconds))


def kinds(results: tuple[Result, ...]) -> list[str]:
    return [type(result).__name__ for result in results]


def existing(world: World) -> set[Key]:
    return {
        key for key, body in world.compute.observe(ReadSet(tuple(BODIES))).bodies.items() if body
    }


@pytest.mark.parametrize("workers", [1, 4])
def test_a_plan_is_applied(workers: int) -> None:
    world = given.world(workers=workers)
    assert kinds(apply_plan(world, FLEET)) == ["Applied"] * 5
    assert existing(world) == {TEMPLATE, CHECK, GROUP, AUTOSCALER, SERVICE}


def test_results_are_in_the_plans_order() -> None:
    results = apply_plan(given.world(workers=4), FLEET)
    assert tuple(result.action for result in results) == FLEET.actions


def test_an_empty_plan_makes_no_calls() -> None:
    world = given.world()
    assert apply_plan(world, Plan()) == ()
    assert not world.emulator.calls.log


def test_independent_actions_run_concurrently_and_dependent_ones_later() -> None:
    """No insert gets an answer before both inserts have been sent."""
    meeting, clock = _Meeting({"t", "c"}), wiring.RealClock()
    adapter = Emulator("demo", RealClock()).adapter(meeting.around)
    compute = Compute("demo", clock, adapter=adapter, workers=4)
    first, second = Key("instanceTemplates", "global", "t"), Key("healthChecks", "global", "c")
    plan = Plan(
        (
            Action(first, "insert", {"name": "t"} | BODIES[TEMPLATE], ""),
            Action(second, "insert", {"name": "c"} | BODIES[CHECK], ""),
            Action(first, "delete", {}, "", (second,)),
        )
    )
    results = apply(plan, compute, clock, request_id, clock.now() + timedelta(seconds=30))
    assert kinds(results) == ["Applied"] * 3
    assert meeting.met


def test_a_single_worker_applies_the_plan_in_order() -> None:
    world = given.world(operation_seconds=2)
    apply_plan(world, FLEET)
    assert [
        call.method.split(".")[1]
        for call in world.emulator.calls.log
        if call.method.endswith("insert")
    ] == [
        "instanceTemplates",
        "healthChecks",
        "regionInstanceGroupManagers",
        "regionAutoscalers",
        "backendServices",
    ]


def test_dependencies_outside_the_plan_are_assumed_to_exist() -> None:
    world = given.world()
    world.make(CHECK, TEMPLATE, GROUP)
    assert kinds(apply_plan(world, Plan((insert(SERVICE, GROUP, CHECK),)))) == ["Applied"]


# ---- Deadlines


def test_at_the_deadline_no_action_starts_and_running_ones_are_pending() -> None:
    world = given.world(operation_seconds=30)
    template, check, group, autoscaler, service = apply_plan(world, FLEET, seconds=45)
    assert kinds((template, check, group, autoscaler, service)) == ["Applied", *["Pending"] * 4]
    assert isinstance(check, Pending)
    assert check.why == "its operation is still running"
    assert isinstance(group, Pending)
    assert "not started" in group.why
    assert existing(world) == {TEMPLATE, CHECK}
    assert world.clock.now() == world.soon(0)


def test_after_the_deadline_nothing_is_sent() -> None:
    world = given.world()
    assert kinds(apply_plan(world, FLEET, seconds=0)) == ["Pending"] * 5
    assert not world.emulator.calls.log


def test_an_operation_that_never_ends_blocks_only_its_dependents() -> None:
    """Over HTTP and in real time, because the wait itself has to time out."""
    emulator, clock = Emulator("demo", RealClock()), wiring.RealClock()
    emulator.faults.add("operation_never_ends", "compute.healthChecks.insert")
    with emulator.serve() as server:
        compute = Compute("demo", clock, server.url, workers=4)
        results = apply(FLEET, compute, clock, request_id, clock.now() + timedelta(seconds=3))
    template, check, group, autoscaler, service = results
    assert kinds((template, group, autoscaler)) == ["Applied"] * 3
    assert kinds((check, service)) == ["Pending"] * 2
    assert isinstance(service, Pending)
    assert "insert healthChecks/slipway-tiny-blue-lb" in service.why


# ---- Errors


def test_a_refused_action_fails_and_blocks_its_dependents() -> None:
    world = given.world()
    world.emulator.faults.add(
        "error",
        "compute.instanceTemplates.insert",
        status=403,
        reason="forbidden",
        message="no permission",
    )
    template, check, group, autoscaler, service = apply_plan(world, FLEET)
    assert isinstance(template, Failed)
    assert (template.problem.reason, template.problem.message) == ("config", "no permission")
    assert kinds((check, group, autoscaler, service)) == [
        "Applied",
        "Pending",
        "Pending",
        "Pending",
    ]
    assert isinstance(autoscaler, Pending)
    assert "no permission" in autoscaler.why
    assert existing(world) == {CHECK}


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("QUOTA_EXCEEDED", 403, "quota"),
        ("ZONE_RESOURCE_POOL_EXHAUSTED", 503, "stock-out"),
        ("INVALID_USAGE", 400, "config"),
    ],
)
def test_a_failed_operation_fails_its_action_with_the_reason(
    code: str, status: int, reason: str
) -> None:
    world = given.world(operation_seconds=1)
    world.emulator.faults.add(
        "operation_error",
        "compute.healthChecks.insert",
        code=code,
        status=status,
        message="the message",
    )
    (result,) = apply_plan(world, Plan((insert(CHECK),)))
    assert isinstance(result, Failed)
    assert (result.problem.reason, result.problem.code, result.problem.message) == (
        reason,
        code,
        "the message",
    )


def test_a_rate_limit_is_pending_until_the_next_minute() -> None:
    world = given.world()
    world.emulator.faults.add(
        "error",
        "compute.healthChecks.insert",
        status=403,
        reason="rateLimitExceeded",
        message="per minute",
    )
    (result,) = apply_plan(world, Plan((insert(CHECK),)))
    assert isinstance(result, Pending)
    assert result.retry_after_seconds == 61


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
def test_an_action_without_an_answer_is_pending_and_done_in_the_next_pass(kind: str) -> None:
    world = given.world()
    world.emulator.faults.add(kind, "compute.healthChecks.insert", times=1)
    plan = Plan((insert(CHECK),))
    assert kinds(apply_plan(world, plan)) == ["Pending"]
    assert kinds(apply_plan(world, plan)) == ["Applied"]
    assert existing(world) == {CHECK}


def test_inserting_an_existing_resource_is_pending() -> None:
    world = given.world()
    world.make(CHECK)
    (result,) = apply_plan(world, Plan((insert(CHECK, description="another"),)))
    assert isinstance(result, Pending)
    assert "read again" in result.why


def test_deleting_a_missing_resource_is_applied() -> None:
    world = given.world()
    assert kinds(apply_plan(world, Plan((delete(CHECK), delete(GROUP))))) == ["Applied"] * 2


def test_a_change_with_a_stale_fingerprint_is_pending() -> None:
    world = given.world()
    world.make(CHECK, TEMPLATE, GROUP, SERVICE, URL_MAP)
    stale = Action(
        URL_MAP, "patch", {"description": "x", "fingerprint": "c3RhbGU="}, "", based_on="stale"
    )
    (result,) = apply_plan(world, Plan((stale,)))
    assert isinstance(result, Pending)
    assert existing(world) >= {URL_MAP}


def test_deleting_a_resource_in_use_is_retried_later() -> None:
    world = given.world()
    world.make(CHECK, TEMPLATE, GROUP, SERVICE)
    (result,) = apply_plan(world, Plan((delete(CHECK),)))
    assert isinstance(result, Pending)
    assert result.retry_after_seconds


def test_a_failed_action_is_repeated_in_a_later_pass_with_a_new_request_id() -> None:
    """Compute Engine returns the old operation, and its error, for an hour."""
    world = given.world(operation_seconds=1)
    world.emulator.faults.add(
        "operation_error", "compute.healthChecks.insert", code="RESOURCE_NOT_READY", times=1
    )
    plan = Plan((insert(CHECK),))
    assert kinds(apply_plan(world, plan)) == ["Pending"]
    world.clock.sleep(10)
    assert kinds(apply_plan(world, plan)) == ["Applied"]
    assert existing(world) == {CHECK}


def test_a_successful_action_is_not_repeated_in_a_later_pass() -> None:
    world = given.world(operation_seconds=30)
    plan = Plan((insert(CHECK),))
    assert kinds(apply_plan(world, plan, seconds=10)) == ["Pending"]
    assert kinds(apply_plan(world, plan)) == ["Applied"]
    assert len(world.emulator.operations()) == 1


def test_a_bug_in_the_plan_is_raised() -> None:
    for workers in (1, 4):
        with pytest.raises(ValueError, match="does not support update"):
            apply_plan(
                given.world(workers=workers), Plan((insert(CHECK), Action(GROUP, "update", {}, "")))
            )


# ---- Helpers


class _Meeting:
    """Blocks every insert until all the `awaited` ones have been sent, and asserts that no delete
    comes before.
    """

    def __init__(self, awaited: set[str]) -> None:
        self._barrier = threading.Barrier(len(awaited))
        self.met = False

    def around(
        self, request: requests.PreparedRequest, send: Callable[[], requests.Response]
    ) -> requests.Response:
        if request.method == "POST" and "operations" not in (request.url or ""):
            self._barrier.wait(timeout=20)
            self.met = True
        if request.method == "DELETE":
            assert self.met
        return send()
