"""An emulator of Google Compute Engine: the Compute v1 REST API, with regional managed instance
groups that act as the real ones do.

Google's own clients use it over HTTP (`Emulator.serve`) or in process (`Emulator.adapter`). The
names in `__all__` are its public interface; see README.md.
"""

from __future__ import annotations

# What `Emulator` combines; not part of the public interface.
from compute_emulator.api.in_process import InProcessAdapter as InProcessAdapter
from compute_emulator.api.request import Request
from compute_emulator.api.server import Server
from compute_emulator.api.server import serve as serve
from compute_emulator.api.wire import Response
from compute_emulator.control.faults import Fault, Faults
from compute_emulator.emulator import Emulator, RequestRefused
from compute_emulator.engine.call_log import CallLog, LoggedCall
from compute_emulator.engine.clock import Clock, RealClock, ScaledClock, VirtualClock
from compute_emulator.engine.cloud import Cloud as Cloud
from compute_emulator.engine.regions import REGIONS
from compute_emulator.errors import ConnectionDropped
from compute_emulator.inspection import GroupView, InstanceRecord, InstanceView, Method, method_of
from compute_emulator.keys import Key
from compute_emulator.rules.url_map_limits import url_map_excess
from compute_emulator.traffic.data_plane import DataPlane
from compute_emulator.traffic.metrics import Metrics
from compute_emulator.traffic.routing import Destination, apply_rewrite, route

__all__ = [
    "REGIONS",
    "CallLog",
    "Clock",
    "ConnectionDropped",
    "DataPlane",
    "Destination",
    "Emulator",
    "Fault",
    "Faults",
    "GroupView",
    "InstanceRecord",
    "InstanceView",
    "Key",
    "LoggedCall",
    "Method",
    "Metrics",
    "RealClock",
    "Request",
    "RequestRefused",
    "Response",
    "ScaledClock",
    "Server",
    "VirtualClock",
    "apply_rewrite",
    "method_of",
    "route",
    "url_map_excess",
]
