"""The emulated project: its resources, its time, its random numbers, and the settings that tests
and people may change.

The API's handlers (`api/collections/`) and the controllers of groups and autoscalers work on one
`Cloud`, under its lock. Nothing here knows HTTP.
"""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from compute_emulator import keys
from compute_emulator.control import behaviours as behaviour_entries
from compute_emulator.control.faults import Faults
from compute_emulator.engine import regions as region_names
from compute_emulator.engine.call_log import CallLog
from compute_emulator.engine.clock import Clock
from compute_emulator.engine.observable_dict import ObservableDict
from compute_emulator.engine.operations import Operations
from compute_emulator.engine.propagation import SERVED, Propagation
from compute_emulator.engine.references import REFERENCES, services_of_url_map
from compute_emulator.engine.timeline import Timeline
from compute_emulator.errors import AlreadyExists, Invalid, JsonObject, NotFound, NotReady
from compute_emulator.keys import Key

if TYPE_CHECKING:
    from compute_emulator.engine.autoscaling import Autoscaler
    from compute_emulator.engine.capacity import Failure
    from compute_emulator.engine.groups import Group
    from compute_emulator.traffic.data_plane import DataPlane

CERTIFICATE_SECONDS = 60.0
"""How long a managed certificate is PROVISIONING by default. At Google it takes up to an hour."""
Version = tuple[float, bytes | None]
"""When a write replaced a version of a resource, and that version as JSON; None if there was
none."""


