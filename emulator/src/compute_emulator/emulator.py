"""The public interface: one object that starts the emulator, changes its conditions and shows its
state.

    emulator = Emulator(clock=VirtualClock())
    session.mount("https://", emulator.adapter())     # in process
    with emulator.serve(9100) as server: ...          # or over HTTP

Programs use this and the other names that the package exports. The modules below it may change.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, cast

import requests
from requests.adapters import BaseAdapter

from compute_emulator.api import wire
from compute_emulator.api.in_process import InProcessAdapter
from compute_emulator.api.request import Request
from compute_emulator.api.server import Server
from compute_emulator.api.wire import Response
from compute_emulator.control import dispatch, instances, outages, scheduled
from compute_emulator.control.faults import Faults
from compute_emulator.engine.call_log import CallLog
from compute_emulator.engine.clock import Clock, RealClock, VirtualClock
from compute_emulator.engine.cloud import CERTIFICATE_SECONDS, Cloud
from compute_emulator.engine.groups import group_at
from compute_emulator.errors import ConnectionDropped, JsonObject
from compute_emulator.inspection import GroupView, InstanceRecord
from compute_emulator.keys import GLOBAL, Key

if TYPE_CHECKING:
    from compute_emulator.traffic.data_plane import DataPlane

Send = Callable[[], requests.Response]
Around = Callable[[requests.PreparedRequest, Send], requests.Response]
"""Called instead of sending a request; it may call `Send`, raise, or return another response."""
ZoneState = Literal["UP", "DOWN", "UNREACHABLE"]
Effect = Literal["stop", "preempt", "kill", "revive", "unready", "ready"]


class RequestRefused(Exception):
    """`Emulator.call` got a response other than 200."""

    def __init__(self, http: str, path: str, response: Response) -> None:
        super().__init__(f"{http} {path}: {response.status} {response.body.decode()}")
        self.response = response


class Emulator:
    """An emulated project. Deterministic for a given seed, clock and order of requests.

    `operation_seconds` is how long operations take (0: the response is already DONE);
    `operation_seconds_by_method` overrides it by a glob on the method id. With
    `wait_advances_clock`, a `wait` on an operation moves a virtual clock to the operation's end.
    `propagation_seconds` is how long the data plane takes to follow a change, `certificate_seconds`
    how long a managed certificate is PROVISIONING.
    With `check_responses`, a response that violates its schema becomes a 500. `regions` maps
    regions to their zones; the default is `REGIONS`.
    """

    def __init__(
        self,
        project: str = "demo",
        clock: Clock | Callable[[], float] | None = None,
        seed: int = 0,
        operation_seconds: float = 0.0,
        *,
        operation_seconds_by_method: Mapping[str, float] | None = None,
        propagation_seconds: float = 0.0,
        certificate_seconds: float = CERTIFICATE_SECONDS,
        wait_advances_clock: bool = False,
        check_responses: bool = False,
        regions: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self._cloud = Cloud(
            project,
            RealClock() if clock is None else clock,
            seed,
            operation_seconds,
            operation_seconds_by_method=operation_seconds_by_method,
            propagation_seconds=propagation_seconds,
            certificate_seconds=certificate_seconds,
            wait_advances_clock=wait_advances_clock,
            check_responses=check_responses,
            regions=regions,
        )

    @property
    def project(self) -> str:
        return self._cloud.project

    # Clients

    def adapter(self, around: Around | None = None) -> BaseAdapter:
        """A transport adapter that answers in process, for any number of sessions and threads.

        `around` intercepts every request: `lambda request, send: send()` changes nothing. If it
        raises `ConnectionDropped`, the client sees a broken connection.
        """
        return (
            InProcessAdapter(self._cloud) if around is None else _AroundAdapter(self._cloud, around)
        )

    def serve(self, port: int = 0, host: str = "127.0.0.1") -> Server:
        """Serve over HTTP from now on; port 0 means a free port. `Server.stop` ends it, as does the
        end of a `with` block.
        """
        return Server(self._cloud, port, host).start()

    def data_plane(self, host: str = "127.0.0.1") -> DataPlane:
        """The traffic of the forwarding rules: served in a `with` block, or from `start` to
        `stop`.
        """
        from compute_emulator.traffic.data_plane import DataPlane

        return DataPlane(self._cloud, host)

    def handle(self, request: Request) -> Response:
        """Answer one request below `/compute/v1/`. Raises `ConnectionDropped` if a fault ends the
        connection.
        """
        return wire.handle(self._cloud, request)

    def call(self, http: str, path: str, body: JsonObject | None = None) -> JsonObject:
        """Call the API and return the response. `path` follows `projects/P/`, for example
        `global/urlMaps`. Raises `RequestRefused`.
        """
        target = f"/compute/v1/projects/{self.project}/{path}"
        data = b"" if body is None else json.dumps(body).encode()
        response = self.handle(Request(http, target, data))
        if response.status != 200:
            raise RequestRefused(http, path, response)
        answer: JsonObject = json.loads(response.body)
        return answer

    def control(self, http: str, path: str, body: Any = None) -> Any:
        """Call a control as over HTTP: `path` follows `/control`. Raises `RequestRefused`."""
        data = b"" if body is None else json.dumps(body).encode()
        response = dispatch.handle(self._cloud, Request(http, f"/control{path}", data))
        if response.status != 200:
            raise RequestRefused(http, f"/control{path}", response)
        return json.loads(response.body)

    # Time

    @property
    def clock(self) -> Clock:
        return self._cloud.clock

    def now(self) -> float:
        """Epoch seconds."""
        return self._cloud.now()

    def advance(self, seconds: float = 0.0) -> None:
        """Advance a `VirtualClock`, and run every event that is due."""
        if seconds:
            if not isinstance(self._cloud.clock, VirtualClock):
                raise TypeError("only a VirtualClock can be advanced")
            self._cloud.clock.advance(seconds)
        self._cloud.advance()

    def next_event_at(self) -> float | None:
        """When something happens next without a request, in epoch seconds; None: never."""
        return self._cloud.next_event_at()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Run every event that is due, then answer no request and run no event until the end of
        the `with` block.
        """
        with self._cloud.lock:
            self._cloud.advance()
            yield

    # Operations

    @property
    def operation_seconds(self) -> float:
        """How long operations take that start from now on."""
        return self._cloud.operations.seconds

    @operation_seconds.setter
    def operation_seconds(self, seconds: float) -> None:
        self._cloud.operations.seconds = seconds

    @property
    def propagation_seconds(self) -> float:
        return self._cloud.propagation.seconds

    @propagation_seconds.setter
    def propagation_seconds(self, seconds: float) -> None:
        self._cloud.propagation.seconds = seconds

    @property
    def certificate_seconds(self) -> float:
        return self._cloud.certificate_seconds

    @certificate_seconds.setter
    def certificate_seconds(self, seconds: float) -> None:
        self._cloud.certificate_seconds = seconds

    @property
    def operation_seconds_by_method(self) -> MutableMapping[str, float]:
        """Globs on the method id; the first match overrides `operation_seconds`."""
        return self._cloud.operations.seconds_by_method

    def operations(self) -> list[JsonObject]:
        """The operations, oldest first; finished ones are kept for 14 days."""
        return list(self._cloud.operations.table.values())

    def operation(self, name: str) -> JsonObject | None:
        """The operation of that name in any scope."""
        table = self._cloud.operations.table
        return next((table[where] for where in reversed(table) if where[1] == name), None)

    def finish_operations(self) -> None:
        """End every operation that runs, including those that a fault keeps running."""
        with self._cloud.lock:
            for where, operation in list(self._cloud.operations.table.items()):
                if operation["status"] != "DONE":
                    self._cloud.operations.finish(where)

    # Conditions: how instances behave, what is available, what fails

    @property
    def behaviours(self) -> list[JsonObject]:
        """A copy of the behaviours of instances that are created from now on."""
        return [dict(each) for each in self._cloud.behaviours]

    def set_behaviours(self, behaviours: Iterable[JsonObject]) -> None:
        """Replace the behaviours; the first match applies. Raises ValueError."""
        self._cloud.set_behaviours(behaviours)

    def set_traffic(self, entries: Iterable[JsonObject]) -> None:
        """Replace how instances answer requests on the data plane; the first match applies. Takes
        precedence over behaviours. Raises `RequestRefused`.
        """
        self.control("PUT", "/traffic", list(entries))

    @property
    def load(self) -> MutableMapping[str, JsonObject]:
        """By `group` or `region/group`: `emulator.load["g"] = {"cpu": 0.9}`. Assign whole
        entries.
        """
        return self._cloud.load

    @property
    def stock_outs(self) -> MutableMapping[str, JsonObject]:
        """By zone or region, or `*`: `emulator.stock_outs["us-central1-a"] = {}`."""
        return self._cloud.stock_outs

    @property
    def quotas(self) -> MutableMapping[str, float]:
        """Limits by metric or `region/metric`: `emulator.quotas["CPUS"] = 24`."""
        return self._cloud.quotas

    @property
    def catalogue(self) -> MutableMapping[str, list[str]]:
        """What the project has besides the default network, by collection (images, networks,
        subnetworks): `emulator.catalogue["images"] = ["global/images/family/mine"]`.
        """
        return self._cloud.catalogue

    @property
    def service_accounts(self) -> MutableMapping[str, str]:
        """Accounts that VMs cannot use, by glob: `"denied"` or `"missing"`."""
        return self._cloud.service_accounts

    def set_zone_state(self, zone: str, state: ZoneState) -> None:
        """Take a zone down, with every VM in it, make it unreachable, or bring it up. Raises
        ValueError for an unknown zone.
        """
        outages.set_states(self._cloud, {zone: state})

    @property
    def faults(self) -> Faults:
        """Faults of calls: `emulator.faults.add("error", "compute.urlMaps.*", status=503)`."""
        return self._cloud.faults

    def affect_instances(
        self,
        effect: Effect,
        *,
        name: str = "*",
        group: str = "*",
        zone: str = "*",
        template: str = "*",
        most: int | None = None,
    ) -> list[str]:
        """Apply an effect to at most `most` running instances that match all globs, in the order of
        their names. Returns their names.
        """
        return instances.apply_effect(
            self._cloud, effect, name=name, group=group, zone=zone, template=template, most=most
        )

    def schedule(self, control: JsonObject) -> JsonObject:
        """Run a control later: `{"after_seconds": 600, "delete": "/faults"}`. Returns its record.
        Raises ValueError.
        """
        return scheduled.schedule(self._cloud, control)

    # State

    @property
    def calls(self) -> CallLog:
        """The calls so far: `counts` by method id, `mutations`, and the `log` of the last ones."""
        return self._cloud.calls

    def resources(self, collection: str | None = None) -> Iterator[tuple[Key, JsonObject]]:
        """The resources of a collection in all scopes, or all resources. The bodies are the stored
        ones: changing one changes the project, without any checks.
        """
        for (scope, kept), table in list(self._cloud.tables.items()):
            if collection in (None, kept):
                for name, body in list(table.items()):
                    yield Key(scope, kept, name), body

    def find(self, collection: str, name: str, scope: str | None = None) -> JsonObject | None:
        """A stored resource, not a copy. `scope` is `global`, `regions/R` or `zones/Z`; without it,
        the first of that name in any scope.
        """
        if scope is not None:
            return self._cloud.find(Key(scope, collection, name))
        tables = self._cloud.tables.items()
        return next(
            (table[name] for (_, kept), table in tables if kept == collection and name in table),
            None,
        )

    def put(self, collection: str, body: JsonObject, scope: str = GLOBAL) -> None:
        """Store a resource under its `name`, without any checks and without an operation: to cause
        drift. Groups and autoscalers stored this way do not act.
        """
        with self._cloud.lock:
            self._cloud.put(Key(scope, collection, body["name"]), body)

    def remove(self, collection: str, name: str, scope: str = GLOBAL) -> None:
        """Remove a resource, without any checks and without an operation: to cause drift."""
        with self._cloud.lock:
            self._cloud.remove(Key(scope, collection, name))

    def instances(self, group: str | None = None) -> list[InstanceRecord]:
        """A record of every managed instance, or of those of one group, including instances that
        are being created or deleted.
        """
        records = cast(list[InstanceRecord], self._cloud.snapshot())
        return [each for each in records if group is None or each["group"] == group]

    def group(self, name: str, region: str) -> GroupView | None:
        """A view of a managed instance group and its instances, which costs less than
        `instances`.
        """
        found = group_at(self._cloud, Key(f"regions/{region}", "instanceGroupManagers", name))
        return None if found is None else GroupView(self._cloud, found)


class _AroundAdapter(InProcessAdapter):
    def __init__(self, cloud: Cloud, around: Around) -> None:
        super().__init__(cloud)
        self._around = around

    def send(
        self, request: requests.PreparedRequest, *args: Any, **options: Any
    ) -> requests.Response:
        send = super().send
        try:
            return self._around(request, lambda: send(request, *args, **options))
        except ConnectionDropped as error:
            raise requests.ConnectionError(
                f"connection ended without a response ({error})", request=request
            ) from error
