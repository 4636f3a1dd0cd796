"""What is done to one managed instance, by its group and from outside. What then becomes of it is
in `phases.py`."""

from __future__ import annotations

from compute_emulator.engine.phases import Phases
from compute_emulator.rules.group import Disruption, Revision
from compute_emulator.rules.health import changes_from_now

REFRESH_SECONDS = 2.0
ABANDON_SECONDS = 1.0


class ManagedInstance(Phases):
    """One managed instance in action."""

    __slots__ = ()

    @property
    def is_held(self) -> bool:
        """Only a place in the group so far: nobody has asked to make it."""
        return self._phase == 0

    # By the group

    def create(self) -> None:
        self._attempts = 0
        self._new_phase()
        self._attempt()

    def delete(self, is_replaced: bool = False) -> None:
        """Drain, stop, go. A creation that has made nothing yet goes at once."""
        if self.action in ("DELETING", "ABANDONING"):
            return
        self.action, self.is_replaced = "DELETING", is_replaced
        self._take_down(self._gone, drains=True)

    def recreate(self, revision: Revision, is_repair: bool = False) -> None:
        """Delete and create under the same name. A repair does not drain: nobody is served."""
        self.action, self.revision, self.is_failed, self._is_repair = (
            "RECREATING",
            revision,
            False,
            is_repair,
        )
        self._take_down(self._restart_creation, drains=not is_repair)

    def update(self, revision: Revision, how: Disruption) -> None:
        """Take on a revision without being replaced."""
        self.revision = revision
        if how is Disruption.RESTART:
            self.action, self.behaviour = "RESTARTING", self._owner.behaviour(self)
            self._take_down(self._boot, drains=False)
        elif how is Disruption.REFRESH:
            self.action = "REFRESHING"
            self._later(REFRESH_SECONDS, self._on_refreshed)

    def stand_by(self, how: str, delay: float = 0.0) -> None:
        """Stop (`how` is STOPPED) or suspend (SUSPENDED) after a delay, drained, and stay in the
        group in reserve."""
        self.standby, self.action = how, "STOPPING" if how == "STOPPED" else "SUSPENDING"
        self._later(delay, lambda: self._take_down(self._enter_standby, drains=True))

    def wake(self) -> None:
        """From reserve back to serving; verified as after a creation."""
        self.action = "STARTING" if self.standby == "STOPPED" else "RESUMING"
        self.standby, self.behaviour = "", self._owner.behaviour(self)
        self._new_phase()
        self._boot()

    def abandon(self) -> None:
        """Leave the group, drained, and go on running."""
        self.action = "ABANDONING"
        self._new_phase()
        self._later(
            max(ABANDON_SECONDS, self._begin_to_drain()), lambda: self._owner.on_instance_gone(self)
        )

    # From outside

    def set_health(self, alive: bool | None = None, ready: bool | None = None) -> None:
        """From now on answer the group's check, or the load balancer's, well or badly."""
        now = self.cloud.now()
        if alive is not None:
            self.liveness_changes = changes_from_now(self.liveness_changes, alive, now)
            self.watch()
        if ready is not None:
            self.readiness_changes = changes_from_now(self.readiness_changes, ready, now)
        if alive is False:
            self.readiness_changes = changes_from_now(self.readiness_changes, False, now)
