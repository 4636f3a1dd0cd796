"""The data plane: forwarding rules that listen, instances that answer, and what is measured between
them.

    client -> front.py (a port for each rule) -> routing.route -> balancer.py -> upstream.py -> app.py (a port for each VM)
                                                      ^                                              |
                              scene.py: what there is, of the cloud                  metrics.py, load for autoscalers

`plane.DataPlane` runs all of it on one event loop in a thread of its own. It is off unless started.
Traffic passes in real time, whatever the cloud's speed: latencies, time-outs and rates are of real
seconds; lives of instances, health and draining are of cloud time."""

from __future__ import annotations