class Cloud(Timeline):
    """A project with regions, resources and operations. Deterministic for a given seed, clock
    and order of requests.

    `operation_seconds` is how long operations take (0: the response is already DONE);
    `operation_seconds_by_method` overrides it by a glob on the method id. With
    `wait_advances_clock`, a `wait` on an operation moves a virtual clock to the operation's end.
    `propagation_seconds` is how long the data plane takes to follow a change
    (`engine/propagation.py`), `certificate_seconds` how long a managed certificate is PROVISIONING.
    With `check_responses`, a response that violates its schema becomes a 500 (for tests).
    """

    def __init__(
        self,
        project: str = "demo",
        clock: Clock | Callable[[], float] = time.time,
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
        super().__init__(clock)
        self.project = project
        self.random = random.Random(seed)
        self.regions = dict(region_names.REGIONS if regions is None else regions)
        self.wait_advances_clock = wait_advances_clock
        self.check_responses = check_responses
        self.certificate_seconds = certificate_seconds
        self.propagation = Propagation(propagation_seconds)
        self.tables: dict[tuple[str, str], dict[str, JsonObject]] = {}
        self.operations = Operations(self, operation_seconds, operation_seconds_by_method or {})
        self.calls = CallLog()
        self.groups: dict[Key, Group] = {}
        """The controllers of the managed instance groups."""
        self.autoscalers: dict[Key, Autoscaler] = {}
        """The controllers of the autoscalers."""
        self.attached: dict[Key, dict[Key, float]] = {}
        """For each instance group, the backend services that use it, and since when."""
        self.private_keys: dict[Key, str] = {}
        """Of SSL certificates. The API never returns them; the data plane serves with them."""
        self.history: dict[Key, list[Version]] = {}
        """Older versions of resources, for stale reads (`api/stale_reads.py`)."""
        # Settings that tests and people change.
        self.faults = Faults(random.Random(seed + 1))
        self.behaviours: list[JsonObject] = []
        self.load: ObservableDict[JsonObject] = ObservableDict()
        self.stock_outs: ObservableDict[JsonObject] = ObservableDict()
        self.quotas: ObservableDict[float] = ObservableDict()
        self.catalogue: ObservableDict[list[str]] = ObservableDict()
        """Images, networks and subnetworks of the project, besides the default network."""
        self.service_accounts: ObservableDict[str] = ObservableDict()
        """Globs of service accounts that are `denied` or `missing`."""
        self.zones_down: set[str] = set()
        self.zones_unreachable: set[str] = set()
        """Zones whose VMs run while calls about them fail."""
        self.scheduled: list[JsonObject] = []
        """Control calls that are scheduled for later (`control/scheduled.py`)."""
        self.traffic: list[JsonObject] = []
        """How instances answer requests; overrides their behaviours
        (`traffic/response_profile.py`)."""
        self.data_plane: DataPlane | None = None
        self.measured: dict[str, JsonObject] = {}
        """Load by `region/group` that the data plane measured; `load` takes precedence."""
        self.creation_failures: dict[tuple[str, str, str], Failure | None] = {}
        self.zones_without_hardware: dict[tuple[str, str, tuple[str, ...]], frozenset[str]] = {}
        """What `engine/creation_checks.py` has computed so far."""
        for setting in (self.catalogue, self.service_accounts):
            setting.listeners.append(self.creation_failures.clear)
        self._url_maps_by_service: dict[str, list[str]] | None = None
        """Computed when it is needed, until a URL map changes."""
        self._ids = random.Random(seed + 2)
        self._number = 0

    # Resources

    def find(self, key: Key) -> JsonObject | None:
        return self.tables.get((key.scope, key.collection), {}).get(key.name)

    def get(self, key: Key) -> JsonObject:
        """The resource itself, not a copy. Raises `NotFound`."""
        found = self.find(key)
        if found is None:
            raise NotFound(self.path(key))
        return found

    def put(self, key: Key, resource: JsonObject) -> JsonObject:
        self._before_change(key, resource)
        self.tables.setdefault((key.scope, key.collection), {})[key.name] = resource
        return resource

    def remove(self, key: Key) -> JsonObject | None:
        self._before_change(key, None)
        return self.tables.get((key.scope, key.collection), {}).pop(key.name, None)

    def _before_change(self, key: Key, resource: JsonObject | None) -> None:
        if key.collection in SERVED:
            self.propagation.record(key, self.find(key), resource, self.now())
        if key.collection == "urlMaps":
            self._url_maps_by_service = None

    def list_in(self, scope: str, collection: str) -> list[JsonObject]:
        """The resources of a collection in a scope, sorted by name."""
        table = self.tables.get((scope, collection), {})
        return [table[name] for name in sorted(table)]

    def scopes_with(self, collection: str) -> list[str]:
        return sorted(
            scope for (scope, kept), table in self.tables.items() if kept == collection and table
        )

    def new(self, kind: str, key: Key, body: JsonObject) -> JsonObject:
        """Store a new resource with the members that the server sets: kind, id, creationTimestamp,
        selfLink, region or zone. Raises `AlreadyExists`.
        """
        if self.find(key) is not None:
            raise AlreadyExists(self.path(key))
        resource: JsonObject = {
            "kind": kind,
            "id": self.new_id(),
            "creationTimestamp": self.timestamp(),
            "name": key.name,
            **body,
        }
        resource["selfLink"] = self.link(*key)
        place, _, name = key.scope.partition("/")
        if name:
            resource[place.removesuffix("s")] = keys.HOST + f"projects/{self.project}/{key.scope}"
        return self.put(key, resource)

    def new_id(self) -> str:
        """A new numeric id, as a string like all 64-bit numbers in the API."""
        self._number += 1
        return str(
            4_000_000_000_000_000_000 + self._number * 1_000_003 + self._ids.randrange(1_000_000)
        )

    def new_fingerprint(self) -> str:
        return base64.urlsafe_b64encode(self._ids.randbytes(8)).decode()

    # Names

    def link(self, scope: str, collection: str, name: str) -> str:
        """The full self link."""
        return keys.link(self.project, Key(scope, collection, name))

    def full_links(self, resource: JsonObject, *members: str) -> None:
        """Replace URLs in a resource by the full form that responses have, however they were
        sent.
        """
        for member in members:
            key = keys.parse(resource.get(member) or "")
            if key is not None:
                resource[member] = keys.link(keys.project_of(resource[member]) or self.project, key)

    def path(self, key: Key) -> str:
        """The name used in messages; it starts with `projects/`."""
        return keys.path(self.project, key)

    def key_of(self, url: str) -> Key:
        """The key for any form of a resource's URL. Raises `Invalid` if it names no resource."""
        key = keys.parse(url)
        if key is None:
            raise Invalid("url", url, "The URL is malformed.")
        return key

    def zones_of(self, region: str) -> tuple[str, ...]:
        """Zone names of a region, such as `us-central1-a`. Raises `NotFound`."""
        if region not in self.regions:
            raise NotFound(f"projects/{self.project}/regions/{region}")
        return self.regions[region]

    # Settings and snapshots

    def set_behaviours(self, behaviours: Iterable[JsonObject]) -> None:
        """Replace the behaviours of instances; the first match wins. Raises ValueError for an
        invalid entry.
        """
        given = list(behaviours)
        behaviour_entries.check(given)
        self.behaviours = [dict(each) for each in given]

    def snapshot(self) -> list[JsonObject]:
        """Every current instance as a plain record."""
        from compute_emulator.engine import snapshot  # it imports the groups, which import this

        with self.lock:
            self.advance()
            return snapshot.instance_records(self)

    # References between resources

    def resolve(self, field: str, url: Any, *collections: str) -> Key:
        """The key of a resource that another resource refers to.

        Raises `Invalid` for a malformed URL or a collection other than `collections`, `NotFound` if
        it does not exist, and `NotReady` while an operation that creates or deletes it runs.
        """
        key = keys.parse(url) if isinstance(url, str) else None
        if key is None:
            raise Invalid(field, url, "The URL is malformed.")
        if collections and key.collection not in collections:
            raise Invalid(field, url, f"Unexpected resource collection '{key.collection}'.")
        if keys.project_of(url) not in (None, self.project) or self.find(key) is None:
            raise NotFound(keys.path(keys.project_of(url) or self.project, key))
        self.require_ready(key)
        return key

    def require_ready(self, key: Key) -> None:
        """Raises `NotReady` while an insert or delete of the resource runs."""
        if key in self.operations.busy_targets:
            raise NotReady(self.path(key))

    def url_maps_by_service(self) -> Mapping[str, list[str]]:
        """The URLs of the URL maps that use each backend service, by its URL."""
        if self._url_maps_by_service is None:
            self._url_maps_by_service = {}
            for scope in self.scopes_with("urlMaps"):
                for url_map in self.list_in(scope, "urlMaps"):
                    for service in sorted(set(services_of_url_map(url_map))):
                        users = self._url_maps_by_service.setdefault(service, [])
                        users.append(url_map["selfLink"])
        return self._url_maps_by_service

    def users_of(self, key: Key) -> list[Key]:
        """The resources that refer to this one (`engine/references.py`)."""
        users = []
        for (scope, collection), table in self.tables.items():
            references = REFERENCES.get(collection)
            if references is None:
                continue
            for name, resource in table.items():
                if any(keys.parse(url) == key for url in references(resource)):
                    users.append(Key(scope, collection, name))
        return users
