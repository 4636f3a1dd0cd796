"""Operations: how long they take, how they end, and the replay of a request id.

    accepted ---- RUNNING ---- operation_seconds ---- at_end() ---- DONE (or DONE with error)

A mutation takes effect when it is accepted, unless its handler passes `at_end`. While an insert or
a delete runs, its target is in `busy_targets`: it can be read but not used. The operations on one
URL map run one after the other: the next one is PENDING until the one before it is DONE.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from threading import Condition, RLock
from typing import Protocol

from compute_emulator.engine.propagation import Propagation
from compute_emulator.errors import ApiError, JsonObject, NotFound
from compute_emulator.keys import HOST, Key

REPLAY_SECONDS = 3600.0
RETENTION_SECONDS = 14 * 86_400.0
MIN_RETENTION_SECONDS = 3600.0
MAX_OPERATIONS = 20_000
SERIAL = ("urlMaps",)
"""Collections whose resources' operations run one after the other."""


class ProjectContext(Protocol):
    """What operations need of their project. `cloud.Cloud` implements it."""

    project: str
    lock: RLock
    changed: Condition
    propagation: Propagation

    def now(self) -> float: ...
    def timestamp(self) -> str: ...
    def after(self, seconds: float, run: Callable[[], None]) -> None: ...
    def new_id(self) -> str: ...
    def find(self, key: Key) -> JsonObject | None: ...
    def link(self, scope: str, collection: str, name: str) -> str: ...


