"""The life cycle of one managed instance, phase by phase, from creation to deletion.

    CREATING            attempt -> [failed -> back-off -> attempt ...] -> STAGING -> RUNNING
                        (flex-start: PENDING instead of a failure)
    VERIFYING -> NONE   once the group's check has passed (at once without a check)
    DELETING            drain -> STOPPING -> gone
    RECREATING          the same, then an attempt under the same name
    RESTARTING          STOPPING -> STAGING -> RUNNING
    REFRESHING          a moment
    STOPPING            drain -> STOPPING -> TERMINATED: a standby VM
    SUSPENDING          the same, to SUSPENDED
    STARTING, RESUMING  from standby to STAGING -> RUNNING -> VERIFYING

`managed_instance.py` starts these phases; `instance.py` holds the state. The group is notified of
every change. Each event carries the number of its phase and is void once that phase is over. Health
is never polled: the time of the next verdict is known in advance (`rules/health.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from compute_emulator.control.behaviours import Behaviour
from compute_emulator.engine import instance_resource
from compute_emulator.engine.capacity import Failure
from compute_emulator.engine.cloud import Cloud
from compute_emulator.engine.instance import Instance
from compute_emulator.errors import JsonObject
from compute_emulator.keys import Key
from compute_emulator.rules.group import AWAY, Revision
from compute_emulator.rules.health import Check, next_change

ATTEMPT_SECONDS = 3.0
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 10.0, 300.0
PROVISIONING_SECONDS = 3.0
PENDING_SECONDS = 30.0


class Owner(Protocol):
    """What a VM asks of its group and reports to it."""

    key: Key

    def template(self, revision: Revision) -> JsonObject: ...
    def preserved_state(self, instance: Instance) -> JsonObject | None: ...
    def stateful_policy(self) -> JsonObject: ...
    def behaviour(self, instance: Instance) -> Behaviour: ...
    def creation_failure(self, instance: Instance) -> Failure | None: ...
    def repair_zone(self, instance: Instance) -> str: ...
    def check(self) -> Check | None: ...
    def drain_seconds(self) -> float: ...
    def on_instance_changed(self, instance: Instance) -> None: ...
    def on_instance_failed(self, instance: Instance, failure: Failure) -> None: ...
    def on_instance_gone(self, instance: Instance) -> None: ...


class Phases(Instance):
    """The phases that follow an action."""

    __slots__ = ("_attempts", "_is_repair", "_owner", "_phase", "_watch")

    def __init__(
        self,
        cloud: Cloud,
        owner: Owner,
        name: str,
        zone: str,
        revision: Revision,
        is_rebalancing: bool = False,
    ) -> None:
        super().__init__(cloud, name, zone, revision, is_rebalancing)
        self._owner = owner
        self._attempts = self._phase = self._watch = 0
        self._is_repair = False

    # Creation

    def _attempt(self) -> None:
        if self._is_repair:
            self.zone = self._owner.repair_zone(self)
        self.behaviour = self._owner.behaviour(self)
        failure = self._owner.creation_failure(self)
        if failure is None:
            self._create_vm()
            self._boot(is_new=True)
        elif failure.is_stock_out and self._scheduling().get("provisioningModel") == "FLEX_START":
            self._create_vm()
            self._set_status("PENDING")
            self._schedule(PENDING_SECONDS, self._attempt)
        else:
            self._schedule(ATTEMPT_SECONDS, lambda: self._on_attempt_failed(failure))

    def _create_vm(self) -> None:
        self.failure = None
        if self.resource is not None:
            return
        self.applied_config = self._owner.preserved_state(self)
        body = instance_resource.new_resource(
            self.cloud, self._owner.key, self.zone, self._source()
        )
        self.resource = self.cloud.new("compute#instance", self.key, {"name": self.name, **body})
        self.record_stateful_state()

    def record_stateful_state(self) -> None:
        """Record what the group's stateful policy preserves of the VM, for when it is recreated."""
        policy = self._owner.stateful_policy()
        if self.resource is not None:
            self.stateful_state = (
                instance_resource.stateful_state(policy, self.resource) if policy else None
            )

    def _source(self) -> instance_resource.InstanceSource:
        template = self._owner.template(self.revision)
        return instance_resource.InstanceSource(
            template,
            self.revision.overrides,
            self.machine_type,
            self.applied_config,
            self.stateful_state,
        )

    def _scheduling(self) -> JsonObject:
        found: JsonObject = (
            self._owner.template(self.revision).get("properties", {}).get("scheduling", {})
        )
        return found

    def _on_attempt_failed(self, failure: Failure) -> None:
        """The group retries forever; the delay doubles up to five minutes."""
        self.failure = failure
        pause = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(self._attempts, 10))
        self._attempts += 1
        self._schedule(pause, self._attempt)
        self._owner.on_instance_failed(self, failure)

    def _boot(self, is_new: bool = False) -> None:
        self.running_since, self._drain_until = 0.0, None
        if not is_new:
            self._apply_source()
        behaviour = self.behaviour = self.behaviour.jittered(self.cloud.random)
        self._set_status("PROVISIONING")
        self._schedule(
            min(PROVISIONING_SECONDS, behaviour.boot_seconds / 4),
            lambda: self._set_status("STAGING"),
        )
        self._schedule(behaviour.boot_seconds, self._on_running)

    def _on_running(self) -> None:
        cloud = self.cloud
        self.running_since = cloud.now()
        self.liveness_changes = self.behaviour.liveness_changes(self.running_since)
        self.readiness_changes = self.behaviour.readiness_changes(self.running_since)
        self._set_status("RUNNING")
        if self.resource is not None:
            self.resource["lastStartTimestamp"] = cloud.timestamp()
        self.action = "VERIFYING"
        if self.behaviour.stops_after_seconds is not None:
            self._schedule(self.behaviour.stops_after_seconds, self._shut_down)
        longest = self._scheduling().get("maxRunDuration")
        if longest:
            self.terminates_at = self.running_since + float(longest.get("seconds", 0))
            self._schedule(float(longest.get("seconds", 0)), self.stop_unexpectedly)
        self.watch()
        self._owner.on_instance_changed(self)

    # The group's health check

    def watch(self) -> None:
        """Notify the group of the next change of its health check's verdict."""
        self._watch += 1
        check = self._owner.check()
        if not self.is_running:
            return
        self._verify()
        if check is None:
            return
        due = next_change(self.probe_history(check), check, self.cloud.now())
        if due is not None:
            watch = self._watch
            self.cloud.at(due, lambda: self._on_verdict_changed() if watch == self._watch else None)

    def _on_verdict_changed(self) -> None:
        self.watch()
        self._owner.on_instance_changed(self)

    def _verify(self) -> None:
        """VERIFYING ends once the check has passed; without a check it ends at once."""
        check = self._owner.check()
        if self.action == "VERIFYING" and (check is None or self.liveness(check)[1]):
            self.action = "NONE"
            self.is_rebalancing = False

    # Update, drain, stop

    def _shut_down(self) -> None:
        """The guest shuts its VM down."""
        self.cloud.operations.start("compute.instances.guestTerminate", self.key, seconds=0.0)
        self.stop_unexpectedly()

    def stop_unexpectedly(self) -> None:
        """The VM stops without an action of the group, as on Spot preemption or a host error."""
        if self.resource is None or self.action in AWAY:
            return
        self._new_phase()
        self.is_failed = True
        self.running_since = 0.0
        if self._scheduling().get("instanceTerminationAction") == "DELETE":
            self._remove_vm()
        else:
            self.resource["status"] = "TERMINATED"
        if self.action != "NONE":
            self.action = "NONE"
        self._owner.on_instance_changed(self)

    def _apply_source(self) -> None:
        """Apply the current revision and per-instance config to the VM."""
        if self.resource is not None:
            self.applied_config = self._owner.preserved_state(self)
            instance_resource.apply_source(
                self.resource, self.cloud, self._owner.key, self.zone, self._source()
            )

    def _on_refreshed(self) -> None:
        if self.action == "REFRESHING":
            self._apply_source()
            self.action = "VERIFYING"
            self._verify()
            self._owner.on_instance_changed(self)

    def _enter_standby(self) -> None:
        self._set_status("TERMINATED" if self.standby == "STOPPED" else "SUSPENDED")
        self.action = "NONE"
        self._owner.on_instance_changed(self)

    def _take_down(self, then: Callable[[], None], drains: bool) -> None:
        """Drain before stopping: the balancer sends to the VM until it has left every backend."""
        self._new_phase()
        self.failure = None
        if self.resource is None:
            self._schedule(0.0, then)
            return
        drain = self._start_draining() if drains else 0.0
        if drain > 0:
            self._schedule(drain, lambda: self._stop(then))
        else:
            self._stop(then)

    def _start_draining(self) -> float:
        """Start draining and return the seconds it takes; 0 for a VM that serves nobody."""
        drain = self._owner.drain_seconds() if self.is_running else 0.0
        if self.behaviour.drain_seconds is not None:
            drain = min(drain, self.behaviour.drain_seconds)
        if drain > 0:
            self._drain_until = self.cloud.now() + drain
        return drain

    def _stop(self, then: Callable[[], None]) -> None:
        self._drain_until = None
        self.running_since = 0.0
        self._set_status("SUSPENDING" if self.action == "SUSPENDING" else "STOPPING")
        self._schedule(self.behaviour.delete_seconds, then)

    def _restart_creation(self) -> None:
        self._remove_vm()
        self.created_at = self.cloud.now()
        self._attempts = 0
        self._attempt()

    def _finish_deletion(self) -> None:
        self._remove_vm()
        self._owner.on_instance_gone(self)

    def _remove_vm(self) -> None:
        if self.resource is not None:
            self.cloud.remove(self.key)
            self.resource = None

    def _set_status(self, status: str) -> None:
        if self.resource is not None:
            self.resource["status"] = status

    # Events

    def _new_phase(self) -> None:
        self._phase += 1
        self._watch += 1

    def _schedule(self, seconds: float, run: Callable[[], None]) -> None:
        phase = self._phase
        self.cloud.after(seconds, lambda: run() if phase == self._phase else None)
