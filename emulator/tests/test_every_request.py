"""Sends invalid values for every member of every request body of every implemented method.

The test reads the discovery document itself, so that it finds what the validation misses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from compute_emulator import Cloud, VirtualClock
from compute_emulator.api import discovery, wire
from compute_emulator.api.collections import HANDLERS
from compute_emulator.api.discovery import Method
from emulator.tests.clients import PROJECT, REGION

SCHEMAS = discovery.document()["schemas"]
PLACES = {"project": PROJECT, "region": REGION, "zone": f"{REGION}-a"}
ACCEPTED_OUTPUT_ONLY = "InstanceGroupManager.namedPorts"
WITH_BODY = sorted(
    each.id for each in discovery.methods().values() if each.id in HANDLERS and each.request
)
DEEPEST = 7


@pytest.fixture(scope="module")
def cloud() -> Cloud:
    """A cloud in which nothing is created, since every request is rejected."""
    return Cloud(clock=VirtualClock())


def rejection_of(cloud: Cloud, method: Method, body: Any) -> dict[str, Any]:
    path = re.sub(r"\{\+?(\w+)\}", lambda found: PLACES.get(found[1], "a"), method.path)
    query = "&".join(f"{each.name}=a" for each in method.query if each.required)
    request = wire.Request(method.http, f"/compute/v1/{path}?{query}", json.dumps(body).encode())
    answered = wire.handle(cloud, request)
    error: dict[str, Any] = json.loads(answered.body).get("error", {})
    return error


def is_ignored(owner: str, name: str, raw: dict[str, Any]) -> bool:
    description = raw.get("description", "").lower()
    return (
        description.startswith(("[output only]", "output only")) or raw.get("readOnly", False)
    ) and (f"{owner}.{name}" != ACCEPTED_OUTPUT_ONLY)


def wrong(raw: dict[str, Any]) -> Iterator[Any]:
    """Values that a member of this kind cannot have."""
    if "$ref" in raw or raw["type"] in ("object", "array"):
        yield from ("text", 7, True)
    elif raw["type"] == "string" and raw.get("format") in ("int64", "uint64"):
        yield from ("many", 1.5, True, 2**64, {})
    elif raw["type"] == "string":
        yield from (7, True, [], {})
        if raw.get("enum"):
            yield "NO_SUCH_VALUE"
        if raw.get("format") == "byte":
            yield "not base 64!"
    elif raw["type"] == "integer":
        yield from ("many", 1.5, True, 2**33, -(2**33), {})
    elif raw["type"] == "number":
        yield from ("many", True, "NaN", [])
    elif raw["type"] == "boolean":
        yield from ("maybe", 1, [], {})


def bodies(
    owner: str, raw: dict[str, Any], seen: tuple[str, ...] = ()
) -> Iterator[tuple[str, Any]]:
    """Bodies with one invalid member, each with its location as messages name it."""
    if "$ref" in raw:
        if raw["$ref"] in seen or len(seen) > DEEPEST:
            return
        yield from bodies(raw["$ref"], SCHEMAS[raw["$ref"]], (*seen, raw["$ref"]))
    elif raw.get("type") == "array":
        for where, body in inside(owner, raw["items"], seen):
            yield f"[0]{where}", [body]
    elif "additionalProperties" in raw:
        for where, body in inside(owner, raw["additionalProperties"], seen):
            yield f"[key]{where}", {"key": body}
    else:
        for name, each in raw.get("properties", {}).items():
            if not is_ignored(owner, name, each):
                for where, body in inside(owner, each, seen):
                    yield f".{name}{where}", {name: body}


def inside(owner: str, raw: dict[str, Any], seen: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for value in wrong(raw):
        yield "", value
    yield from bodies(owner, raw, seen)


def test_the_walk_is_not_empty() -> None:
    assert len(WITH_BODY) > 70


@pytest.mark.parametrize(
    "schema", sorted({str(discovery.methods()[each].request) for each in WITH_BODY})
)
def test_no_member_at_any_depth_accepts_an_invalid_value(cloud: Cloud, schema: str) -> None:
    method = next(
        discovery.methods()[each]
        for each in WITH_BODY
        if discovery.methods()[each].request == schema
    )
    for where, body in bodies(schema, {"$ref": schema}):
        error = rejection_of(cloud, method, body)
        assert error.get("code") == 400, (method.id, where, body)
        assert f"'resource{where}'" in error["message"], (method.id, where, error["message"])


@pytest.mark.parametrize("method_id", WITH_BODY)
def test_no_method_accepts_wrong_body_types_unknown_members_or_missing_required_ones(
    cloud: Cloud, method_id: str
) -> None:
    method = discovery.methods()[method_id]
    assert (
        "Unknown name \"colour\" at 'resource'"
        in rejection_of(cloud, method, {"colour": "red"})["message"]
    )
    none: tuple[Any, ...] = ([], 7, "text", None)
    for body in none:
        assert rejection_of(cloud, method, body)["code"] == 400
    required = [
        name
        for name, each in SCHEMAS[str(method.request)].get("properties", {}).items()
        if method_id in each.get("annotations", {}).get("required", ())
    ]
    if required and method.http == "POST":
        error = rejection_of(cloud, method, {})
        assert (error["code"], error["errors"][0]["reason"]) == (400, "required")
        assert any(f"resource.{name}" in error["message"] for name in required)


@pytest.mark.parametrize("method_id", WITH_BODY)
def test_any_value_of_an_output_only_member_is_ignored(cloud: Cloud, method_id: str) -> None:
    method = discovery.methods()[method_id]
    for name, raw in SCHEMAS[str(method.request)].get("properties", {}).items():
        if is_ignored(str(method.request), name, raw):
            given = next(iter(wrong(raw)))
            message = rejection_of(cloud, method, {name: given, "colour": "red"})["message"]
            assert f"'resource.{name}'" not in message
            assert "colour" in message
