"""Messages generated from the published JSON Schema: valid ones and near misses of every field.

The schema is the committed file and not the types, since the file is what senders read.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.assurance.hostile.intake import scaled

SCHEMA: dict[str, Any] = json.loads(
    (Path(__file__).parents[3] / "schemas" / "model-release.v1.json").read_text("utf-8")
)
RELEASE, COMMAND = SCHEMA["else"], SCHEMA["then"]
VALIDATOR = Draft202012Validator(SCHEMA)
FieldPath = tuple[str | int, ...]

# Every field of a release, except those that exclude each other.
FULL: dict[str, Any] = {
    "model": "tiny",
    "version": "1",
    "force": False,
    "requested_by": "somebody",
    "reason": "to see",
    "artifact": {
        "image": "eu-docker.pkg.dev/p/r/tiny:1",
        "signature": "c2lnbmVk" * 12,
        "weights": "gs://bucket/tiny",
        "args": ["--serve"],
        "env": {"WORKERS": "8"},
        "secrets": {"TOKEN": "hf-token@3"},
        "shm_size_mb": 1024,
        "ulimits": {"memlock": -1, "nofile": 65536, "stack": 67108864},
    },
    "serving": {
        "port": 8080,
        "metrics_port": 8002,
        "readiness_path": "/ready",
        "liveness_path": "/live",
        "startup_seconds": 60,
        "requests_per_second": 12.5,
    },
    "machine": {
        "type": "n1-standard-8",
        "accelerator": {"type": "nvidia-tesla-t4", "count": 2},
        "spot": True,
        "reservation": "none",
        "image": "projects/cos-cloud/global/images/family/cos-stable",
        "disk": {"size_gb": 100, "type": "pd-ssd"},
        "service_account": "models@demo.iam.gserviceaccount.com",
        "network": "projects/shared/global/networks/n",
        "subnetwork": "projects/shared/regions/us-central1/subnetworks/s",
        "external_ip": False,
        "tags": ["models"],
        "labels": {"team": "a"},
        "shielded_vm": {"secure_boot": True, "vtpm": True, "integrity_monitoring": True},
    },
    "placement": {
        "region": "us-central1",
        "zones": ["us-central1-a", "us-central1-b"],
        "target_shape": "even",
    },
    "scaling": {
        "min": 2,
        "max": 9,
        "cpu": {"target": 0.5, "predictive": True},
        "load_balancing": {"target": 0.5},
        "metrics": [
            {
                "name": "custom.googleapis.com/q",
                "target": 5,
                "type": "gauge",
                "filter": "resource.type = a",
            }
        ],
        "schedules": {
            "day": {
                "cron": "0 8 * * *",
                "timezone": "Europe/Berlin",
                "duration_seconds": 3600,
                "min": 3,
                "disabled": False,
                "description": "People",
            }
        },
        "scale_in": {"max_instances": 1, "window_seconds": 600},
        "cool_down_seconds": 60,
    },
    "traffic": {
        "exposure": "external",
        "host": "a.example.com",
        "path": "/tiny",
        "draining_seconds": 30,
        "balancing_mode": "utilization",
        "max_utilization": 0.7,
        "timeout_seconds": 60,
        "certificate": "c",
        "preview_host": "next.example.com",
        "gateway": "edge",
        "mirror_safe": True,
    },
    "rollout": {
        "strategy": "rolling",
        "steps": [50, {"approve": {"by": "model-approvals"}}, 100],
        "capacity": "surge",
        "surge": 2,
        "unavailable": 0,
        "bake_seconds": 60,
        "progress_deadline_seconds": 600,
        "watch_seconds": 600,
        "max_seconds_to_roll_back": 86400,
        "on_failure": "rollback",
        "on_newer": "supersede",
        "abort_on_alerts": ["tiny: errors"],
        "gates": {
            "custom": {
                "query": "up",
                "max": 5,
                "min": 1,
                "consecutive": 3,
                "failures": 9,
                "dry_run": False,
                "on_inconclusive": "wait",
            }
        },
        "analysis": {
            "window_seconds": 60,
            "warm_up_seconds": 60,
            "alpha": 0.01,
            "min_bad": 5,
            "min_requests": 30,
            "min_windows": 3,
            "on_inconclusive": "wait",
            "max_inconclusive_seconds": 3600,
            "max_errors": 10,
            "baseline": "stable",
        },
    },
}
ROLLBACK: dict[str, Any] = {
    "model": "tiny",
    "command": "rollback",
    "version": "1",
    "requested_by": "a",
    "reason": "b",
}
GATE: FieldPath = ("rollout", "gates", "custom")
COUNTERS = 'requests_total{template=~"$templates"}'
BUCKETS = 'seconds_bucket{template=~"$templates"}'
COUNTS = {GATE: {"bad": COUNTERS, "total": COUNTERS}}
# For a field that excludes others: the values that these get instead; None removes one.
EXCLUSIONS: dict[FieldPath, dict[FieldPath, Any]] = {
    ("artifact", "startup_script"): {("artifact",): {}, ("machine", "image"): None},
    ("scaling", "metrics", 0, "per_instance"): {
        ("scaling", "metrics", 0, "target"): None,
        ("scaling", "metrics", 0, "type"): None,
    },
    ("scaling", "scale_in", "max_percent"): {("scaling", "scale_in", "max_instances"): None},
    ("traffic", "max_rate_per_instance"): {
        ("traffic", "balancing_mode"): "rate",
        ("traffic", "max_utilization"): None,
    },
    (*GATE, "bad"): COUNTS,
    (*GATE, "total"): COUNTS,
    (*GATE, "harmful_ratio"): COUNTS,
    (*GATE, "tolerated_share"): COUNTS,
    (*GATE, "objective_share"): COUNTS,
    (*GATE, "histogram"): {GATE: {"slower_than_seconds": 1}},
    (*GATE, "slower_than_seconds"): {GATE: {"histogram": BUCKETS}},
    (*GATE, "url"): {GATE: {}},
    ("rollout", "keep_old_seconds"): {
        ("rollout", "strategy"): "blue_green",
        ("rollout", "steps"): [{"weight": 100}],
    },
}


KEYS = {
    "env": "WORKERS",
    "secrets": "TOKEN",
    "labels": "team",
    "schedules": "day",
    "gates": "custom",
}
"""The key that each map of `FULL` has."""


def fields(
    schema: Mapping[str, Any] = RELEASE, at: FieldPath = ()
) -> Iterator[tuple[FieldPath, dict[str, Any]]]:
    """Every field with its schema, sections before their fields; of a list the first item, of a map
    the key that `FULL` has.
    """
    for name, inner in schema.get("properties", {}).items():
        yield (*at, name), inner
        yield from fields(inner, (*at, name))
    if "items" in schema:
        yield (*at, 0), schema["items"]
        yield from fields(schema["items"], (*at, 0))
    if isinstance(schema.get("additionalProperties"), dict):
        key = KEYS[str(at[-1])]
        yield (*at, key), schema["additionalProperties"]
        yield from fields(schema["additionalProperties"], (*at, key))


def text_fields() -> list[FieldPath]:
    """The fields of a release with free text."""
    return [
        path for path, schema in fields() if "string" in json_types(schema) and "enum" not in schema
    ]


def json_types(schema: Mapping[str, Any]) -> list[str]:
    """The JSON types that the schema names; none if it combines several schemas."""
    given = schema.get("type", [])
    return [given] if isinstance(given, str) else list(given)


def with_value(path: FieldPath, value: object, base: Mapping[str, Any] = FULL) -> dict[str, Any]:
    """The base message with this value in this place, without fields that exclude it."""
    message = copy.deepcopy(dict(base))
    for other, instead in EXCLUSIONS.get(path, {}).items():
        _put(message, other, instead)
    _put(message, path, value)
    return message


def with_key(path: FieldPath, key: str) -> dict[str, Any]:
    """`FULL` with the key of a map replaced and its value kept."""
    message = copy.deepcopy(FULL)
    holder = get(message, path[:-1])
    holder[key] = holder.pop(path[-1])
    return message


def get(message: Any, path: FieldPath) -> Any:
    for step in path:
        message = message[step]
    return message


def _put(message: dict[str, Any], path: FieldPath, value: object) -> None:
    holder = get(message, path[:-1])
    if value is None and path in {other for others in EXCLUSIONS.values() for other in others}:
        holder.pop(path[-1], None)
    else:
        holder[path[-1]] = value


# ---- Near misses

JUNK: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2**31,
        2**53 + 1,
        -(2**63),
        1e308,
        0.1,
        "",
        " ",
        "0",
        "null",
        "\x00",
        "a\n",
        "\u202ea",
        "é",
    ),
    *([], [None], [[]], {}, {"": None}, {"__proto__": 1}, "x" * 70_000),
]


def near_misses(schema: Mapping[str, Any], legal: Any) -> list[Any]:
    """Values just outside what the field allows."""
    found: list[Any] = []
    for bound, beside in (
        ("minimum", -1),
        ("maximum", 1),
        ("exclusiveMinimum", 0),
        ("exclusiveMaximum", 0),
    ):
        if bound in schema:
            found += [schema[bound] + beside, schema[bound] + beside + 0.5, str(schema[bound])]
    match legal:
        case str():
            found += [
                legal + "\n",
                legal + "\x00",
                " " + legal,
                legal + "\u2028",
                legal.upper() + "É",
                legal * 200,
                [legal],
                {legal: legal},
            ]
            found += ["x" * (schema[bound] + 1) for bound in ("maxLength",) if bound in schema]
        case bool():
            found += [str(legal).lower(), int(legal)]
        case int() | float():
            found += [str(legal), legal + 0.25, -legal, [legal]]
        case list():
            found += [legal * 300, [*legal, *legal], [*legal, None], {"0": legal}]
        case dict():
            found += [
                legal | {"not_a_field": 1},
                legal | {"": 1},
                [legal],
                list(legal),
                {key: [] for key in legal},
                {f"k{n}": 1 for n in range(300)},
            ]
    return found


@cache
def all_near_misses() -> tuple[tuple[FieldPath, dict[str, Any]], ...]:
    """Each near miss of each field: the path of the field and the whole message. In the tests of
    every commit each field gets a part of the junk values.
    """
    found = []
    every = scaled(5, 1)
    for base, schema in ((FULL, RELEASE), (ROLLBACK, COMMAND)):
        for number, (path, inner) in enumerate(fields(schema)):
            if path == ("command",) and base is FULL:
                continue
            legal = (
                get(with_value(path, LEGAL[path], base), path) if path in LEGAL else get(base, path)
            )
            nowhere = [
                value
                for value in JUNK[number % every :: every]
                if value != legal or type(value) is not type(legal)
            ]
            found += [
                (path, with_value(path, miss, base))
                for miss in (*nowhere, *near_misses(inner, legal))
            ]
    return tuple(found)


LEGAL: dict[FieldPath, Any] = {
    ("base",): "0",
    ("plan",): "0a1b2c3d.0a1b2c3d.0a1b2c3d.0a1b2c3d.0a1b2c3d",
    ("full",): True,
    ("signature",): "A" * 88,
    ("artifact", "startup_script"): "#!/bin/sh\ntrue\n",
    ("scaling", "metrics", 0, "per_instance"): 5,
    ("scaling", "scale_in", "max_percent"): 10,
    ("traffic", "max_rate_per_instance"): 10,
    ("rollout", "keep_old_seconds"): 600,
    (*GATE, "bad"): COUNTERS,
    (*GATE, "total"): COUNTERS,
    (*GATE, "harmful_ratio"): 2,
    (*GATE, "tolerated_share"): 0.01,
    (*GATE, "objective_share"): 0.01,
    (*GATE, "histogram"): BUCKETS,
    (*GATE, "slower_than_seconds"): 1,
    (*GATE, "url"): "https://evals.example.com/gate",
}


# ---- Random messages

_LEAF = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
ANY = st.recursive(
    _LEAF,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def legal(schema: Mapping[str, Any], with_junk: bool = True) -> st.SearchStrategy[Any]:
    """Values that the schema accepts; `with_junk` replaces some of them by any JSON value."""
    valid = _legal(schema, with_junk)
    return st.one_of(valid, valid, valid, valid, valid, valid, valid, ANY) if with_junk else valid


def _legal(schema: Mapping[str, Any], with_junk: bool) -> st.SearchStrategy[Any]:
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "properties" in schema:
        inner = {name: legal(each, with_junk) for name, each in schema["properties"].items()}
        needed = {name: inner.pop(name) for name in schema.get("required", ()) if name in inner}
        return st.fixed_dictionaries(needed, optional=inner)
    if "items" in schema:
        return st.lists(
            legal(schema["items"], with_junk), min_size=schema.get("minItems", 0), max_size=3
        )
    if isinstance(schema.get("additionalProperties"), dict):
        keys = _text(schema.get("propertyNames", {}))
        return st.dictionaries(keys, legal(schema["additionalProperties"], with_junk), max_size=3)
    return st.one_of([_KINDS[kind](schema) for kind in json_types(schema)] or [ANY])


def _text(schema: Mapping[str, Any]) -> st.SearchStrategy[str]:
    if "pattern" not in schema:
        return st.text(max_size=min(40, schema.get("maxLength", 40)))
    return st.from_regex(schema["pattern"], fullmatch=True).filter(
        lambda text: len(text) <= schema.get("maxLength", 10**6)
    )


_KINDS: dict[str, Callable[[Mapping[str, Any]], st.SearchStrategy[Any]]] = {
    "string": _text,
    "integer": lambda schema: st.integers(schema.get("minimum", -5), schema.get("maximum", 10**6)),
    "number": lambda schema: st.floats(
        max(schema.get("exclusiveMinimum", 0), 1e-3), schema.get("maximum", 1e6)
    ),
    "boolean": lambda schema: st.booleans(),
    "null": lambda schema: st.none(),
    "array": lambda schema: st.lists(ANY, max_size=2),
    "object": lambda schema: st.dictionaries(st.text(max_size=5), ANY, max_size=2),
}
