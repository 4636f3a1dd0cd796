"""The standard methods of most collections: insert, get, list, delete, patch, update,
aggregatedList.

A collection declares a `Kind` and calls `add_standard_handlers`. Its own defaults and rules are
in the kind's `complete`, which receives the whole resource as it would be stored, on every
write, and raises `ApiError` to refuse it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from compute_emulator.api import discovery
from compute_emulator.api.call import Call, Handlers
from compute_emulator.engine.cloud import Cloud
from compute_emulator.errors import AlreadyExists, InUse, JsonObject, Required, StaleFingerprint
from compute_emulator.keys import PROJECT_NUMBER, Key

NUMBERED = {("healthChecks", "backendServices"): "backend_service"}
"""Resources and users that the message about a use names in an internal form, with the user's kind.
"""
SERVER_SET = ("kind", "id", "creationTimestamp", "selfLink", "name", "region", "zone")


def no_op(call: Call, resource: JsonObject) -> None:
    """For kinds without rules of their own."""


def as_stored(cloud: Cloud, resource: JsonObject) -> JsonObject:
    """For kinds that are returned as they are stored."""
    return resource


def ignore(cloud: Cloud, resource: JsonObject) -> None:
    """For kinds whose changes need no action."""


@dataclass(frozen=True, slots=True)
class Kind:
    """`discovery` are the discovery document's names for it (global and regional), `word` is the
    kind's name in messages.

    `view` converts the stored resource to its representation; `check_delete` may refuse a
    delete; `on_write` and `on_delete` run after each change. `fingerprint`: `none`; `if_given`
    (must match if sent); `required` (an update without it is refused).
    """

    collection: str
    word: str
    schema: str
    discovery: tuple[str, ...]
    complete: Callable[[Call, JsonObject], None] = no_op
    fingerprint: Literal["none", "if_given", "required"] = "none"
    patch_fingerprint: Literal["none", "if_given", "required"] | None = None
    view: Callable[[Cloud, JsonObject], JsonObject] = as_stored
    check_delete: Callable[[Call, JsonObject], None] = no_op
    on_delete: Callable[[Cloud, JsonObject], None] = ignore
    on_write: Callable[[Cloud, JsonObject], None] = ignore
    has_labels: bool = False

    def url_kind(self) -> str:
        return discovery.kind_of(self.schema)


def add_standard_handlers(handlers: Handlers, kind: Kind) -> None:
    """Add a handler for each standard verb that the API has for a kind in each of its scopes."""
    verbs: dict[str, Callable[[Call], JsonObject]] = {
        "insert": lambda call: insert(kind, call),
        "get": lambda call: kind.view(call.cloud, call.resource()),
        "list": lambda call: list_(kind, call),
        "delete": lambda call: delete(kind, call),
        "patch": lambda call: patch(kind, call),
        "update": lambda call: update(kind, call),
        "aggregatedList": lambda call: aggregated_list(kind, call),
    }
    known = discovery.methods()
    for resource in kind.discovery:
        for verb, handler in verbs.items():
            if f"compute.{resource}.{verb}" in known:
                handlers.add(f"compute.{resource}.{verb}", handler)
        if kind.has_labels:
            handlers.add(f"compute.{resource}.setLabels", set_labels)


def insert(kind: Kind, call: Call) -> JsonObject:
    key = call.key_in_body()
    if call.cloud.find(key) is not None:
        raise AlreadyExists(call.cloud.path(key))
    resource = dict(call.body)
    if kind.has_labels:
        resource.pop("labels", None)  # ignored: only setLabels sets them
    kind.complete(call, resource)
    if kind.fingerprint != "none":
        resource["fingerprint"] = call.cloud.new_fingerprint()
    if kind.has_labels:
        resource["labelFingerprint"] = call.cloud.new_fingerprint()
    kind.on_write(call.cloud, call.cloud.new(kind.url_kind(), key, resource))
    return call.operation(target=key)


def delete(kind: Kind, call: Call) -> JsonObject:
    """Refused while something refers to the resource, which exists until the operation ends."""
    resource = call.resource_to_change()
    key = call.key
    refuse_in_use(call.cloud, key, kind.word)
    kind.check_delete(call, resource)

    def remove() -> None:
        call.cloud.remove(key)
        kind.on_delete(call.cloud, resource)

    return call.operation(at_end=remove)


def refuse_in_use(cloud: Cloud, key: Key, word: str) -> None:
    """Raises `InUse` naming the first user."""
    users = cloud.users_of(key)
    if not users:
        return
    user = users[0]
    if (key.collection, user.collection) in NUMBERED:
        raise InUse(
            word, _numbered(key, word), _numbered(user, NUMBERED[key.collection, user.collection])
        )
    raise InUse(word, cloud.path(key), cloud.path(user))


def _numbered(key: Key, word: str) -> str:
    """`GLOBAL:global/PROJECT:1/HEALTH_CHECK:ready` or `REGION:us-central1/...`."""
    place, _, name = key.scope.partition("/")
    scope = f"{place.removesuffix('s').upper()}:{name or place}"
    return f"{scope}/PROJECT:{PROJECT_NUMBER}/{word.upper()}:{key.name}"


def patch(kind: Kind, call: Call) -> JsonObject:
    """JSON merge patch: members are merged, `null` clears, lists are replaced."""
    resource = call.resource_to_change()
    check_fingerprint(kind.patch_fingerprint or kind.fingerprint, call, resource)
    changed: JsonObject = merge(copy.deepcopy(resource), call.body)
    return _write(kind, call, resource, changed)


def update(kind: Kind, call: Call) -> JsonObject:
    """PUT: members that the body leaves out are removed."""
    resource = call.resource_to_change()
    check_fingerprint(kind.fingerprint, call, resource)
    return _write(kind, call, resource, dict(call.body))


def check_fingerprint(rule: str, call: Call, resource: JsonObject) -> None:
    given = call.body.get("fingerprint")
    if rule == "required" and not given:
        raise Required("resource.fingerprint")
    if rule != "none" and given and given != resource.get("fingerprint"):
        raise StaleFingerprint


def _write(kind: Kind, call: Call, resource: JsonObject, changed: JsonObject) -> JsonObject:
    changed |= {name: resource[name] for name in SERVER_SET if name in resource}
    kind.complete(call, changed)
    if kind.fingerprint != "none":
        changed["fingerprint"] = call.cloud.new_fingerprint()
    if kind.has_labels:
        changed["labelFingerprint"] = resource["labelFingerprint"]
    kind.on_write(call.cloud, call.cloud.put(call.key, changed))
    return call.operation()


def merge(kept: JsonObject, patch_body: JsonObject) -> JsonObject:
    """RFC 7396 on `kept`, in place. As in the API, an empty list, and an object that has lost
    its last member, are removed.
    """
    for name, value in patch_body.items():
        if isinstance(value, dict):
            inner = kept.get(name)
            merged = merge(inner if isinstance(inner, dict) else {}, value)
            is_there = bool(merged) or not value
        else:
            merged, is_there = value, value is not None and value != []
        if is_there:
            kept[name] = merged
        else:
            kept.pop(name, None)
    return kept


def list_(kind: Kind, call: Call) -> JsonObject:
    return call.page(
        call.cloud.list_in(call.scope, call.collection), view=partial(kind.view, call.cloud)
    )


def aggregated_list(kind: Kind, call: Call) -> JsonObject:
    cloud, collection = call.cloud, call.collection
    kept = {scope: cloud.list_in(scope, collection) for scope in cloud.scopes_with(collection)}
    return call.aggregate(kept, partial(kind.view, cloud))


def set_members(call: Call, **members: object) -> JsonObject:
    """A method that sets single members: an empty value removes its member."""
    changed = call.resource_to_change() | members
    for name, value in members.items():
        if not value:
            del changed[name]
    call.cloud.put(call.key, changed | {"fingerprint": call.cloud.new_fingerprint()})
    return call.operation()


def set_labels(call: Call) -> JsonObject:
    """`setLabels` of any kind with labels: replaces all labels, and checks their own
    fingerprint. Its operation is done at once.
    """
    resource = call.resource_to_change()
    given = call.body.get("labelFingerprint")
    if given and given != resource.get("labelFingerprint"):
        raise StaleFingerprint
    resource["labels"] = call.body.get("labels", {})
    resource["labelFingerprint"] = call.cloud.new_fingerprint()
    return call.operation(seconds=0.0)
