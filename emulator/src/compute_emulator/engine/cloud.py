"""The project: its resources, its time, its chance, and the knobs that a test or a person may turn.

Handlers (`collections/`) and the life of instances work on one `Cloud` under its lock. Nothing in
here knows HTTP."""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from compute_emulator import keys
from compute_emulator.control.faults import Faults
from compute_emulator.engine import regions as region_names
from compute_emulator.engine.call_log import CallLog
from compute_emulator.engine.clock import Clock
from compute_emulator.engine.observable_dict import ObservableDict
from compute_emulator.engine.operations import Operations
from compute_emulator.engine.timeline import Timeline
from compute_emulator.errors import AlreadyExists, Invalid, JsonObject, NotFound, NotReady
from compute_emulator.keys import Key

References = Callable[[JsonObject], Iterable[str]]
REFERENCES: dict[str, References] = {}
"""For each collection, the URLs of other resources that one of its resources holds on to.
`Cloud.users_of` reads it."""

GroupHealth = Callable[["Cloud", JsonObject, Key], list[JsonObject]]
GROUP_HEALTH: dict[str, GroupHealth] = {}
"""For each collection of groups: given a backend service and a group, the `healthStatus` entries of
its instances."""

Snapshot = Callable[["Cloud"], list[JsonObject]]
SNAPSHOTS: list[Snapshot] = []
"""Who knows instances: each gives a record an instance (`name`, `group`, `zone`, `template`,
`version`, `status`, …). """

BEHAVIOUR_CHECKS: list[Callable[[list[JsonObject]], None]] = []
"""Who understands behaviours: each raises ValueError for what it cannot use."""


