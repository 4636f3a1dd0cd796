"""Compute Engine, with the same few methods for every collection: get, observe, list, send, wait.

Called by `handlers/reconcile/observe.py` (observe), `infra/compute/inventory.py` (list) and
`infra/compute/apply.py` (send, wait). `infra/compute/calls.py` makes the single calls; only it uses
the official client. This module does not retry, and it sleeps only through the clock. Every failure
is a `ComputeError`. With `workers=1` everything happens in order in the calling thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from requests.adapters import BaseAdapter

from infra.clock import Clock
from infra.compute import call_count
from infra.compute.calls import Calls, expand_references
from infra.compute.endpoints import (
    AGGREGATED,
    CATALOGUES,
    ENDPOINTS,
    GLOBAL_OPERATIONS,
    REGION_OPERATIONS,
    RPCS,
    ZONE_OPERATIONS,
    Endpoint,
)
from infra.compute.errors import (
    BACK_OFF_SECONDS,
    Busy,
    Conflict,
    NotFound,
    RateLimited,
    Refused,
    Retry,
)
from infra.compute.quota import READS, ReadQuota
from infra.fleet import naming
from infra.fleet.model import Action, Body, Collection, Key, ReadSet, Snapshot
from infra.fleet.preflight import ZONAL, Answer, Answers, Reference

EVERYWHERE = "aggregated"
"""The scope that means all regions, for `Compute.list` on a regional collection."""
READ_SECONDS = 20.0
SEND_SECONDS = 30.0
WAIT_SECONDS = 120.0
"""How long an operation's `wait` may block on the server (Compute API reference,
globalOperations.wait)."""
PAGE_SIZE = 500
MAX_RECENT = 100
POLL_SECONDS = (0.25, 0.5, 1.0, 2.0)

T = TypeVar("T")
Jobs = list[Callable[[], T]]
Bodies = tuple[Body, ...]


class Compute:
    """One project's Compute Engine. `endpoint` replaces Google's API endpoint, for an emulator.
    `adapter` is the transport adapter of all clients, for an emulator in the same process.
    Application default credentials are used if no `credentials` are given, except with an `adapter`
    or a plain `http://` endpoint.
    """

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
        self._recent: dict[Reference, tuple[Answer, datetime]] = {}
        self.reads = ReadQuota(clock)

    def _call(
        self,
        endpoint: Endpoint,
        method: str,
        fields: Mapping[str, Any],
        timeout_seconds: float,
        body_field: str = "",
    ) -> Body:
        if method in READS:
            self.reads.require_open()
        call_count.add()
        try:
            return self._calls.call(endpoint, method, fields, timeout_seconds, body_field)
        except RateLimited as refusal:
            if method in READS:
                self.reads.close(refusal)
            raise

    # ---- Reading

    def get(self, key: Key) -> Body | None:
        """The resource, or None if it does not exist, which it cannot in an unknown region."""
        endpoint = ENDPOINTS[key.collection]
        fields = _scope_fields(key.scope) | {endpoint.name: key.name}
        try:
            return self._call(endpoint, "get", fields, READ_SECONDS)
        except NotFound:
            return None
        except Refused as refused:
            _require_invalid(refused)
            return None

    def observe(self, reads: ReadSet, previous: Snapshot | None = None) -> Snapshot:
        """Everything in the read set, read concurrently. What a list has exists, whatever a read
        of it says. The health of backends is read last,
        because a backend service says which groups it has. A backend service that is not in `keys`
        is taken from the `previous` snapshot.
        """
        keys = tuple(dict.fromkeys(reads.keys))
        if reads.leftovers_of:  # listed: any gateway may have a route of the model
            keys = tuple(key for key in keys if key.collection != "urlMaps")
        lists = _leftover_lists(reads.leftovers_of) if reads.leftovers_of else ()
        jobs: Jobs[Any] = [
            *(partial(self.get, key) for key in keys),
            *(partial(self._list_instances, key) for key in reads.groups),
            *(partial(self.list, collection, filter=filter) for collection, filter in lists),
        ]
        answers = iter(self._run_all(jobs))
        bodies: dict[Key, Body | None] = dict.fromkeys(reads.keys)
        bodies |= {key: next(answers) for key in keys}
        instances = {key: next(answers) for key in reads.groups}
        for collection, _ in lists:
            for body in next(answers):
                key = Key(collection, naming.GLOBAL, body["name"])
                bodies[key] = bodies.get(key) or body
        known = {**(previous.bodies if previous else {}), **bodies}
        return Snapshot(bodies, instances, self._read_healths(reads.healths, known))

    def list(self, collection: Collection, scope: str = naming.GLOBAL, filter: str = "") -> Bodies:
        """A whole collection in `global`, in a region, or `EVERYWHERE`."""
        return tuple(self.iterate(collection, scope, filter))

    def iterate(
        self,
        collection: Collection,
        scope: str = naming.GLOBAL,
        filter: str = "",
        members: str = "",
        unreachable: set[str] | None = None,
    ) -> Iterator[Body]:
        """The same, read page by page as the caller goes on. `members` are those of each body that
        are needed, such as `id,name`; they are for one scope. Regions that could not be listed are
        added to `unreachable`; without it they are an error, and so is a zone.
        """
        options = {"filter": filter} if filter else {}
        if scope == EVERYWHERE:
            yield from self._iterate_aggregated(collection, options, unreachable)
            return
        if members:
            options["fields"] = f"items({members}),nextPageToken,warning"
        fields = _scope_fields(scope) | options
        for page in self._read_pages(ENDPOINTS[collection], "list", fields):
            if is_partial(page):
                raise _not_listed(collection, scope, page)
            yield from page.get("items", ())

    def list_operations(self, zone: str, filter: str) -> Bodies:
        """The operations of a zone that the filter finds, running or finished."""
        fields = {"zone": zone, "filter": filter}
        pages = self._read_pages(ZONE_OPERATIONS, "list", fields)
        return tuple(body for page in pages for body in page.get("items", ()))

    def list_latest_operations(self, filter: str) -> Bodies:
        """The latest global operations that the filter finds: one page, the newest first."""
        fields = {"filter": filter, "orderBy": "creationTimestamp desc", "maxResults": PAGE_SIZE}
        page = self._call(GLOBAL_OPERATIONS, "list", fields, READ_SECONDS)
        return tuple(page.get("items", ()))

    def read_references(
        self, references: Iterable[Reference], within: timedelta = timedelta(0)
    ) -> Answers:
        """What a release refers to, read concurrently. What cannot be read has no answer. What any
        pass that shares this client found `within` that time is not read again.
        """
        keys, now = tuple(dict.fromkeys(references)), self._clock.now()
        found = {each: self._recent[each] for each in keys if each in self._recent}
        answers = {each: answer for each, (answer, at) in found.items() if now - at < within}
        missing = tuple(each for each in keys if each not in answers)
        read = self._run_all([partial(self._read_reference, each) for each in missing])
        answers |= {each: answer for each, answer in zip(missing, read, strict=True) if answer}
        new = {each: (answers[each], now) for each in missing if each in answers}
        kept = self._recent if len(self._recent) < MAX_RECENT else {}
        self._recent = kept | {each: item for each, item in new.items() if item[0].found}
        return answers

    def _read_reference(self, reference: Reference) -> Answer | None:
        endpoint = CATALOGUES[reference.catalogue]
        fields = {"project": reference.project or self.project}
        try:
            if reference.catalogue in ZONAL:
                options = {"filter": f"name = {reference.name}"}
                member = reference.catalogue
                return Answer(
                    tuple(self._iterate_scopes(endpoint, member, "zones/", options, None))
                )
            if reference.region:
                fields["region"] = reference.region
            method = "get_from_family" if endpoint.name == "family" else "get"
            fields[endpoint.name] = reference.name
            return Answer((self._call(endpoint, method, fields, READ_SECONDS),))
        except NotFound as error:
            code, _, message = error.why.partition(": ")
            return None if reference.catalogue in ZONAL else Answer((), code, message)
        except Refused as refused:
            problem = refused.problem
            is_answer = problem.code.startswith("INVALID")
            return Answer((), problem.code, problem.message) if is_answer else None
        except (Retry, Busy, Conflict):
            return None

    def _iterate_aggregated(
        self,
        collection: Collection,
        options: Mapping[str, Any],
        unreachable: set[str] | None,
    ) -> Iterator[Body]:
        endpoint, member = AGGREGATED[collection]
        return self._iterate_scopes(endpoint, member, "regions/", options, unreachable)

    def _iterate_scopes(
        self,
        endpoint: Endpoint,
        member: str,
        scopes: str,
        options: Mapping[str, Any],
        unreachable: set[str] | None = None,
    ) -> Iterator[Body]:
        """The resources of all scopes that begin with `scopes`. One that could not be listed is an
        error, or, if it is one of them, in `unreachable`.
        """
        may_lack = {} if unreachable is None else {"returnPartialSuccess": True}
        for page in self._read_pages(endpoint, "aggregated_list", {**options, **may_lack}):
            found: Mapping[str, Body] = page.get("items", {})
            partial = {scope: part for scope, part in found.items() if is_partial(part)}
            partial |= {_scope_of(name): {} for name in page.get("unreachables", ())}
            for scope, part in partial.items():
                if unreachable is None:
                    raise _not_listed(member, scope, part)
                if scope.startswith(scopes):
                    unreachable.add(scope.removeprefix(scopes))
            for scope, part in found.items():
                yield from part.get(member, ()) if scope.startswith(scopes) else ()

    def _list_instances(self, group: Key) -> Bodies:
        """The managed instances of a group; empty if there is no such group."""
        endpoint = ENDPOINTS[group.collection]
        fields = _scope_fields(group.scope) | {endpoint.name: group.name}
        try:
            pages = self._read_pages(endpoint, "list_managed_instances", fields)
            return tuple(body for page in pages for body in page.get("managedInstances", ()))
        except NotFound:
            return ()
        except Refused as refused:
            _require_invalid(refused)
            return ()

    def _read_pages(
        self, endpoint: Endpoint, method: str, fields: Mapping[str, Any]
    ) -> Iterable[Body]:
        token = ""
        while True:
            page = self._call(
                endpoint,
                method,
                {**fields, "maxResults": PAGE_SIZE, **({"pageToken": token} if token else {})},
                READ_SECONDS,
            )
            yield page
            token = page.get("nextPageToken", "")
            if not token:
                return

    def _read_healths(
        self, services: Iterable[Key], bodies: Mapping[Key, Body | None]
    ) -> dict[Key, Bodies]:
        pairs = [
            (service, backend["group"])
            for service in services
            for backend in (bodies.get(service) or {}).get("backends", ())
            if "group" in backend
        ]
        answers = self._run_all(
            [partial(self._read_health, service, group) for service, group in pairs]
        )
        found: dict[Key, Bodies] = {service: () for service in services if bodies.get(service)}
        for (service, _), answer in zip(pairs, answers, strict=True):
            found[service] += answer
        return found

    def _read_health(self, service: Key, group: str) -> Bodies:
        """The group's health answer. Empty if the group no longer belongs to the service: no health
        data, which is not a verdict.
        """
        endpoint = ENDPOINTS[service.collection]
        fields = {endpoint.name: service.name, "resourceGroupReferenceResource": {"group": group}}
        try:
            return (
                self._call(
                    endpoint, "get_health", fields, READ_SECONDS, "resourceGroupReferenceResource"
                ),
            )
        except NotFound:
            return ()
        except Refused as refused:
            _require_invalid(refused)
            return ()

    # ---- Changing

    def send(self, action: Action, request_id: UUID, until: datetime | None = None) -> Body:
        """Request one change and return its operation, which is usually still running. A repeat
        with the same `request_id` is the same change.
        """
        endpoint, key = ENDPOINTS[action.key.collection], action.key
        if action.verb not in endpoint.verbs:
            raise ValueError(f"{key.collection} does not support {action.verb}")
        fields: dict[str, Any] = _scope_fields(key.scope) | {"requestId": str(request_id)}
        body_field = (
            "" if action.verb == "delete" else endpoint.bodies.get(action.verb, endpoint.body)
        )
        if body_field:
            fields[body_field] = expand_references(action.body, self.project)
        if action.verb != "insert":
            fields[endpoint.name] = key.name
        timeout = (
            SEND_SECONDS
            if until is None
            else max(1.0, min(SEND_SECONDS, self._seconds_left(until)))
        )
        operation = self._call(endpoint, RPCS[action.verb], fields, timeout, body_field)
        if not isinstance(operation.get("name"), str):
            raise Retry(
                BACK_OFF_SECONDS,
                f"the answer to {action.verb} {key.collection}/{key.name} is not an operation",
            )
        return operation

    def wait(self, operation: Body, until: datetime) -> Body | None:
        """The operation once it has finished, successfully or not; None if it is still running at
        `until`. Raises `Retry` if the operation is not found: Compute Engine keeps a finished
        operation for a limited time only.
        """
        region = naming.last(operation.get("region"))
        endpoint = REGION_OPERATIONS if region else GLOBAL_OPERATIONS
        fields = {"operation": operation["name"], **({"region": region} if region else {})}
        polls = iter(POLL_SECONDS)
        while operation.get("status") != "DONE":
            called_at = self._clock.now()
            if self._seconds_left(until) <= 0:
                return None
            try:
                operation = self._call(
                    endpoint,
                    "wait",
                    fields,
                    max(1.0, min(WAIT_SECONDS + 5, self._seconds_left(until))),
                )
                pause = next(polls, POLL_SECONDS[-1])
            except Retry as error:
                pause = error.after_seconds
            except NotFound as error:
                raise Retry(
                    BACK_OFF_SECONDS,
                    f"operation {operation['name']} no longer exists: {error.why}",
                ) from error
            if (
                operation.get("status") != "DONE"
                and (self._clock.now() - called_at).total_seconds() < pause
            ):
                self._clock.sleep(max(0.0, min(pause, self._seconds_left(until))))
        return operation

    def _seconds_left(self, until: datetime) -> float:
        return (until - self._clock.now()).total_seconds()

    # ---- Concurrency

    def _run_all(self, jobs: Jobs[T]) -> Sequence[T]:
        """The results of all jobs, in order. All jobs have finished when this returns or raises."""
        if self.workers == 1 or len(jobs) < 2:
            return [job() for job in jobs]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="compute")
        futures = [self._pool.submit(call_count.in_context(job)) for job in jobs]
        failures = [failure for failure in [future.exception() for future in futures] if failure]
        if failures:
            raise failures[0]
        return [future.result() for future in futures]


def is_partial(page: Body) -> bool:
    """Whether a list, or a scope of one, lacks resources that may exist."""
    code = page.get("warning", {}).get("code", "NO_RESULTS_ON_PAGE")
    return code != "NO_RESULTS_ON_PAGE" or bool(page.get("unreachables"))


def _scope_of(name: str) -> str:
    """`regions/us-central1` of `projects/demo/regions/us-central1`."""
    return "/".join(name.split("/")[-2:])


def _not_listed(what: str, scope: str, page: Body) -> Retry:
    message = page.get("warning", {}).get("message", "it is unreachable")
    return Retry(BACK_OFF_SECONDS, f"{what} of {scope} could not be listed: {message}")


def _leftover_lists(model: str) -> tuple[tuple[Collection, str], ...]:
    return (
        ("instanceTemplates", naming.template_filter(model)),
        ("healthChecks", naming.check_filter(model)),
        ("urlMaps", naming.URL_MAP_FILTER),
    )


def _require_invalid(refused: Refused) -> None:
    """Raises unless the request was refused because what it names cannot exist."""
    if not refused.problem.code.startswith("INVALID"):
        raise refused


def _scope_fields(scope: str) -> dict[str, Any]:
    return {} if scope == naming.GLOBAL else {"region": scope}
