"""The values that a managed instance group and its updater exchange: intent, members, next
steps.

`group_state.py` builds them from resources and instances; `updater.py` reads them. All are
frozen.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum

from compute_emulator.rules.sizes import Size, rounded_up, split


class Disruption(IntEnum):
    """What an update does to a VM, mildest first, in the order of the API's enum of the same
    names.
    """

    NONE = 0
    REFRESH = 1
    RESTART = 2
    REPLACE = 3


@dataclass(frozen=True)
class Overrides:
    """What a group's all-instances configuration sets; it overrides the templates."""

    metadata: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Revision:
    """What a VM is created from. Two revisions of one template differ by version name: that is
    how a restart is requested.
    """

    template: str
    name: str | None = None
    overrides: Overrides | None = None

    @property
    def version(self) -> tuple[str, str | None]:
        """The version, as in `versions`. The all-instances configuration is reported separately."""
        return self.template, self.name


@dataclass(frozen=True)
class Version:
    revision: Revision
    size: Size | None = None


@dataclass(frozen=True)
class Healing:
    """When the group repairs a VM by itself."""

    has_check: bool = False
    initial_delay_seconds: float = 0.0
    repairs_failed: bool = True
    repairs_unhealthy: bool = True
    takes_newest: bool = False  # forceUpdateOnRepair
    changes_zone: bool = False  # onRepair.allowChangingZone


THREE = Size(fixed=3)


@dataclass(frozen=True)
class Intent:
    """What the group's resource asks for."""

    target_size: int
    versions: tuple[Version, ...]
    zones: tuple[str, ...]
    is_proactive: bool = True
    surge: Size = THREE
    unavailable: Size = THREE
    minimal: Disruption = Disruption.REPLACE
    most_disruptive: Disruption = Disruption.REPLACE
    substitutes: bool = True
    shape: str = "EVEN"
    redistributes: bool = True
    healing: Healing = Healing()

    def desired(self) -> Counter[Revision]:
        """VMs per revision."""
        counts: Counter[Revision] = Counter()
        for version, n in zip(
            self.versions, split([v.size for v in self.versions], self.target_size), strict=True
        ):
            counts[version.revision] += n
        return counts

    def desired_versions(self) -> Counter[tuple[str, str | None]]:
        """VMs per version, without versions that have none."""
        counts: Counter[tuple[str, str | None]] = Counter()
        for revision, n in self.desired().items():
            counts[revision.version] += n
        return +counts

    @property
    def max_surge(self) -> int:
        return (
            rounded_up(self.surge, self.target_size)
            if self.is_proactive and self.substitutes
            else 0
        )

    @property
    def floor(self) -> int:
        """The number of available VMs that an update must leave."""
        return max(0, self.target_size - rounded_up(self.unavailable, self.target_size))


LEAVING = frozenset({"DELETING", "ABANDONING"})
AWAY = LEAVING | {"STOPPING", "SUSPENDING"}
"""The actions of a VM that will soon stop serving."""
SETTLED = "NONE"


@dataclass(frozen=True)
class Member:
    """One managed instance as the updater sees it. `action` is the API's currentAction."""

    name: str
    zone: str
    revision: Revision
    action: str = SETTLED
    is_running: bool = True
    health: str = "UNKNOWN"  # by the group's own check: HEALTHY, UNHEALTHY, TIMEOUT, UNKNOWN
    was_healthy: bool = False  # since it was last created or started
    is_failed: bool = False  # stopped or deleted by something other than the group
    # Deleted because an update replaces it, not because the group shrinks.
    is_replaced: bool = False
    is_rebalancing: bool = False  # created to balance the zones and never available yet
    is_stranded: bool = False  # its creation failed because its zone has no capacity
    # What it takes to apply its per-instance config, if that has changed.
    config_need: Disruption = Disruption.NONE
    created_at: float = 0.0
    running_since: float = 0.0

    @property
    def is_leaving(self) -> bool:
        return self.action in LEAVING

    def is_available(self, has_check: bool) -> bool:
        """Source: API reference, maxUnavailable: RUNNING, and HEALTHY at least once if the group
        has a check.

        A VM that is unhealthy now is unavailable too: unhealthy VMs use up the budget of an
        update.
        """
        if (
            not self.is_running
            or self.is_failed
            or self.action not in ("NONE", "REFRESHING", "VERIFYING")
        ):
            return False
        return not has_check or (self.was_healthy and self.health not in ("UNHEALTHY", "TIMEOUT"))


@dataclass(frozen=True)
class Create:
    zone: str
    revision: Revision
    why: str
    is_move: bool = False


@dataclass(frozen=True)
class Delete:
    name: str
    why: str
    is_replaced: bool = False


@dataclass(frozen=True)
class Recreate:
    """Delete and create again under the same name. A repair is one too."""

    name: str
    revision: Revision
    why: str
    is_repair: bool = False


@dataclass(frozen=True)
class InPlace:
    """Give a VM its new revision without replacing it; `how` is NONE, REFRESH or RESTART."""

    name: str
    revision: Revision
    how: Disruption
    why: str


Step = Create | Delete | Recreate | InPlace


@dataclass(frozen=True)
class Plan:
    """What to do now.

    `is_pending`: more will follow once a budget allows. `recheck_at`: when to plan again even if
    nothing happens.
    """

    steps: tuple[Step, ...] = ()
    is_pending: bool = False
    recheck_at: float | None = None
    why: tuple[str, ...] = field(default=())
