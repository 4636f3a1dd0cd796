"""Builders for the tests of planning: releases, targets, and a small world of resources."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from infra.fleet import naming
from infra.fleet.model import Action, Body, Key, Plan, ReadSet, Snapshot
from infra.fleet.resources import instance_template
from rollout.model import GroupTarget, Problem, Release, Share, Target
from rollout.spec.defaults import fill_defaults
from rollout.spec.model import Spec
from rollout.spec.validators import model_of, to_section
from rollout.strategies.base import all_traffic_to

REGION = "us-central1"
SERVER = "https://www.googleapis.com/compute/v1/projects/p/"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def spec(model: str = "tiny", **sections: Any) -> Spec:
    """A resolved spec, without the rules between fields."""
    given = model_of(Spec).model_validate(
        {"artifact": {"image": "host/app:1"}} | sections, strict=False
    )
    whole = to_section(model_of(Spec).model_validate_json(given.model_dump_json()))
    return fill_defaults(whole, model)


def release(version: str = "1", model: str = "tiny", **sections: Any) -> Release:
    """A release whose template differs from that of every other version."""
    env = {"RELEASE": version} | sections.get("artifact", {}).get("env", {})
    artifact = {"image": "host/app:1"} | sections.get("artifact", {}) | {"env": env}
    resolved = spec(model, **(sections | {"artifact": artifact}))
    return Release(
        version,
        f"digest-{version}",
        instance_template.name(model, resolved),
        resolved,
        int(version),
        NOON,
        "event",
    )


def group(*shares: Share, **changes: Any) -> GroupTarget:
    settings = shares[0].release
    scaling = settings.spec.scaling
    fields: dict[str, Any] = {
        "min": scaling.min,
        "max": scaling.max,
        "may_scale_in": True,
        "surge": 3,
        "unavailable": 0,
    }
    return GroupTarget("blue", shares, settings, **(fields | changes))


def target(
    *shares: Share | Release,
    model: str = "tiny",
    kept: frozenset[str] = frozenset(),
    **changes: Any,
) -> Target:
    """A target with one blue group; without shares, a target that leaves nothing."""
    if not shares:
        return Target(model, (), kept)
    whole = tuple(share if isinstance(share, Share) else Share(share) for share in shares)
    groups = (group(*whole, **changes),)
    return Target(model, groups, kept, all_traffic_to("blue", groups[0].settings))


@dataclass
class World:
    """Resources by key. Plans change them as Compute Engine's verbs do; reads give them in the
    server's spelling.
    """

    bodies: dict[Key, Body] = field(default_factory=dict)
    writes: int = 0

    def do(self, plan: Plan) -> None:
        """Every action in the order of the plan; fails if one precedes an action it waits for."""
        done: set[Key] = set()
        for action in plan.actions:
            known = {each.key for each in plan.actions}
            assert set(action.after) <= known & done | {
                key for key in action.after if key not in known
            }
            self._do(action)
            done.add(action.key)

    def _do(self, action: Action) -> None:
        self.writes += 1
        body = copy.deepcopy(
            {field: value for field, value in action.body.items() if field != "fingerprint"}
        )
        match action.verb:
            case "insert":
                assert action.key not in self.bodies
                self.bodies[action.key] = body
            case "update":
                assert self._agrees(action)
                self.bodies[action.key] = body
            case "patch":
                assert self._agrees(action)
                self.bodies[action.key] = merged(self.bodies[action.key], body)
            case "delete":
                del self.bodies[action.key]
            case "setNamedPorts":
                manager = Key("regionInstanceGroupManagers", action.key.scope, action.key.name)
                self.bodies[manager] |= body
            case "setTarget":
                self.bodies[action.key] |= body

    def _agrees(self, action: Action) -> bool:
        sent = action.body.get("fingerprint")
        return sent is None or sent == self.fingerprint(action.key)

    def fingerprint(self, key: Key) -> str:
        return f"print-{hash(repr(self.bodies[key])) % 10_000}"

    def read(self, key: Key) -> Body | None:
        if key not in self.bodies:
            return None
        link = f"{SERVER}{naming.reference(key)}"
        added = {
            "id": "123",
            "kind": "compute#thing",
            "selfLink": link,
            "fingerprint": self.fingerprint(key),
            "creationTimestamp": "then",
        }
        body: Body = spelled(copy.deepcopy(self.bodies[key])) | added
        if key.collection == "regionInstanceGroupManagers":
            body |= {
                "instanceGroup": f"{SERVER}{naming.reference(naming.instances_of(key))}",
                "status": {"isStable": True},
            }
        return body

    def snapshot(self, read_set: ReadSet) -> Snapshot:
        listed = [
            key
            for key in self.bodies
            if read_set.leftovers_of
            and key.collection in ("instanceTemplates", "healthChecks")
            and naming.is_of(read_set.leftovers_of, key)
        ]
        return Snapshot({key: self.read(key) for key in (*read_set.keys, *listed)})


def merged(body: Body, patch: Body) -> Body:
    """JSON merge patch (RFC 7396)."""
    result = dict(body)
    for name, value in patch.items():
        if isinstance(value, dict):
            result[name] = merged(result.get(name) or {}, value)
        elif value is None:
            result.pop(name, None)
        else:
            result[name] = value
    return result


_INT64 = ("diskSizeGb",)


def spelled(value: Any, name: str = "") -> Any:
    """A value in the server's spelling: full links, int64 as text, port ranges, float32, and no
    false or empty text.
    """
    match value:
        case dict():
            return {
                key: spelled(each, key)
                for key, each in value.items()
                if each is not False and each != ""
            }
        case list():
            return [spelled(each, name) for each in value]
        case str() if value.startswith(("global/", "regions/", "zones/")):
            return SERVER + value
        case str() if name == "portRange":
            return f"{value}-{value}"
        case float() if name == "maxUtilization":
            return 0.800000011920929 if value == 0.8 else value
        case int() if name in _INT64:
            return str(value)
    return value


def problems(results: Plan) -> list[Problem]:
    return list(results.problems)
