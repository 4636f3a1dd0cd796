"""`python -m local.compute`: the stand-in as a program of its own."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from local.compute import Cloud, ScaledClock, Server, VirtualClock
from local.compute.clock import Clock, RealClock
from local.compute.coverage import as_markdown
from local.compute.settings import configure

ABOUT = """\
A stand-in for Google Compute Engine: regional managed instance groups that really act (boot, get healthy, surge, roll,
heal, scale), with templates, health checks, load balancing and operations, spoken to by Google's own clients over the
Compute v1 REST API.
"""
USE = """\
with the Python client
  compute_v1.RegionInstanceGroupManagersClient(
      credentials=AnonymousCredentials(), client_options={"api_endpoint": "http://127.0.0.1:9100"})
  Use the *_unary methods and poll operations with clients that have the same endpoint.

with gcloud
  export CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE=http://127.0.0.1:9100/compute/v1/
  export CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true CLOUDSDK_CORE_PROJECT=demo CLOUDSDK_CORE_DISABLE_PROMPTS=1
  gcloud compute instance-groups managed list --regions=us-central1

its knobs
  curl -s http://127.0.0.1:9100/control                                   what there is
  curl -s http://127.0.0.1:9100/control/instances                         instances by template
  curl -s -X POST http://127.0.0.1:9100/control/load -d '{"my-group": {"cpu": 0.9}}'
  curl -s -X POST http://127.0.0.1:9100/control/stock-outs -d '{"us-central1-a": {}}'
  curl -s -X POST http://127.0.0.1:9100/control/traffic -d '{"template": "v2*", "latency_seconds": 0.3, "error_rate": 0.1}'
  curl -s -X POST http://127.0.0.1:9100/control/faults -d '{"kind": "error", "method": "compute.*.patch", "times": 1}'

settings by file (--config), the same as the knobs take
  {"behaviours": [{"image": "*broken*", "never_ready": true}], "load": {}, "stock_outs": {}, "quotas": {},
   "faults": [{"kind": "error", "error_class": "rate_limited", "method": "compute.*.patch", "nth": 3, "times": 1}],
   "traffic": [], "zones": {"us-central1-a": "DOWN"}, "operation_seconds": 2,
   "operation_seconds_by_method": {"compute.urlMaps.*": 30},
   "later": [{"after_seconds": 600, "post": "/instances", "body": {"effect": "preempt", "most": 2}}]}
  Every fault there is, by URL and by file: curl -s http://127.0.0.1:9100/control
"""


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.DEBUG if options.verbose else logging.INFO, format="%(asctime)s %(message)s")
    if options.coverage:
        print(as_markdown(), end="")
        return 0
    cloud = Cloud(
        project=options.project, clock=_clock(options.speed), seed=options.seed, operation_seconds=options.operation_seconds
    )
    try:
        for path in (options.config, options.behaviours):
            if path is not None:
                given = json.loads(path.read_text())
                configure(cloud, {"behaviours": given} if isinstance(given, list) else given)
    except (OSError, TypeError, ValueError) as wrong:
        print(f"cannot use the settings: {wrong}", file=sys.stderr)
        return 2
    with Server(cloud, options.port, options.host) as server, _data_plane(cloud, options):
        print(f"Compute Engine stand-in for project {cloud.project} on {server.url} (knobs: {server.url}/control)", flush=True)
        if options.data_plane:
            print(f"forwarding rules are served, each on a port of its own: {server.url}/control/data-plane", flush=True)
        try:
            server.join()
        except KeyboardInterrupt:
            print("stopped", flush=True)
    return 0


def _data_plane(cloud: Cloud, options: argparse.Namespace) -> AbstractContextManager[object]:
    if not options.data_plane:
        return nullcontext()
    from local.compute.traffic.plane import DataPlane

    return DataPlane(cloud, options.data_plane_host, options.seed)


def _clock(speed: float) -> Clock:
    if speed == 0:
        return VirtualClock()
    return RealClock() if speed == 1 else ScaledClock(speed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m local.compute", description=ABOUT, epilog=USE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--port", type=int, default=9100, help="port to listen on; 0 asks for a free one, which is printed (default 9100)")
    add("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    add("--project", default="demo", help="the one project there is (default demo)")
    add("--speed", type=float, default=1.0, help="seconds of cloud time in a real second; 0: POST /control/time (default 1)")
    add("--operation-seconds", type=float, default=0.0, help="how long an operation takes, in cloud time (default 0)")
    add("--seed", type=int, default=0, help="seed of everything random, such as instance names (default 0)")
    add("--behaviours", type=Path, metavar="FILE", help="how instances behave: JSON list, as /control/behaviours takes it")
    add("--config", type=Path, metavar="FILE", help="JSON settings, see below")
    add("--data-plane", action="store_true", help="serve traffic: forwarding rules and instances listen on ports of their own")
    add("--data-plane-host", default="127.0.0.1", help="address those ports listen on (default 127.0.0.1)")
    add("--coverage", action="store_true", help="print which methods of Compute v1 are built, and end")
    add("--verbose", action="store_true", help="log every request")
    return parser


if __name__ == "__main__":
    sys.exit(main())
