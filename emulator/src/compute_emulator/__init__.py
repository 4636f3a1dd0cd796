"""An emulator of Google Compute Engine: the Compute v1 REST API, with regional managed instance
groups that act as the real ones do.

Google's own clients use it over HTTP (`serve`) or in process (`InProcessAdapter`). It depends on
nothing else in this repository; see README.md."""

from __future__ import annotations

from compute_emulator.api.in_process import InProcessAdapter
from compute_emulator.api.server import Server, serve
from compute_emulator.engine.clock import RealClock, ScaledClock, VirtualClock
from compute_emulator.engine.cloud import Cloud

__all__ = [
    "Cloud",
    "InProcessAdapter",
    "RealClock",
    "ScaledClock",
    "Server",
    "VirtualClock",
    "serve",
]
