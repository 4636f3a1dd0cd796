"""The values that planning and applying speak: keys, bodies, snapshots, actions, plans. Pure.

A body is a resource in Compute Engine's own JSON form (camelCase, int64 as text or number), so that
it can be compared with what the API answers and read in its reference. References inside bodies are
partial URLs below the project (`global/healthChecks/x`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rollout.model import Problem

Body = dict[str, Any]
Collection = Literal[
    "instanceTemplates",
    "healthChecks",
    "regionInstanceGroupManagers",
    "regionInstanceGroups",
    "regionAutoscalers",
    "backendServices",
    "urlMaps",
    "targetHttpProxies",
    "targetHttpsProxies",
    "globalForwardingRules",
    "globalAddresses",
]
Verb = Literal[
    "insert", "update", "patch", "delete", "setNamedPorts", "setSslCertificates", "setTarget"
]


@dataclass(frozen=True, order=True)
class Key:
    """Which resource: its collection, `global` or a region's name, its own name."""

    collection: Collection
    scope: str
    name: str


@dataclass(frozen=True)
class ReadSet:
    """What one observation is to read. `groups` are asked for their managed instances, `errors` for
    their creation errors, `healths` (backend services) for the health of their instances; all of
    them stand in `keys` too, but for backend services that are known from an earlier look.
    `templates_of`: list that model's templates as well."""

    keys: tuple[Key, ...]
    groups: tuple[Key, ...] = ()
    errors: tuple[Key, ...] = ()
    healths: tuple[Key, ...] = ()
    templates_of: str | None = None


@dataclass(frozen=True)
class DesiredResource:
    """A resource as it should be. `after` names what must exist before it does; None as body: it
    should not exist."""

    key: Key
    body: Body | None
    after: tuple[Key, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Snapshot:
    """What one observation read: bodies by key (None: looked for and not there; absent: not looked
    at), the managed instances and creation errors of each group, and each backend service's health
    answers by group."""

    bodies: Mapping[Key, Body | None]
    instances: Mapping[Key, tuple[Body, ...]] = field(
        default_factory=dict
    )  # by regionInstanceGroupManagers key
    errors: Mapping[Key, tuple[Body, ...]] = field(
        default_factory=dict
    )  # by regionInstanceGroupManagers key
    health: Mapping[Key, tuple[Body, ...]] = field(default_factory=dict)  # by backendServices key


def merge_snapshots(before: Snapshot, after: Snapshot) -> Snapshot:
    """An earlier snapshot with what a later look has read again."""
    return Snapshot(
        {**before.bodies, **after.bodies},
        {**before.instances, **after.instances},
        {**before.errors, **after.errors},
        {**before.health, **after.health},
    )


@dataclass(frozen=True)
class Action:
    """One intended change to one resource. `after` names the actions (by key) it waits for within
    the same plan. `seen` is the observed fingerprint or id the change was derived from, so that a
    repeat after new drift is a new request.

    `after` speaks of earlier actions of the plan only. `reads_first`: the same plan inserts this
    very resource, so its fingerprint is not known yet; whoever applies reads it after the insert
    and sends what `infra.fleet.plan.completed(action, body read)` answers."""

    key: Key
    verb: Verb
    body: Body
    why: str
    after: tuple[Key, ...] = ()
    seen: str = ""
    reads_first: bool = False


@dataclass(frozen=True)
class Plan:
    """Actions in an order in which they could be done one by one, and what stands in the way of the
    rest of the target."""

    actions: tuple[Action, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not self.actions


@dataclass(frozen=True)
class Applied:
    action: Action


@dataclass(frozen=True)
class Pending:
    """Not known to have happened yet: still running, not started, or worth another try. `why` says
    which."""

    action: Action
    why: str
    retry_after_seconds: float | None = None


@dataclass(frozen=True)
class Failed:
    """Compute Engine refused it for good; `problem` carries the class and its words."""

    action: Action
    problem: Problem


Result = Applied | Pending | Failed
