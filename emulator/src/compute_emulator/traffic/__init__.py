"""The data plane: forwarding rules that listen, instances that answer, and the measurements in
between.

    client -> listener.py (a port per rule) -> routing.route -> balancer.py -> upstream.py
                                                                    ^               |
              topology.py: what the cloud serves -------------------'               v
              metrics.py, load for the autoscalers <------- instance_app.py (a port per VM)

Responses stream: their heads are passed on at once, their bodies part by part
(`body_stream.BodyStream`). Changes of routes and services arrive after a settable time
(`engine/propagation.py`).

`data_plane.DataPlane` runs all of it on one event loop in its own thread. It is off unless
started. Traffic runs in real time, whatever the cloud's speed: latencies, timeouts and rates are
in real seconds; life cycles, health and draining are in cloud time.
"""

from __future__ import annotations
