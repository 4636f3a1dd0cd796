"""The actions on one managed instance, by its group and from outside. The phases that follow are in
`phases.py`.
"""

from __future__ import annotations

from compute_emulator.engine.phases import Phases
from compute_emulator.rules.group import Disruption, Revision
from compute_emulator.rules.health import changes_from_now

REFRESH_SECONDS = 2.0
ABANDON_SECONDS = 1.0


class ManagedInstance(Phases):
    """One managed instance."""

    __slots__ = ()

    @property
    def is_held(self) -> bool:
        """Only an entry in the group so far: its creation has not been requested."""
        return self._phase == 0

    # By the group

    def create(self) -> None:
        self._attempts = 0
        self._new_phase()
        self._attempt()

    def delete(self, is_replaced: bool = False) -> None:
        """Drain, stop, delete. A creation that has produced no VM yet ends at once."""
        if self.action in ("DELETING", "ABANDONING"):
            return
        self.action, self.is_replaced = "DELETING", is_replaced
        self._take_down(self._finish_deletion, drains=True)

    def recreate(self, revision: Revision, is_repair: bool = False) -> None:
        """Delete and create under the same name. A repair does not drain: the VM serves nobody."""
        self.action, self.revision, self.is_failed, self._is_repair = (
            "RECREATING",
            revision,
            False,
            is_repair,
        )
        self._take_down(self._restart_creation, drains=not is_repair)

    def update(self, revision: Revision, how: Disruption) -> None:
        """Update to a revision without replacing the VM."""
        self.revision = revision
        if how is Disruption.RESTART:
            self.action, self.behaviour = "RESTARTING", self._owner.behaviour(self)
            self._take_down(self._boot, drains=False)
        elif how is Disruption.REFRESH:
            self.action = "REFRESHING"
            self._schedule(REFRESH_SECONDS, self._on_refreshed)

    def stand_by(self, how: str, delay: float = 0.0) -> None:
        """Drain, then stop (`how` is STOPPED) or suspend (SUSPENDED) after a delay; it stays in the
        group as a standby VM.
        """
        self.standby, self.action = how, "STOPPING" if how == "STOPPED" else "SUSPENDING"
        self._schedule(delay, lambda: self._take_down(self._enter_standby, drains=True))

    def resume(self) -> None:
        """Return a standby VM to service; it is verified as after a creation."""
        self.action = "STARTING" if self.standby == "STOPPED" else "RESUMING"
        self.standby, self.behaviour = "", self._owner.behaviour(self)
        self._new_phase()
        self._boot()

    def abandon(self) -> None:
        """Drain, leave the group, and keep running."""
        self.action = "ABANDONING"
        self._new_phase()
        self._schedule(
            max(ABANDON_SECONDS, self._start_draining()), lambda: self._owner.on_instance_gone(self)
        )

    # From outside

    def set_health(self, alive: bool | None = None, ready: bool | None = None) -> None:
        """Pass or fail the group's health check (`alive`) or the load balancer's (`ready`) from now
        on.
        """
        now = self.cloud.now()
        if alive is not None:
            self.liveness_changes = changes_from_now(self.liveness_changes, alive, now)
        if ready is not None:
            self.readiness_changes = changes_from_now(self.readiness_changes, ready, now)
        if alive is False:
            self.readiness_changes = changes_from_now(self.readiness_changes, False, now)
        if alive is not None:
            self.watch()  # last, since the group's check may probe the readiness path