class Operations:
    """The project's operations by (scope, name), oldest first."""

    def __init__(
        self, cloud: ProjectContext, seconds: float, seconds_by_method: Mapping[str, float]
    ) -> None:
        self._cloud = cloud
        self.seconds = seconds
        self.seconds_by_method = dict(seconds_by_method)
        self.table: dict[tuple[str, str], JsonObject] = {}
        self.busy_targets: dict[Key, tuple[str, str]] = {}
        self._accepted_at: dict[tuple[str, str], float] = {}
        self._at_end: dict[tuple[str, str], Callable[[], None]] = {}
        self._free_at: dict[Key, float] = {}
        self._by_request_id: dict[tuple[str, str], tuple[float, tuple[str, str]]] = {}
        self._number = 0

    def start(
        self,
        operation_type: str,
        target: Key,
        *,
        method_id: str = "",
        request_id: str | None = None,
        seconds: float | None = None,
        at_end: Callable[[], None] | None = None,
        held: bool = False,
        error: ApiError | None = None,
    ) -> JsonObject:
        """Start an operation. A `held` one runs until `finish`. With `error` it will fail; `at_end`
        may raise `ApiError` to fail it.
        """
        self._forget_old()
        name = self._new_name()
        where = (target.scope, name)
        resource = self._new(name, operation_type, target)
        self.table[where] = resource
        self._accepted_at[where] = self._cloud.now()
        if request_id:
            resource["clientOperationId"] = request_id
            self._by_request_id[(method_id, request_id)] = (self._cloud.now(), where)
        if operation_type.endswith(("insert", "delete")):
            self.busy_targets[target] = where
        if at_end is not None:
            self._at_end[where] = at_end
        duration = self._duration_of(method_id) if seconds is None else seconds
        if held:
            return resource
        if duration > 0 and target.collection in SERIAL:
            duration += self._queue(resource, target, duration)
        self._cloud.propagation.hold(target, self._cloud.now() + duration)
        if duration <= 0:
            self.finish(where, error)
        else:
            self._cloud.after(duration, lambda: self.finish(where, error))
        return resource

    def _queue(self, resource: JsonObject, target: Key, duration: float) -> float:
        """How long the operation has to wait for earlier ones on its target."""
        now = self._cloud.now()
        pause = max(0.0, self._free_at.get(target, now) - now)
        self._free_at[target] = now + pause + duration
        if pause:
            resource["status"] = "PENDING"
            del resource["startTime"]
            self._cloud.after(pause, lambda: self._begin(resource))
        return pause

    def _begin(self, resource: JsonObject) -> None:
        if resource["status"] == "PENDING":
            resource |= {"status": "RUNNING", "startTime": self._cloud.timestamp()}

    def finish(self, where: tuple[str, str], error: ApiError | None = None) -> None:
        """End an operation. Does nothing if it has ended or is no longer kept."""
        resource = self.table.get(where)
        if resource is None or resource["status"] == "DONE":
            return
        for key in [key for key, by in self.busy_targets.items() if by == where]:
            del self.busy_targets[key]
        at_end = self._at_end.pop(where, None)
        if at_end is not None and error is None:
            try:
                at_end()
            except ApiError as refused:
                error = refused
        resource.setdefault("startTime", self._cloud.timestamp())
        resource |= {"status": "DONE", "progress": 100, "endTime": self._cloud.timestamp()}
        if error is not None:
            resource |= error.in_operation()
        with self._cloud.lock:
            self._cloud.changed.notify_all()

    def find(self, scope: str, name_or_id: str) -> JsonObject:
        """Raises `NotFound`, also for an operation that has ended and is no longer kept."""
        found = self.table.get((scope, name_or_id))
        if found is None and name_or_id.isdigit():
            found = next(
                (o for (at, _), o in self.table.items() if at == scope and o["id"] == name_or_id),
                None,
            )
        if found is None:
            raise NotFound(f"projects/{self._cloud.project}/{scope}/operations/{name_or_id}")
        return found

    def forget(self, scope: str, name: str) -> None:
        self.table.pop((scope, name), None)
        self._accepted_at.pop((scope, name), None)

    def find_replay(self, method_id: str, request_id: str) -> JsonObject | None:
        """The operation that the first request with this id started, within 60 minutes."""
        at, where = self._by_request_id.get((method_id, request_id), (float("-inf"), ("", "")))
        return self.table.get(where) if self._cloud.now() - at <= REPLAY_SECONDS else None

    def _duration_of(self, method_id: str) -> float:
        for pattern, seconds in self.seconds_by_method.items():
            if fnmatchcase(method_id, pattern):
                return seconds
        return self.seconds

    def _new_name(self) -> str:
        self._number += 1
        milliseconds, suffix = int(self._cloud.now() * 1000), self._number * 2654435761 % 2**32
        return f"operation-{milliseconds}-{self._number:013x}-{suffix:08x}"

    def _new(self, name: str, operation_type: str, target: Key) -> JsonObject:
        cloud = self._cloud
        now = cloud.timestamp()
        resource: JsonObject = {
            "kind": "compute#operation",
            "id": cloud.new_id(),
            "name": name,
            "operationType": operation_type,
            "targetLink": cloud.link(*target),
            "targetId": (cloud.find(target) or {}).get("id") or cloud.new_id(),
            "status": "RUNNING",
            "user": "emulator@localhost",
            "progress": 0,
            "insertTime": now,
            "startTime": now,
            "selfLink": cloud.link(target.scope, "operations", name),
        }
        place, _, place_name = target.scope.partition("/")
        if place_name:
            resource[place.removesuffix("s")] = f"{HOST}projects/{cloud.project}/{target.scope}"
        return resource

    def _forget_old(self) -> None:
        """Drop the oldest finished operations: after 14 days, or after one hour if there are very
        many.
        """
        now = self._cloud.now()
        while (
            self._by_request_id
            and now - next(iter(self._by_request_id.values()))[0] > REPLAY_SECONDS
        ):
            del self._by_request_id[next(iter(self._by_request_id))]
        while self.table:
            where = next(iter(self.table))
            age = now - self._accepted_at[where]
            is_over_limit = len(self.table) > MAX_OPERATIONS and age > MIN_RETENTION_SECONDS
            if self.table[where]["status"] != "DONE" or not (
                is_over_limit or age > RETENTION_SECONDS
            ):
                return
            self.forget(*where)
