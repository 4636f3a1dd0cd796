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
    """What one observation reads: the bodies of `keys`, the managed instances of `groups`, and the
    health of the backends of `healths` (backend services). The groups are in `keys` too, and so are
    the backend services, unless an earlier observation read them. `templates_of`: the model whose
    templates are listed as well."""

    keys: tuple[Key, ...]
    groups: tuple[Key, ...] = ()
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
    """What one observation read: bodies by key (None: does not exist; absent: not read), the managed
    instances of each group, and the health answers of each backend service, one per group."""

    bodies: Mapping[Key, Body | None]
    instances: Mapping[Key, tuple[Body, ...]] = field(
        default_factory=dict
    )  # by regionInstanceGroupManagers key
    health: Mapping[Key, tuple[Body, ...]] = field(default_factory=dict)  # by backendServices key


def merge_snapshots(before: Snapshot, after: Snapshot) -> Snapshot:
    """An earlier snapshot with what a later look has read again."""
    return Snapshot(
        {**before.bodies, **after.bodies},
        {**before.instances, **after.instances},
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
