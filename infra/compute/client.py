"""Compute Engine's verbs, the same few for every collection: read, observe, list, send, wait. The
project's hands there.

Called by `handlers/reconcile/loop.py` (observe) and `infra/compute/apply.py` (send, wait); with
`compute_calls`, `compute_loader` and `compute_table` behind it, it is the only user of the Compute
client. Nothing is retried in here and nothing sleeps but by the clock; every failure is one of
`infra/compute/errors.py`. With `workers=1` everything happens in order in the calling thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from requests.adapters import BaseAdapter

from infra.clock import Clock
from infra.compute.calls import Calls
from infra.compute.endpoints import (
    AGGREGATED,
    ENDPOINTS,
    GLOBAL_OPERATIONS,
    METHODS,
    REGION_OPERATIONS,
)
from infra.compute.errors import BACK_OFF_SECONDS, NotFound, Refused, Retry
from infra.fleet import naming
from infra.fleet.model import Action, Body, Collection, Key, ReadSet, Snapshot

EVERYWHERE = "aggregated"
"""The scope that means all regions, for `Compute.list` of a regional collection."""
READ_SECONDS = 20.0
SEND_SECONDS = 30.0
WAIT_SECONDS = 120.0
"""How long an operation's `wait` may block on the server's side (Compute API reference,
globalOperations.wait)."""
PAGE = 500
POLLS_SECONDS = (0.25, 0.5, 1.0, 2.0)

T = TypeVar("T")
Jobs = list[Callable[[], T]]
Bodies = tuple[Body, ...]


class Compute:
    """One project's Compute Engine. `endpoint`: another host than Google's, such as a stand-in's;
    `adapter`: mounted under the session of all clients, so that a stand-in can answer in process.
    Without `credentials` they are looked up as usual, except for those two."""

    def __init__(
        self,
        project: str,
        clock: Clock,
        endpoint: str | None = None,
        credentials: Any = None,
        adapter: BaseAdapter | None = None,
        workers: int = 8,
    ) -> None:
        self.project = project
        self.workers = workers
        self._clock = clock
        self._calls = Calls(project, clock, endpoint, credentials, adapter)
        self._pool: ThreadPoolExecutor | None = None

    # ---- Reading

    def get(self, key: Key) -> Body | None:
        """The resource; None when it is not there."""
        row = ENDPOINTS[key.collection]
        try:
            return self._calls.call(
                row, "get", _place(key.scope) | {row.name: key.name}, READ_SECONDS
            )
        except NotFound:
            return None

    def observe(self, look: ReadSet, known: Snapshot | None = None) -> Snapshot:
        """Everything that a look asks for, read side by side. Only the health of backends is asked
        for afterwards, since a backend service says which groups it has; one that is not looked at
        is taken as it is `known`."""
        keys = tuple(dict.fromkeys(look.keys))
        templates = (
            [
                partial(
                    self.list, "instanceTemplates", filter=naming.template_filter(look.templates_of)
                )
            ]
            if look.templates_of
            else []
        )
        first: Jobs[Any] = [
            *(partial(self.get, key) for key in keys),
            *(
                partial(self._of_group, key, "list_managed_instances", "managedInstances")
                for key in look.groups
            ),
            *templates,
        ]
        answers = iter(self._all(first))
        bodies: dict[Key, Body | None] = {key: next(answers) for key in keys}
        instances = {key: next(answers) for key in look.groups}
        listed = next(answers, ())
        bodies = {
            Key("instanceTemplates", naming.GLOBAL, body["name"]): body for body in listed
        } | bodies
        return Snapshot(
            bodies,
            instances,
            self._healths(look.healths, {**(known.bodies if known else {}), **bodies}),
        )

    def list(self, collection: Collection, scope: str = naming.GLOBAL, filter: str = "") -> Bodies:
        """A whole collection in `global`, in a region, or `EVERYWHERE`, by pages of 500."""
        options = {"filter": filter} if filter else {}
        if scope == EVERYWHERE:
            return self._aggregated(collection, options)
        pages = self._pages(ENDPOINTS[collection], "list", _place(scope) | options)
        return tuple(body for page in pages for body in page.get("items", ()))

    def _aggregated(self, collection: Collection, options: Mapping[str, Any]) -> Bodies:
        row, member = AGGREGATED[collection]
        found: list[Body] = []
        for page in self._pages(row, "aggregated_list", options):
            for scope, part in page.get("items", {}).items():
                if (
                    part.get("warning", {}).get("code", "NO_RESULTS_ON_PAGE")
                    != "NO_RESULTS_ON_PAGE"
                ):
                    raise Retry(
                        BACK_OFF_SECONDS,
                        f"{collection} of {scope} could not be listed:"
                        f" {part['warning'].get('message', '')}",
                    )
                found += part.get(member, ()) if scope.startswith("regions/") else ()
        return tuple(found)

    def _of_group(self, group: Key, method: str, member: str) -> Bodies:
        """What the group answers, page by page; nothing when there is no such group."""
        row = ENDPOINTS[group.collection]
        try:
            pages = self._pages(row, method, _place(group.scope) | {row.name: group.name})
            return tuple(body for page in pages for body in page.get(member, ()))
        except NotFound:
            return ()

    def _pages(self, row: Any, method: str, fields: Mapping[str, Any]) -> Iterable[Body]:
        token = ""
        while True:
            page = self._calls.call(
                row,
                method,
                {**fields, "maxResults": PAGE, **({"pageToken": token} if token else {})},
                READ_SECONDS,
            )
            yield page
            token = page.get("nextPageToken", "")
            if not token:
                return

    def _healths(
        self, services: Iterable[Key], bodies: Mapping[Key, Body | None]
    ) -> dict[Key, Bodies]:
        asked = [
            (service, backend["group"])
            for service in services
            for backend in (bodies.get(service) or {}).get("backends", ())
            if "group" in backend
        ]
        answers = self._all([partial(self._health, service, group) for service, group in asked])
        found: dict[Key, Bodies] = {service: () for service in services if bodies.get(service)}
        for (service, _), answer in zip(asked, answers, strict=True):
            found[service] += answer
        return found

    def _health(self, service: Key, group: str) -> Bodies:
        """No answer at all where the group is, by now, none of the service's: no data is not a
        verdict."""
        row = ENDPOINTS[service.collection]
        fields = {row.name: service.name, "resourceGroupReferenceResource": {"group": group}}
        try:
            return (
                self._calls.call(
                    row, "get_health", fields, READ_SECONDS, "resourceGroupReferenceResource"
                ),
            )
        except NotFound:
            return ()
        except Refused as refused:
            if refused.problem.code.startswith("INVALID"):
                return ()
            raise

    # ---- Changing

    def send(self, action: Action, request_id: UUID, until: datetime | None = None) -> Body:
        """Ask for one change; answers its operation, which has most likely only begun. The same
        `request_id` is the same change."""
        row, key = ENDPOINTS[action.key.collection], action.key
        if action.verb not in row.verbs:
            raise ValueError(f"{key.collection} has no {action.verb}")
        fields: dict[str, Any] = _place(key.scope) | {"requestId": str(request_id)}
        body_field = "" if action.verb == "delete" else row.bodies.get(action.verb, row.body)
        if body_field:
            fields[body_field] = self._calls.in_full(action.body)
        if action.verb != "insert":
            fields[row.name] = key.name
        timeout = SEND_SECONDS if until is None else max(1.0, min(SEND_SECONDS, self._left(until)))
        operation = self._calls.call(row, METHODS[action.verb], fields, timeout, body_field)
        if not isinstance(operation.get("name"), str):
            raise Retry(
                BACK_OFF_SECONDS,
                f"the answer to {action.verb} {key.collection}/{key.name} is no operation",
            )
        return operation

    def wait(self, operation: Body, until: datetime) -> Body | None:
        """The operation when it is over, well or not; None when it still runs at `until`. Raises
        `Retry` when it is not to be found: an operation is forgotten some time after its end."""
        region = naming.last(operation.get("region"))
        row = REGION_OPERATIONS if region else GLOBAL_OPERATIONS
        fields = {"operation": operation["name"], **({"region": region} if region else {})}
        polls = iter(POLLS_SECONDS)
        while operation.get("status") != "DONE":
            asked_at = self._clock.now()
            if self._left(until) <= 0:
                return None
            try:
                operation = self._calls.call(
                    row, "wait", fields, max(1.0, min(WAIT_SECONDS + 5, self._left(until)))
                )
                pause = next(polls, POLLS_SECONDS[-1])
            except Retry as trouble:
                pause = trouble.after_seconds
            except NotFound as gone:
                raise Retry(
                    BACK_OFF_SECONDS,
                    f"operation {operation['name']} is no longer known: {gone.why}",
                ) from gone
            if (
                operation.get("status") != "DONE"
                and (self._clock.now() - asked_at).total_seconds() < pause
            ):
                self._clock.sleep(max(0.0, min(pause, self._left(until))))
        return operation

    def _left(self, until: datetime) -> float:
        return (until - self._clock.now()).total_seconds()

    # ---- Side by side

    def _all(self, jobs: Jobs[T]) -> Sequence[T]:
        """Every job's answer in order. All are over when this returns or raises."""
        if self.workers == 1 or len(jobs) < 2:
            return [job() for job in jobs]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="compute")
        futures = [self._pool.submit(job) for job in jobs]
        failures = [failure for failure in [future.exception() for future in futures] if failure]
        if failures:
            raise failures[0]
        return [future.result() for future in futures]


def _place(scope: str) -> dict[str, Any]:
    return {} if scope == naming.GLOBAL else {"region": scope}
