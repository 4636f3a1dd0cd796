"""The call that a handler receives, and the table in which handlers are collected.

    HANDLERS = Handlers()

    @HANDLERS.handles("compute.regionAutoscalers.insert")
    def insert(call: Call) -> JsonObject:
        call.cloud.new("compute#autoscaler", call.key_in_body(), call.body)
        return call.operation(target=call.key_in_body())

A handler runs under the cloud's lock, after every event that is due. Parameters and body already
conform to the discovery document.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from compute_emulator.api import discovery, listing
from compute_emulator.api.discovery import Method
from compute_emulator.control.faults import Fault
from compute_emulator.engine.cloud import Cloud
from compute_emulator.errors import Invalid, JsonObject, Required, Unreachable
from compute_emulator.keys import Key

Handler = Callable[["Call"], JsonObject]
Decorated = TypeVar("Decorated", bound=Handler)
TYPED = ("instanceTemplates", "instanceGroupManagers", "instanceGroups", "autoscalers")
"""Collections whose operations carry the full name, `compute.instanceTemplates.insert`; the
others use the bare verb."""
OPERATION_TYPES = {
    ("instanceTemplates", "delete"): "delete",
    ("instanceGroupManagers", "patch"): "patch",
    ("backendServices", "addSignedUrlKey"): "compute.backendServices.addSignedUrlKey",
    ("forwardingRules", "setTarget"): "SetTarget",
    ("targetHttpProxies", "setUrlMap"): "SetUrlMap",
    ("targetHttpsProxies", "setUrlMap"): "SetUrlMap",
    ("targetHttpsProxies", "setQuicOverride"): "compute.targetHttpsProxies.setQuicOverride",
}
"""The exceptions, by collection and verb."""


class Handlers(dict[str, Handler]):
    """Handlers by method id. Each collection has its own; `api/collections/__init__.py` merges
    them.
    """

    @classmethod
    def merge(cls, *tables: Handlers) -> Handlers:
        merged = cls()
        for table in tables:
            for method_id, handler in table.items():
                merged.add(method_id, handler)
        return merged

    def handles(self, *method_ids: str) -> Callable[[Decorated], Decorated]:
        """Add the decorated function as the handler of these methods."""

        def add(handler: Decorated) -> Decorated:
            for method_id in method_ids:
                self.add(method_id, handler)
            return handler

        return add

    def add(self, method_id: str, handler: Handler) -> None:
        """Raises ValueError if the method already has a handler."""
        if method_id in self:
            raise ValueError(f"{method_id} already has a handler")
        self[method_id] = handler


@dataclass(slots=True)
class Call:
    """One request. `scope` is `global`, `aggregated`, `regions/R` or `zones/Z`; `params` hold
    the parsed path and query.
    """

    cloud: Cloud
    method: Method
    project: str
    scope: str
    params: dict[str, Any]
    body: JsonObject = field(default_factory=dict)
    fault: Fault | None = None

    @property
    def collection(self) -> str:
        """The collection's name in URLs: `instanceGroupManagers`, for regional groups too."""
        return self.method.collection

    @property
    def name(self) -> str:
        """The name of the resource in the path, or empty."""
        parameter = self.method.name_parameter
        return str(self.params[parameter]) if parameter else ""

    @property
    def key(self) -> Key:
        """The key of the resource in the path."""
        return Key(self.scope, self.collection, self.name)

    def key_in_body(self) -> Key:
        """The key of the resource that an insert's body names. Raises `Required`."""
        name = self.body.get("name")
        if not name:
            raise Required("resource.name")
        return Key(self.scope, self.collection, name)

    def resource(self) -> JsonObject:
        """The resource in the path, not a copy. Raises `NotFound`."""
        return self.cloud.get(self.key)

    def resource_to_change(self) -> JsonObject:
        """Like `resource`, but raises `NotReady` while an insert or delete of it runs."""
        resource = self.cloud.get(self.key)
        self.cloud.require_ready(self.key)
        return resource

    def require_known_scope(self) -> None:
        """Raises `Invalid` for an unknown region or zone."""
        place, _, name = self.scope.partition("/")
        regions = self.cloud.regions
        if name and not (
            name in regions
            if place == "regions"
            else any(name in zones for zones in regions.values())
        ):
            word = place.removesuffix("s")
            raise Invalid(word, name, f"Unknown {word}.")
        if place == "zones" and name in self.cloud.zones_unreachable:
            raise Unreachable(self.scope)

    def operation(
        self,
        operation_type: str | None = None,
        target: Key | None = None,
        *,
        seconds: float | None = None,
        effect: Callable[[], object] | None = None,
        at_end: Callable[[], None] | None = None,
        held: bool = False,
    ) -> JsonObject:
        """The operation that a mutation returns.

        The type defaults to the method's (see `TYPED`), the target to the resource in the path,
        `seconds` to how long operations of the method take.
        `effect` runs now, `at_end` when the operation ends (an `ApiError` it raises fails the
        operation). A `held` operation runs until `cloud.operations.finish((target.scope,
        operation["name"]))`.
        """
        if effect is not None:
            effect()
        fault = self.fault
        return self.cloud.operations.start(
            operation_type or self.operation_type(),
            target or self.key,
            method_id=self.method.id,
            request_id=self.params.get("requestId"),
            seconds=(
                fault.seconds
                if fault is not None and fault.kind == "operation_latency"
                else seconds
            ),
            at_end=at_end,
            held=held or (fault is not None and fault.kind == "operation_never_ends"),
        )

    def operation_type(self) -> str:
        collection, verb = self.collection, self.method.verb
        usual = f"compute.{collection}.{verb}" if collection in TYPED else verb
        return OPERATION_TYPES.get((collection, verb), usual)

    def page(
        self, items: list[JsonObject], member: str = "items", view: listing.View | None = None
    ) -> JsonObject:
        """A list response: filtered, sorted and paged as the query asks. `view` converts a
        stored item to its representation.
        """
        response: JsonObject = {
            "kind": discovery.kind_of(self.method.response or ""),
            "id": f"projects/{self.project}/{self.scope}/{self.collection}",
            "selfLink": self.cloud.link(self.scope, self.collection, "").rstrip("/"),
        }
        return response | listing.page(items, self.params, member, view)

    def aggregate(
        self, items_by_scope: dict[str, list[JsonObject]], view: listing.View | None = None
    ) -> JsonObject:
        """An aggregated list response, with Google's warning for scopes that have no items.

        Unreachable zones fail it (503) unless `returnPartialSuccess` is set.
        """
        scopes = self.scopes()
        unreachable = sorted(scopes & {f"zones/{zone}" for zone in self.cloud.zones_unreachable})
        if unreachable and str(self.params.get("returnPartialSuccess", "")).lower() != "true":
            raise Unreachable(unreachable[0])
        response: JsonObject = {
            "kind": discovery.kind_of(self.method.response or ""),
            "id": f"projects/{self.project}/aggregated/{self.collection}",
            "selfLink": self.cloud.link("aggregated", self.collection, "").rstrip("/"),
        }
        if unreachable:
            response["unreachables"] = [f"projects/{self.project}/{scope}" for scope in unreachable]
        scope_names = sorted(scopes)
        return response | listing.aggregate(
            items_by_scope, self.params, self.collection, scope_names, view, unreachable
        )

    def scopes(self) -> set[str]:
        """The scopes in which the collection exists: all scopes of its kinds, or of every kind
        with `includeAllScopes`.
        """
        kinds = discovery.places_of(self.collection)
        if self.params.get("includeAllScopes"):
            kinds = frozenset(("global", "regions", "zones"))
        found = {"global"} if "global" in kinds else set()
        if "regions" in kinds:
            found |= {f"regions/{region}" for region in self.cloud.regions}
        if "zones" in kinds:
            found |= {f"zones/{zone}" for zones in self.cloud.regions.values() for zone in zones}
        return found
