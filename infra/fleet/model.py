"""The values that planning and applying speak: keys, bodies, snapshots, actions, plans. Pure.

A body is a resource in Compute Engine's own JSON form (camelCase, int64 as text or number), so that
it can be compared with what the API answers and read in its reference. References inside bodies are
partial URLs below the project (`global/healthChecks/x`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from rollout.deferred import dataclass
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
    the backend services, unless an earlier observation read them. `leftovers_of`: the model whose
    templates and health checks are listed as well, whatever their number, and so are the URL maps.
    """

    keys: tuple[Key, ...]
    groups: tuple[Key, ...] = ()
    healths: tuple[Key, ...] = ()
    leftovers_of: str | None = None


@dataclass(frozen=True)
class DesiredResource:
    """A resource as it should be. `after` names what must exist first; `why` is the reason to
    insert it.
    """

    key: Key
    body: Body
    after: tuple[Key, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Snapshot:
    """What one observation read: bodies by key (None: does not exist; absent: not read), the
    managed instances of each group, and the health answers of each backend service, one per
    group.
    """

    bodies: Mapping[Key, Body | None]
    instances: Mapping[Key, tuple[Body, ...]] = field(
        default_factory=dict
    )  # by regionInstanceGroupManagers key
    health: Mapping[Key, tuple[Body, ...]] = field(default_factory=dict)  # by backendServices key


def merge_snapshots(before: Snapshot, after: Snapshot) -> Snapshot:
    """The earlier snapshot, updated with what was read again."""
    return Snapshot(
        {**before.bodies, **after.bodies},
        {**before.instances, **after.instances},
        {**before.health, **after.health},
    )


@dataclass(frozen=True)
class Action:
    """One intended change to one resource.

    `after` names the earlier actions of the plan (by key) that it waits for. `based_on` is the
    observed fingerprint or id that the change was derived from, so that the same change after new
    drift is a new request.
    """

    key: Key
    verb: Verb
    body: Body
    why: str
    after: tuple[Key, ...] = ()
    based_on: str = ""


@dataclass(frozen=True)
class Plan:
    """Actions in an order in which they could be done one by one, and the problems that block the
    rest of the target.
    """

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
    which.
    """

    action: Action
    why: str
    retry_after_seconds: float | None = None


@dataclass(frozen=True)
class Failed:
    """Compute Engine refused it permanently; `problem` has the reason and its message."""

    action: Action
    problem: Problem


Result = Applied | Pending | Failed
