"""The API's own description: the method of each URL, and the types of its parameters and bodies.

Read once, on first use, from the discovery document that google-api-python-client ships (a
development dependency). Routing uses a tree of path segments, so that finding a method costs a
few dictionary lookups.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

DOCUMENT = "discovery_cache/documents/compute.v1.json"
SCOPES = ("global", "aggregated")


@dataclass(frozen=True, slots=True)
class Parameter:
    """`type` is `string`, `integer`, `number` or `boolean`."""

    name: str
    location: str
    type: str
    required: bool
    repeated: bool
    pattern: re.Pattern[str] | None
    minimum: int | None
    maximum: int | None


@dataclass(frozen=True, slots=True)
class Method:
    """One method of the API. `names` are its path parameters in order; `collection` is the name
    in the URL, not the one in the discovery document.
    """

    id: str
    http: str
    path: str
    names: tuple[str, ...]
    collection: str
    name_parameter: str | None
    path_parameters: tuple[Parameter, ...]
    query: tuple[Parameter, ...]
    request: str | None
    response: str | None
    required: tuple[str, ...]

    @property
    def verb(self) -> str:
        return self.id.rpartition(".")[2]

    @property
    def mutates(self) -> bool:
        return self.response == "Operation" and self.collection != "operations"


class Node:
    """A node of the routing tree."""

    __slots__ = ("any", "literal", "methods")

    def __init__(self) -> None:
        self.literal: dict[str, Node] = {}
        self.any: Node | None = None
        self.methods: dict[str, Method] = {}


@cache
def document() -> dict[str, Any]:
    """The discovery document. If it is missing, the error says what to install."""
    found = importlib.util.find_spec("googleapiclient")
    if found is None or found.origin is None:
        raise RuntimeError(
            "the emulator reads Google's discovery document from google-api-python-client;"
            " install that package"
        )
    loaded: dict[str, Any] = json.loads((Path(found.origin).parent / DOCUMENT).read_bytes())
    return loaded


@cache
def methods() -> dict[str, Method]:
    """Every method of Compute v1 by its id, such as
    `compute.regionInstanceGroupManagers.insert`.
    """
    found: dict[str, Method] = {}
    pending: list[dict[str, Any]] = [document()]
    while pending:
        node = pending.pop()
        pending += node.get("resources", {}).values()
        for raw in node.get("methods", {}).values():
            method = _method(raw)
            found[method.id] = method
    return found


@lru_cache(maxsize=4096)
def route(http: str, segments: tuple[str, ...]) -> tuple[Method, Mapping[str, str]] | None:
    """The method of a request and its path parameters, or None. `segments` are those after
    `/compute/v1/`.
    """
    found = _walk(_tree(), http, segments, 0)
    if found is None:
        return None
    method, taken = found
    return method, MappingProxyType(dict(zip(method.names, taken, strict=True)))


def methods_of(http: str, segments: tuple[str, ...]) -> bool:
    """Whether a path has a method for any HTTP verb."""
    return any(
        _walk(_tree(), each, segments, 0)
        for each in ("GET", "POST", "PUT", "PATCH", "DELETE")
        if each != http
    )


def kind_of(schema: str) -> str:
    """The `kind` of a schema's resources, such as `compute#urlMap`."""
    return str(document()["schemas"][schema]["properties"].get("kind", {}).get("default", ""))


@cache
def places_of(collection: str) -> frozenset[str]:
    """The kinds of scope that list a collection's resources: `global`, `regions`, `zones`."""
    listed = [
        method.path.split("/")
        for method in methods().values()
        if method.verb == "list" and method.collection == collection
    ]
    return frozenset(path[2] for path in listed if len(path) > 3)


def _walk(
    node: Node, http: str, segments: tuple[str, ...], at: int
) -> tuple[Method, tuple[str, ...]] | None:
    if at == len(segments):
        method = node.methods.get(http)
        return None if method is None else (method, ())
    literal = node.literal.get(segments[at])
    if literal is not None:
        found = _walk(literal, http, segments, at + 1)
        if found is not None:
            return found
    if node.any is not None:
        found = _walk(node.any, http, segments, at + 1)
        if found is not None:
            return found[0], (segments[at], *found[1])
    return None


@cache
def _tree() -> Node:
    root = Node()
    for method in methods().values():
        if "{+" in method.path:
            continue
        node = root
        for segment in method.path.split("/"):
            if segment.startswith("{"):
                node.any = node.any or Node()
                node = node.any
            else:
                node = node.literal.setdefault(segment, Node())
        node.methods[method.http] = method
    return root


def _method(raw: dict[str, Any]) -> Method:
    path = raw["path"]
    names = tuple(re.findall(r"\{\+?(\w+)\}", path))
    collection, name_parameter = _subject(path.split("/"))
    parameters = [_parameter(name, each) for name, each in raw.get("parameters", {}).items()]
    request = raw.get("request", {}).get("$ref")
    return Method(
        id=raw["id"],
        http=raw["httpMethod"],
        path=path,
        names=names,
        collection=collection,
        name_parameter=name_parameter,
        path_parameters=tuple(each for each in parameters if each.location == "path"),
        query=tuple(each for each in parameters if each.location == "query"),
        request=request,
        response=raw.get("response", {}).get("$ref"),
        required=_required(request, raw["id"]),
    )


def _subject(path: list[str]) -> tuple[str, str | None]:
    """Collection and name parameter: `projects/{project}/regions/{region}/autoscalers/{autoscaler}`
    -> autoscalers, autoscaler.
    """
    rest = path[2:]
    if rest[:1] and rest[0] in SCOPES:
        rest = rest[1:]
    elif len(rest) > 2 and rest[0] in ("regions", "zones"):
        rest = rest[2:]
    collection = rest[0] if rest else "projects"
    name = rest[1] if len(rest) > 1 and rest[1].startswith("{") else None
    return collection, name.strip("{+}") if name else None


def _parameter(name: str, raw: dict[str, Any]) -> Parameter:
    pattern = raw.get("pattern")
    return Parameter(
        name=name,
        location=raw["location"],
        type=raw.get("type", "string"),
        required=raw.get("required", False),
        repeated=raw.get("repeated", False),
        pattern=(
            re.compile(pattern)
            if pattern and raw["location"] == "path" and name != "project"
            else None
        ),
        minimum=int(raw["minimum"]) if "minimum" in raw else None,
        maximum=int(raw["maximum"]) if "maximum" in raw else None,
    )


def _required(schema: str | None, method_id: str) -> tuple[str, ...]:
    properties = document()["schemas"][schema].get("properties", {}) if schema else {}
    return tuple(
        name
        for name, each in properties.items()
        if method_id in each.get("annotations", {}).get("required", ())
    )
