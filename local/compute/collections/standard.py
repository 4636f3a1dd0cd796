"""What most collections have in common: insert, get, list, delete, patch, update, aggregatedList over plain resources.

A collection declares a `Kind` and calls `register`; what is particular to it (defaults, references, rules) is the
kind's `complete`. It sees the whole resource as it would be kept, for every way of writing it, and refuses by raising
`ApiError`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from local.compute import discovery
from local.compute.call import Call, handles
from local.compute.cloud import REFERENCES, Cloud
from local.compute.errors import AlreadyExists, InUse, JsonObject, Required, StaleFingerprint
from local.compute.keys import Key

SERVER_SET = ("kind", "id", "creationTimestamp", "selfLink", "name", "region", "zone")


def nothing(call: Call, resource: JsonObject) -> None:
    """For kinds without rules of their own."""


def no_references(resource: JsonObject) -> Iterable[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Kind:
    """`discovery` names the API's resources for it (global and regional), `word` the kind as messages write it.

    `fingerprint`: `none`; `if_given` (must match when sent); `required` (an update without it is refused).
    """

    collection: str
    word: str
    schema: str
    discovery: tuple[str, ...]
    complete: Callable[[Call, JsonObject], None] = nothing
    references: Callable[[JsonObject], Iterable[str]] = no_references
    fingerprint: Literal["none", "if_given", "required"] = "none"
    patch_fingerprint: Literal["none", "if_given", "required"] | None = None
    verbs: tuple[str, ...] = ("insert", "get", "list", "delete")
    removed: Callable[[Cloud, JsonObject], None] = lambda cloud, resource: None

    def url_kind(self) -> str:
        return discovery.kind_of(self.schema)


def register(kind: Kind) -> None:
    """Handlers for every verb of a kind in each of its scopes, and its references."""
    REFERENCES[kind.collection] = kind.references
    verbs: dict[str, Callable[[Call], JsonObject]] = {
        "insert": lambda call: insert(kind, call),
        "get": lambda call: call.resource(),
        "list": lambda call: call.page(call.cloud.all_in(call.scope, call.collection)),
        "delete": lambda call: delete(kind, call),
        "patch": lambda call: patch(kind, call),
        "update": lambda call: update(kind, call),
        "aggregatedList": aggregated_list,
    }
    for resource in kind.discovery:
        for verb in kind.verbs:
            handles(f"compute.{resource}.{verb}")(verbs[verb])


def insert(kind: Kind, call: Call) -> JsonObject:
    key = call.key_in_body()
    if call.cloud.find(key) is not None:
        raise AlreadyExists(call.cloud.path(key))
    resource = dict(call.body)
    kind.complete(call, resource)
    if kind.fingerprint != "none":
        resource["fingerprint"] = call.cloud.new_fingerprint()
    call.cloud.new(kind.url_kind(), key, resource)
    return call.operation(target=key)


def delete(kind: Kind, call: Call) -> JsonObject:
    """Refused while something refers to the resource. It is there until the operation ends."""
    resource = call.resource_to_change()
    key = call.key
    refuse_in_use(call.cloud, key, kind.word)

    def remove() -> None:
        call.cloud.remove(key)
        kind.removed(call.cloud, resource)

    return call.operation(at_end=remove)


def refuse_in_use(cloud: Cloud, key: Key, word: str) -> None:
    """Raises `InUse` naming the first user."""
    users = cloud.users_of(key)
    if users:
        raise InUse(word, cloud.path(key), cloud.path(users[0]))


def patch(kind: Kind, call: Call) -> JsonObject:
    """JSON merge patch: members merged, `null` clears, lists replaced."""
    resource = call.resource_to_change()
    check_fingerprint(kind.patch_fingerprint or kind.fingerprint, call, resource)
    changed: JsonObject = merge(copy.deepcopy(resource), call.body)
    return _write(kind, call, resource, changed)


def update(kind: Kind, call: Call) -> JsonObject:
    """PUT: what the body leaves out is gone."""
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
    call.cloud.put(call.key, changed)
    return call.operation()


def merge(kept: JsonObject, patch_body: JsonObject) -> JsonObject:
    """RFC 7396 on `kept`, in place."""
    for name, value in patch_body.items():
        if value is None:
            kept.pop(name, None)
        elif isinstance(value, dict):
            inner = kept.get(name)
            kept[name] = merge(inner if isinstance(inner, dict) else {}, value)
        else:
            kept[name] = value
    return kept


def aggregated_list(call: Call) -> JsonObject:
    cloud, collection = call.cloud, call.collection
    return call.aggregate({scope: cloud.all_in(scope, collection) for scope in cloud.scopes_with(collection)})
