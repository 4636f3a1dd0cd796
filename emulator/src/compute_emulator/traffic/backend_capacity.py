"""How full the backends of a service are, and which ones get the next request. Pure apart from
the counts that `BackendFill` keeps.

Backends fill up tier by tier: preferred ones first, and within those region by region in the
order in which the service lists them (the first counts as nearest to the clients). Backends of a
tier share in proportion to their capacity. A request goes to the first tier with a healthy VM in
a backend that is not full. If all are full, all get more.

    RATE         full at maxRate, or at maxRatePerInstance per VM that takes requests,
                 times capacityScaler
    UTILIZATION  full when its workers are busy to maxUtilization, times capacityScaler;
                 a configured rate limits it too

Source: load-balancing/docs/backend-service, balancing modes and target capacity; Compute API
reference, Backend.preference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from compute_emulator.traffic.backend_rates import rate_of
from compute_emulator.traffic.topology import Backend, Service

BURST_SECONDS = 1.0
"""A backend counts as full only after a burst of this many seconds' worth of requests."""


@dataclass
class BackendFill:
    """What the backends of one service were sent recently."""

    _left: dict[str, tuple[float, float]] = field(default_factory=dict)

    def candidates(
        self, service: Service, load: Callable[[Backend], int], now: float
    ) -> Sequence[Backend]:
        """The VMs eligible for the next request. `now` is in seconds of any monotonic clock."""
        for tier in service.tiers:
            by_group: dict[str, list[Backend]] = {}
            for backend in tier:
                if backend.can_take:
                    by_group.setdefault(backend.group, []).append(backend)
            open_ones = [each for each in by_group.values() if not self._is_full(each, load, now)]
            if open_ones:
                return [backend for each in open_ones for backend in each]
        return service.backends

    def record_sent(self, backend: Backend) -> None:
        left, since = self._left.get(backend.group, (0.0, 0.0))
        self._left[backend.group] = (left - 1.0, since)

    def _is_full(
        self, backends: Sequence[Backend], load: Callable[[Backend], int], now: float
    ) -> bool:
        settings = backends[0].settings
        rate = rate_of(settings, len(backends))
        if rate is not None and self._refill(backends[0].group, rate, now) < 1.0:
            return True
        if settings.get("balancingMode") != "UTILIZATION":
            return False
        busy = sum(min(1.0, load(each) / each.vm.profile.concurrency) for each in backends) / len(
            backends
        )
        return busy >= float(settings.get("maxUtilization", 0.8)) * float(
            settings.get("capacityScaler", 1.0)
        )

    def _refill(self, group: str, rate: float, now: float) -> float:
        """The requests that a group may still get, refilled for the time since the last call."""
        maximum = max(1.0, rate * BURST_SECONDS)
        left, since = self._left.get(group, (maximum, now))
        left = min(maximum, left + (now - since) * rate)
        self._left[group] = (left, now)
        return left
