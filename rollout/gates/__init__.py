"""The gates of each phase, in the order in which their reasons are reported.

To add one: a module beside this one that implements `base.Gate`, and an entry in one of these
lists.
"""

from __future__ import annotations

from rollout.gates.approval import ApprovalGate
from rollout.gates.bake import BakeGate
from rollout.gates.base import Gate
from rollout.gates.health import HealthGate
from rollout.gates.metrics import MetricsGate
from rollout.gates.requests import RequestsGate
from rollout.gates.traffic import TrafficGate
from rollout.gates.watch import WatchGate

STEP_GATES: tuple[Gate, ...] = (
    HealthGate(),
    TrafficGate(),
    RequestsGate(),
    MetricsGate(),
    ApprovalGate(),
)
BAKE_GATES: tuple[Gate, ...] = (BakeGate(), TrafficGate(), MetricsGate())
WATCH_GATES: tuple[Gate, ...] = (WatchGate(), MetricsGate())
