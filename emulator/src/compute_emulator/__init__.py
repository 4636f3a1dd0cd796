"""A stand-in for Compute Engine: the Compute v1 REST API with regional managed instance groups that
act.

It speaks to Google's own clients over HTTP (`serve`) or in process (`InProcessAdapter`). It stands
by itself; see README.md."""

from __future__ import annotations

from compute_emulator.api.in_process import InProcessAdapter
from compute_emulator.api.server import Server, serve
from compute_emulator.control import instances, outages, scheduled, settings  # noqa: F401
from compute_emulator.engine.clock import RealClock, ScaledClock, VirtualClock
from compute_emulator.engine.cloud import Cloud
from compute_emulator.traffic import controls as traffic_controls

assert traffic_controls  # registers the controls of the data plane
__all__ = [
    "Cloud",
    "InProcessAdapter",
    "RealClock",
    "ScaledClock",
    "Server",
    "VirtualClock",
    "serve",
]
