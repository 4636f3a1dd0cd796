"""What a program sees of the emulator's state: records and views of groups and instances, and the
method of a request. `Emulator` returns them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, TypedDict
from urllib.parse import unquote

from compute_emulator.api import discovery, wire
from compute_emulator.engine.attached_services import services_of
from compute_emulator.engine.backends import service_check
from compute_emulator.engine.cloud import Cloud
from compute_emulator.engine.groups import Group
from compute_emulator.engine.managed_instance import ManagedInstance
from compute_emulator.errors import JsonObject
from compute_emulator.rules.health import HEALTHY, Check


class InstanceRecord(TypedDict):
    """A managed instance at one moment. `status` is empty while there is no VM; `template` is a
    name; `alive` is the verdict of the group's own health check; `ready` says whether a backend
    service's check passes; `error` is the code of the last failed creation.
    """

    group: str
    region: str
    zone: str
    name: str
    template: str
    version: str
    status: str
    action: str
    alive: str
    ready: bool
    error: str | None


class InstanceView:
    """A managed instance. Every attribute is evaluated when it is read."""

    __slots__ = ("_group", "_instance")

    def __init__(self, group: GroupView, instance: ManagedInstance) -> None:
        self._group, self._instance = group, instance

    @property
    def name(self) -> str:
        return self._instance.name

    @property
    def zone(self) -> str:
        return self._instance.zone

    @property
    def template(self) -> str:
        """The name of its instance template."""
        return self._instance.revision.template.rpartition("/")[2]

    @property
    def status(self) -> str:
        """The VM's status; empty while there is no VM."""
        return self._instance.status

    @property
    def action(self) -> str:
        """`currentAction`, such as `NONE`, `CREATING` or `DELETING`."""
        return self._instance.action

    @property
    def is_running(self) -> bool:
        return self._instance.is_running

    @property
    def is_draining(self) -> bool:
        return self._instance.is_draining

    @property
    def is_alive(self) -> bool:
        """Whether the group's own health check passes."""
        return self._instance.liveness(self._group._liveness_check)[0] == HEALTHY

    @property
    def is_ready(self) -> bool:
        """Whether it runs and the check of at least one backend service passes."""
        return any(
            self._instance.readiness(check) == HEALTHY for check in self._group._readiness_checks
        )


class GroupView:
    """A managed instance group as it is now. Read it while no event runs: in process, or within
    `Emulator.paused()` if a server runs. Do not keep it: it reads the health checks once.
    """

    __slots__ = ("_cloud", "_group", "_liveness", "_readiness")

    def __init__(self, cloud: Cloud, group: Group) -> None:
        self._cloud, self._group = cloud, group
        self._readiness: list[Check] | None = None
        self._liveness: tuple[Check | None] | None = None

    @property
    def body(self) -> JsonObject:
        """The resource itself, as it is stored: without the members that a GET adds."""
        return self._group.resource

    @property
    def is_stable(self) -> bool:
        return self._group.is_stable()

    @property
    def instances(self) -> list[InstanceView]:
        """The instances, including those being created or deleted."""
        return [InstanceView(self, instance) for instance in self._group.instances.values()]

    @property
    def has_readiness_check(self) -> bool:
        """Whether a backend service with a health check uses the group."""
        return bool(self._readiness_checks)

    @property
    def _readiness_checks(self) -> list[Check]:
        """The checks of the backend services that use the group."""
        if self._readiness is None:
            self._readiness = [
                check
                for service in services_of(self._cloud, self._group.group_key)
                if (check := service_check(self._cloud, service)) is not None
            ]
        return self._readiness

    @property
    def _liveness_check(self) -> Check | None:
        """The group's own check."""
        if self._liveness is None:
            self._liveness = (self._group.check(),)
        return self._liveness[0]


class Method(NamedTuple):
    """The method of a request. `id` is for example `compute.urlMaps.patch`; `resource` is the
    resource's name in the path, empty if there is none.
    """

    id: str
    resource: str
    is_mutation: bool

    @property
    def verb(self) -> str:
        return self.id.rpartition(".")[2]


@lru_cache(maxsize=4096)
def method_of(http: str, target: str) -> Method | None:
    """The method of Compute v1 that a request calls, or None. `target` is a path or a URL."""
    path = wire.PREFIX.sub("", target.partition("?")[0]).strip("/")
    routed = discovery.route(http, tuple(unquote(segment) for segment in path.split("/")))
    if routed is None:
        return None
    method, values = routed
    return Method(method.id, values.get(method.name_parameter or "", ""), method.mutates)
