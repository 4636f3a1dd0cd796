"""Operations of all three scopes: get, list, wait, delete.

`wait` blocks over HTTP until the operation is done or two minutes of cloud time have passed.
With a virtual clock nothing would happen meanwhile, so it returns at once, or advances the clock
if the cloud has `wait_advances_clock`. Source: Compute API reference, globalOperations.wait ("best
effort": it may return earlier, callers loop).
"""

from __future__ import annotations

from compute_emulator.api.call import Call, Handlers
from compute_emulator.engine.clock import VirtualClock
from compute_emulator.errors import JsonObject

HANDLERS = Handlers()

SCOPED = ("global", "region", "zone")
WAIT_SECONDS = 120.0


@HANDLERS.handles(*(f"compute.{scope}Operations.get" for scope in SCOPED))
def get(call: Call) -> JsonObject:
    return call.cloud.operations.find(call.scope, call.name)


@HANDLERS.handles(*(f"compute.{scope}Operations.list" for scope in SCOPED))
def list_(call: Call) -> JsonObject:
    return call.page(
        [each for (scope, _), each in call.cloud.operations.table.items() if scope == call.scope]
    )


@HANDLERS.handles("compute.globalOperations.aggregatedList")
def aggregated_list(call: Call) -> JsonObject:
    found: dict[str, list[JsonObject]] = {}
    for (scope, _), each in call.cloud.operations.table.items():
        found.setdefault(scope, []).append(each)
    return call.aggregate(found)


@HANDLERS.handles(*(f"compute.{scope}Operations.delete" for scope in SCOPED))
def delete(call: Call) -> JsonObject:
    call.cloud.operations.forget(
        call.scope, call.cloud.operations.find(call.scope, call.name)["name"]
    )
    return {}


@HANDLERS.handles(*(f"compute.{scope}Operations.wait" for scope in SCOPED))
def wait(call: Call) -> JsonObject:
    cloud = call.cloud
    operation = cloud.operations.find(call.scope, call.name)
    deadline = cloud.now() + WAIT_SECONDS
    if cloud.clock.speed == 0:
        return _wait_in_virtual_time(call, operation, deadline)
    while operation["status"] != "DONE" and cloud.now() < deadline:
        upcoming = cloud.next_event_at()
        until = deadline if upcoming is None else min(deadline, upcoming)
        # Waiting on the condition releases the lock, however often it is held.
        cloud.changed.wait(max(0.0, until - cloud.now()) / cloud.clock.speed)
        cloud.advance()
    return operation


def _wait_in_virtual_time(call: Call, operation: JsonObject, deadline: float) -> JsonObject:
    cloud = call.cloud
    while (
        cloud.wait_advances_clock
        and isinstance(cloud.clock, VirtualClock)
        and operation["status"] != "DONE"
    ):
        upcoming = cloud.next_event_at()
        if upcoming is None or upcoming > deadline:
            cloud.clock.advance(max(0.0, deadline - cloud.now()))
            break
        cloud.clock.advance(max(0.0, upcoming - cloud.now()))
        cloud.advance()
    return operation
