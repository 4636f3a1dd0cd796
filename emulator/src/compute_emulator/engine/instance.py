"""The state of one managed instance, and what the updater sees of it. It changes nothing; its life
cycle is in `phases.py`.
"""

from __future__ import annotations

from compute_emulator.control.behaviours import DEFAULT
from compute_emulator.engine.capacity import Failure
from compute_emulator.engine.cloud import Cloud
from compute_emulator.errors import JsonObject
from compute_emulator.keys import Key
from compute_emulator.rules.group import Disruption, Member, Revision
from compute_emulator.rules.health import (
    UNHEALTHY,
    UNKNOWN,
    Check,
    ProbeHistory,
    verdict_and_was_healthy,
)


class Instance:
    """`resource` is the VM in the zone's table while it exists. `standby` is STOPPED or SUSPENDED
    for a standby VM, else empty.
    """

    __slots__ = (
        "_drain_until",
        "action",
        "applied_config",
        "behaviour",
        "cloud",
        "created_at",
        "failure",
        "is_failed",
        "is_rebalancing",
        "is_replaced",
        "liveness_changes",
        "machine_type",
        "name",
        "readiness_changes",
        "resource",
        "revision",
        "running_since",
        "standby",
        "stateful_state",
        "terminates_at",
        "zone",
    )

    def __init__(
        self, cloud: Cloud, name: str, zone: str, revision: Revision, is_rebalancing: bool
    ) -> None:
        self.cloud = cloud
        self.name, self.zone, self.revision = name, zone, revision
        self.action = "CREATING"
        self.is_failed = self.is_replaced = False
        self.is_rebalancing = is_rebalancing
        self.created_at = cloud.now()
        self.running_since = 0.0
        self.liveness_changes: tuple[float, ...] = ()
        self.readiness_changes: tuple[float, ...] = ()
        self.behaviour = DEFAULT
        self.failure: Failure | None = None
        self.resource: JsonObject | None = None
        self.standby = ""  # set as soon as it is requested
        self.machine_type = ""  # chosen from those the group allows; empty: the template's
        # The part of its per-instance config that the VM has.
        self.applied_config: JsonObject | None = None
        # What the group's stateful policy preserves of it.
        self.stateful_state: JsonObject | None = None
        self.terminates_at: float | None = None
        self._drain_until: float | None = None

    @property
    def key(self) -> Key:
        return Key(f"zones/{self.zone}", "instances", self.name)

    @property
    def status(self) -> str:
        """The VM's status; empty while there is no VM."""
        return str(self.resource["status"]) if self.resource is not None else ""

    @property
    def is_running(self) -> bool:
        return self.status == "RUNNING" and not self.is_failed

    @property
    def is_draining(self) -> bool:
        return self._drain_until is not None

    def liveness(self, check: Check | None) -> tuple[str, bool]:
        """The verdict of the group's health check, and whether it was ever healthy since the last
        start.
        """
        if check is None or not self.running_since or self.resource is None:
            return UNKNOWN, False
        return verdict_and_was_healthy(self.probe_history(check), check, self.cloud.now())

    def detailed_health(self, check: Check | None) -> str:
        """The group's check in the API's terms. UNHEALTHY: the app responds with errors. TIMEOUT:
        it does not respond.
        """
        if self.is_draining:
            return "DRAINING"
        verdict = self.liveness(check)[0]
        is_there = ProbeHistory(self.running_since, self.liveness_changes).at(self.cloud.now())
        return "TIMEOUT" if verdict == UNHEALTHY and not is_there else verdict

    def probe_history(self, check: Check) -> ProbeHistory:
        return ProbeHistory(
            self.running_since,
            self.readiness_changes if check.probes_readiness else self.liveness_changes,
        )

    def readiness(self, check: Check, since: float = 0.0) -> str:
        """The verdict of the load balancer's health check, which has probed since `since`, or since
        the VM runs if that is later.
        """
        if not self.running_since or not self.is_running:
            return UNKNOWN
        return verdict_and_was_healthy(
            ProbeHistory(max(self.running_since, since), self.readiness_changes),
            check,
            self.cloud.now(),
        )[0]

    def member(self, check: Check | None, config_need: Disruption = Disruption.NONE) -> Member:
        """What the updater sees of it, given the group's health check."""
        verdict, was_healthy = self.liveness(check)
        return Member(
            name=self.name,
            zone=self.zone,
            revision=self.revision,
            action=self.action,
            is_running=self.is_running,
            health=verdict,
            was_healthy=was_healthy,
            is_failed=self.is_failed,
            is_replaced=self.is_replaced,
            is_rebalancing=self.is_rebalancing,
            is_stranded=self.resource is None
            and self.failure is not None
            and self.failure.is_stock_out,
            created_at=self.created_at,
            running_since=self.running_since,
            config_need=config_need,
        )
