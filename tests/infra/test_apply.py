"""Applying a plan: what exists afterwards, and what each action's result says."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
import requests

from compute_emulator import Cloud, InProcessAdapter, RealClock, serve
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


def carry_out(world: World, plan: Plan, seconds: float = 45) -> tuple[Result, ...]:
    return apply(plan, world.compute, world.clock, request_id, world.soon(seconds))


def kinds(results: tuple[Result, ...]) -> list[str]:
    return [type(result).__name__ for result in results]


def there(world: World) -> set[Key]:
    return {
        key for key, body in world.compute.observe(ReadSet(tuple(BODIES))).bodies.items() if body
    }


@pytest.mark.parametrize("workers", [1, 4])
def test_a_plan_is_made_true(workers: int) -> None:
    world = given.world(workers=workers)
    assert kinds(carry_out(world, FLEET)) == ["Applied"] * 5
    assert there(world) == {TEMPLATE, CHECK, GROUP, AUTOSCALER, SERVICE}


def test_results_are_told_in_the_plans_order() -> None:
    results = carry_out(given.world(workers=4), FLEET)
    assert tuple(result.action for result in results) == FLEET.actions


def test_an_empty_plan_asks_for_nothing() -> None:
    world = given.world()
    assert carry_out(world, Plan()) == ()
    assert not world.cloud.calls.log


def test_what_does_not_depend_runs_at_the_same_time_and_what_does_comes_after() -> None:
    """Operations that never end by themselves: an end is given to them only once all that could run
    at all is running."""
    meeting = _Meeting(Cloud("demo", RealClock()), {"t", "c"})
    compute, clock = Compute("demo", given.RealTime(), adapter=meeting, workers=4), given.RealTime()
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


def test_one_worker_does_one_thing_after_the_other_in_the_plans_order() -> None:
    world = given.world(operation_seconds=2)
    carry_out(world, FLEET)
    assert [
        call.method.split(".")[1]
        for call in world.cloud.calls.log
        if call.method.endswith("insert")
    ] == [
        "instanceTemplates",
        "healthChecks",
        "regionInstanceGroupManagers",
        "regionAutoscalers",
        "backendServices",
    ]


def test_what_is_waited_for_outside_the_plan_is_taken_to_exist() -> None:
    world = given.world()
    world.make(CHECK, TEMPLATE, GROUP)
    assert kinds(carry_out(world, Plan((insert(SERVICE, GROUP, CHECK),)))) == ["Applied"]


# ---- Time


def test_when_the_time_is_over_nothing_new_starts_and_what_runs_is_pending() -> None:
    world = given.world(operation_seconds=30)
    template, check, group, autoscaler, service = carry_out(world, FLEET, seconds=45)
    assert kinds((template, check, group, autoscaler, service)) == ["Applied", *["Pending"] * 4]
    assert isinstance(check, Pending)
    assert check.why == "its operation is still running"
    assert isinstance(group, Pending)
    assert "not started" in group.why
    assert there(world) == {TEMPLATE, CHECK}
    assert world.clock.now() == world.soon(0)


def test_a_time_that_is_over_before_it_began_sends_nothing() -> None:
    world = given.world()
    assert kinds(carry_out(world, FLEET, seconds=0)) == ["Pending"] * 5
    assert not world.cloud.calls.log


def test_an_operation_that_never_ends_holds_up_nothing_but_what_waits_for_it() -> None:
    """Over HTTP and in real time, since the wait itself has to be cut short."""
    cloud, clock = Cloud("demo", RealClock()), given.RealTime()
    cloud.faults.add("operation_never_ends", "compute.healthChecks.insert")
    with serve(cloud, port=0) as server:
        compute = Compute("demo", clock, server.url, workers=4)
        results = apply(FLEET, compute, clock, request_id, clock.now() + timedelta(seconds=3))
    template, check, group, autoscaler, service = results
    assert kinds((template, group, autoscaler)) == ["Applied"] * 3
    assert kinds((check, service)) == ["Pending"] * 2
    assert isinstance(service, Pending)
    assert "insert healthChecks/slipway-tiny-blue-lb" in service.why


# ---- What Compute Engine says


def test_a_refusal_fails_its_action_and_holds_back_what_waits_for_it() -> None:
    world = given.world()
    world.cloud.faults.add(
        "error",
        "compute.instanceTemplates.insert",
        status=403,
        reason="forbidden",
        message="no permission",
    )
    template, check, group, autoscaler, service = carry_out(world, FLEET)
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
    assert there(world) == {CHECK}


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("QUOTA_EXCEEDED", 403, "quota"),
        ("ZONE_RESOURCE_POOL_EXHAUSTED", 503, "stock-out"),
        ("INVALID_USAGE", 400, "config"),
    ],
)
def test_an_operation_that_ends_badly_fails_with_its_reason(
    code: str, status: int, reason: str
) -> None:
    world = given.world(operation_seconds=1)
    world.cloud.faults.add(
        "operation_error",
        "compute.healthChecks.insert",
        code=code,
        status=status,
        message="its own words",
    )
    (result,) = carry_out(world, Plan((insert(CHECK),)))
    assert isinstance(result, Failed)
    assert (result.problem.reason, result.problem.code, result.problem.message) == (
        reason,
        code,
        "its own words",
    )


def test_a_rate_limit_is_pending_until_the_next_minute() -> None:
    world = given.world()
    world.cloud.faults.add(
        "error",
        "compute.healthChecks.insert",
        status=403,
        reason="rateLimitExceeded",
        message="per minute",
    )
    (result,) = carry_out(world, Plan((insert(CHECK),)))
    assert isinstance(result, Pending)
    assert result.retry_after_seconds == 61


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
def test_without_an_answer_an_action_is_pending_and_the_next_turn_does_it(kind: str) -> None:
    world = given.world()
    world.cloud.faults.add(kind, "compute.healthChecks.insert", times=1)
    plan = Plan((insert(CHECK),))
    assert kinds(carry_out(world, plan)) == ["Pending"]
    assert kinds(carry_out(world, plan)) == ["Applied"]
    assert there(world) == {CHECK}


def test_an_insert_of_what_is_there_is_to_be_read_again() -> None:
    world = given.world()
    world.make(CHECK)
    (result,) = carry_out(world, Plan((insert(CHECK, description="another"),)))
    assert isinstance(result, Pending)
    assert "read again" in result.why


def test_a_delete_of_what_is_gone_is_applied() -> None:
    world = given.world()
    assert kinds(carry_out(world, Plan((delete(CHECK), delete(GROUP))))) == ["Applied"] * 2


def test_a_change_to_what_changed_meanwhile_is_to_be_read_again() -> None:
    world = given.world()
    world.make(CHECK, TEMPLATE, GROUP, SERVICE, URL_MAP)
    stale = Action(
        URL_MAP, "patch", {"description": "x", "fingerprint": "c3RhbGU="}, "", based_on="stale"
    )
    (result,) = carry_out(world, Plan((stale,)))
    assert isinstance(result, Pending)
    assert there(world) >= {URL_MAP}


def test_what_is_still_in_use_is_tried_again_later() -> None:
    world = given.world()
    world.make(CHECK, TEMPLATE, GROUP, SERVICE)
    (result,) = carry_out(world, Plan((delete(CHECK),)))
    assert isinstance(result, Pending)
    assert result.retry_after_seconds


def test_an_action_that_failed_in_an_earlier_turn_is_asked_for_anew_though_its_request_id_is_the_same() -> (
    None
):
    """The id brings back the old operation for an hour, and with it the old error."""
    world = given.world(operation_seconds=1)
    world.cloud.faults.add(
        "operation_error", "compute.healthChecks.insert", code="RESOURCE_NOT_READY", times=1
    )
    plan = Plan((insert(CHECK),))
    assert kinds(carry_out(world, plan)) == ["Pending"]
    world.clock.sleep(10)
    assert kinds(carry_out(world, plan)) == ["Applied"]
    assert there(world) == {CHECK}


def test_an_action_that_worked_in_an_earlier_turn_is_not_done_twice() -> None:
    world = given.world(operation_seconds=30)
    plan = Plan((insert(CHECK),))
    assert kinds(carry_out(world, plan, seconds=10)) == ["Pending"]
    assert kinds(carry_out(world, plan)) == ["Applied"]
    assert len(world.cloud.operations.table) == 1


def test_a_mistake_of_our_own_is_raised() -> None:
    for workers in (1, 4):
        with pytest.raises(ValueError, match="does not support update"):
            carry_out(
                given.world(workers=workers), Plan((insert(CHECK), Action(GROUP, "update", {}, "")))
            )


# ---- Means


class _Meeting(InProcessAdapter):
    """Lets nobody's insert through before all the awaited ones have come, and no delete before
    that."""

    def __init__(self, cloud: Cloud, awaited: set[str]) -> None:
        super().__init__(cloud)
        self._barrier = threading.Barrier(len(awaited))
        self.met = False

    def send(
        self, request: requests.PreparedRequest, *args: Any, **options: Any
    ) -> requests.Response:
        if request.method == "POST" and "operations" not in (request.url or ""):
            self._barrier.wait(timeout=20)
            self.met = True
        if request.method == "DELETE":
            assert self.met
        return super().send(request, *args, **options)
