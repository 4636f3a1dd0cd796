"""A stand-in for Compute Engine: the Compute v1 REST API with regional managed instance groups that act.

It speaks to Google's own clients over HTTP (`serve`) or in process (`InProcessAdapter`). It stands by itself; see
README.md.
"""

from __future__ import annotations

from local.compute import instance_controls as instance_controls
from local.compute import knobs as knobs
from local.compute import later as later
from local.compute import outages as outages
from local.compute.clock import RealClock, ScaledClock, VirtualClock
from local.compute.cloud import Cloud
from local.compute.in_process import InProcessAdapter
from local.compute.server import Server, serve
from local.compute.traffic import controls as traffic_controls

assert traffic_controls  # registers the controls of the data plane
__all__ = ["Cloud", "InProcessAdapter", "RealClock", "ScaledClock", "Server", "VirtualClock", "serve"]