class Cloud(Timeline):
    """A project with regions, resources and operations. Deterministic for a given seed, clock and
    order of requests.

    `operation_seconds` is how long operations take (0: an operation is DONE in the very answer),
    `operation_seconds_by_method` overrides it by glob of the method id. `attached` says of each
    group since when it is a backend of which service. With `waits_pass_time` a `wait` on an
    operation moves a virtual clock to its end."""

    def __init__(
        self,
        project: str = "demo",
        clock: Clock | Callable[[], float] = time.time,
        seed: int = 0,
        operation_seconds: float = 0.0,
        *,
        operation_seconds_by_method: Mapping[str, float] | None = None,
        waits_pass_time: bool = False,
        check_responses: bool = False,
        regions: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        super().__init__(clock)
        self.project = project
        self.random = random.Random(seed)
        self.regions = dict(region_names.REGIONS if regions is None else regions)
        self.waits_pass_time = waits_pass_time
        self.check_responses = check_responses
        self.tables: dict[tuple[str, str], dict[str, JsonObject]] = {}
        self.operations = Operations(self, operation_seconds, operation_seconds_by_method or {})
        self.faults = Faults(random.Random(seed + 1))
        self.calls = CallLog()
        self.behaviours: list[JsonObject] = []
        self.load: ObservableDict[JsonObject] = ObservableDict()
        self.stock_outs: ObservableDict[JsonObject] = ObservableDict()
        self.quotas: ObservableDict[float] = ObservableDict()
        self.traffic: list[
            JsonObject
        ] = []  # how instances answer, over what their behaviours say: `traffic/profile.py`
        self.measured: dict[
            str, JsonObject
        ] = {}  # load by `region/group` that a data plane saw; what `load` says goes before it
        self.data_plane: Any = None  # the running `traffic.plane.DataPlane`
        self.scheduled: list[JsonObject] = []  # what controls will do at a later time: `later.py`
        self.private_keys: dict[
            Key, str
        ] = {}  # of SSL certificates, which never give them back; the data plane serves with them
        self.zones_down: set[str] = set()
        self.zones_unreachable: set[str] = set()  # their VMs run, but calls about them fail
        self.history: dict[
            Key, Any
        ] = {}  # what resources looked like before each write, for stale reads: `stale.py`
        self.controllers: dict[
            Key, Any
        ] = {}  # what gives a group or an autoscaler its life: `groups.Group`, `autoscaling.Autoscaler`
        self.attached: dict[Key, dict[Key, float]] = {}
        self._ids = random.Random(seed + 2)
        self._number = 0

    # --- resources -------------------------------------------------------------------------------------------------------

    def find(self, key: Key) -> JsonObject | None:
        return self.tables.get((key.scope, key.collection), {}).get(key.name)

    def get(self, key: Key) -> JsonObject:
        """The resource itself, not a copy. Raises `NotFound`."""
        found = self.find(key)
        if found is None:
            raise NotFound(self.path(key))
        return found

    def put(self, key: Key, resource: JsonObject) -> JsonObject:
        self.tables.setdefault((key.scope, key.collection), {})[key.name] = resource
        return resource

    def remove(self, key: Key) -> JsonObject | None:
        return self.tables.get((key.scope, key.collection), {}).pop(key.name, None)

    def all_in(self, scope: str, collection: str) -> list[JsonObject]:
        """The resources of a scope by name."""
        table = self.tables.get((scope, collection), {})
        return [table[name] for name in sorted(table)]

    def scopes_with(self, collection: str) -> list[str]:
        return sorted(
            scope for (scope, kept), table in self.tables.items() if kept == collection and table
        )

    def new(self, kind: str, key: Key, body: JsonObject) -> JsonObject:
        """Put a resource with what the server adds: kind, id, creationTimestamp, selfLink, region
        or zone. Raises `AlreadyExists`."""
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
        """A fresh numeric id, a string as all 64-bit numbers in the API."""
        self._number += 1
        return str(
            4_000_000_000_000_000_000 + self._number * 1_000_003 + self._ids.randrange(1_000_000)
        )

    def new_fingerprint(self) -> str:
        return base64.urlsafe_b64encode(self._ids.randbytes(8)).decode()

    # --- names -----------------------------------------------------------------------------------------------------------

    def link(self, scope: str, collection: str, name: str) -> str:
        """The full self link."""
        return keys.link(self.project, Key(scope, collection, name))

    def path(self, key: Key) -> str:
        """The name used in messages, from `projects/` on."""
        return keys.path(self.project, key)

    def key_of(self, url: str) -> Key:
        """The key for any spelling of a resource's URL. Raises `Invalid` when it names none."""
        key = keys.parse(url)
        if key is None:
            raise Invalid("url", url, "The URL is malformed.")
        return key

    def zones_of(self, region: str) -> tuple[str, ...]:
        """Zone names of a region, such as `us-central1-a`. Raises `NotFound`."""
        if region not in self.regions:
            raise NotFound(f"projects/{self.project}/regions/{region}")
        return self.regions[region]

    # --- knobs and looks -------------------------------------------------------------------------------------------------

    def set_behaviours(self, behaviours: Iterable[JsonObject]) -> None:
        """Replace how instances behave, the first match wins. Raises ValueError for what cannot be
        understood."""
        given = list(behaviours)
        for check in BEHAVIOUR_CHECKS:
            check(given)
        self.behaviours = [dict(each) for each in given]

    def snapshot(self) -> list[JsonObject]:
        """Every instance there is now, as plain records."""
        with self.lock:
            self.advance()
            return [each for snapshot in SNAPSHOTS for each in snapshot(self)]

    # --- who holds on to whom --------------------------------------------------------------------------------------------

    def refer(self, field: str, url: Any, *collections: str) -> Key:
        """The key of a resource that another one wants to use.

        Raises `Invalid` for a malformed URL or another collection than `collections`, `NotFound`
        when it does not exist, and `NotReady` while the operation that makes or removes it still
        runs."""
        key = keys.parse(url) if isinstance(url, str) else None
        if key is None:
            raise Invalid(field, url, "The URL is malformed.")
        if collections and key.collection not in collections:
            raise Invalid(field, url, f"Unexpected resource collection '{key.collection}'.")
        if keys.project_of(url) not in (None, self.project) or self.find(key) is None:
            raise NotFound(keys.path(keys.project_of(url) or self.project, key))
        self.ready(key)
        return key

    def ready(self, key: Key) -> None:
        """Raises `NotReady` while an insert or delete of the resource is under way."""
        if key in self.operations.busy_targets:
            raise NotReady(self.path(key))

    def users_of(self, key: Key) -> list[Key]:
        """The resources that hold on to one, by the `REFERENCES` of their collections."""
        users = []
        for (scope, collection), table in self.tables.items():
            references = REFERENCES.get(collection)
            if references is None:
                continue
            for name, resource in table.items():
                if any(keys.parse(url) == key for url in references(resource)):
                    users.append(Key(scope, collection, name))
        return users
