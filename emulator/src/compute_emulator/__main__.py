"""`python -m compute_emulator`: the emulator as a program."""

from __future__ import annotations

import argparse
import json
import logging
import math
import re
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from compute_emulator import Cloud, ScaledClock, Server, VirtualClock
from compute_emulator.api.coverage import as_markdown
from compute_emulator.api.discovery import document
from compute_emulator.control.config_file import REALISTIC_TIMES, configure
from compute_emulator.engine.clock import Clock, RealClock

ABOUT = """\
An emulator of Google Compute Engine: regional managed instance groups that act (boot, become
healthy, surge, roll, heal, scale), with templates, health checks, load balancing and operations.
Google's own clients use it over the Compute v1 REST API.
"""
USE = """\
with the Python client
  compute_v1.RegionInstanceGroupManagersClient(
      credentials=AnonymousCredentials(),
      client_options={"api_endpoint": "http://127.0.0.1:9100"})
  Use the *_unary methods, and poll operations with clients that have the same endpoint.

with gcloud
  export CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE=http://127.0.0.1:9100/compute/v1/
  export CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true CLOUDSDK_CORE_PROJECT=demo
  export CLOUDSDK_CORE_DISABLE_PROMPTS=1
  gcloud compute instance-groups managed list --regions=us-central1

controls
  curl -s http://127.0.0.1:9100/control                  list the controls
  curl -s http://127.0.0.1:9100/control/instances        instances by template
  curl -s -X POST http://127.0.0.1:9100/control/load -d '{"my-group": {"cpu": 0.9}}'
  curl -s -X POST http://127.0.0.1:9100/control/stock-outs -d '{"us-central1-a": {}}'
  curl -s -X POST http://127.0.0.1:9100/control/traffic -d '{"template": "v2*", "error_rate": 0.1}'
  curl -s -X POST http://127.0.0.1:9100/control/faults -d '{"kind": "latency", "seconds": 1}'

settings file (--config), with the same values as the controls
  {"behaviours": [{"image": "*broken*", "never_ready": true}],
   "load": {}, "stock_outs": {}, "quotas": {}, "catalogue": {}, "service_accounts": {},
   "faults": [{"kind": "error", "error_class": "rate_limited", "method": "compute.*.patch",
               "nth": 3, "times": 1}],
   "traffic": [], "zones": {"us-central1-a": "DOWN"}, "operation_seconds": 2,
   "operation_seconds_by_method": {"compute.urlMaps.*": 30},
   "propagation_seconds": 60, "certificate_seconds": 1200,
   "later": [{"after_seconds": 600, "post": "/instances",
              "body": {"effect": "preempt", "most": 2}}]}
  GET /control lists every kind of fault, by control and by file.
"""


def main(arguments: list[str] | None = None) -> int:
    """Returns 0 when stopped by Ctrl-C or SIGTERM, and 2 if it cannot start, with a message."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.INFO, format="%(asctime)s %(message)s"
    )
    if options.coverage:
        print(as_markdown(), end="")
        return 0
    cloud = Cloud(
        project=options.project,
        clock=_clock(options.speed),
        seed=options.seed,
    )
    if options.realistic_times:
        configure(cloud, REALISTIC_TIMES)
    if options.operation_seconds is not None:
        cloud.operations.seconds = options.operation_seconds
    try:
        for path, name in ((options.config, ""), (options.behaviours, "behaviours")):
            if path is not None:
                apply_file(cloud, path, name)
        server = Server(cloud, options.port, options.host)
    except _Unusable as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"cannot listen on {options.host}:{options.port}: {error}; --port 0 takes a free port",
            file=sys.stderr,
        )
        return 2
    _serve(server, options)
    return 0


class _Unusable(Exception):
    """A settings file that cannot be used, and why."""


def apply_file(cloud: Cloud, path: Path, member: str) -> None:
    """Apply a settings file; with `member`, the file may hold that member's value alone."""
    try:
        given = json.loads(path.read_text())
        configure(cloud, {member: given} if member and isinstance(given, list) else given)
    except (OSError, ValueError) as error:
        raise _Unusable(f"cannot use the settings in {path}: {error}") from error


def _serve(server: Server, options: argparse.Namespace) -> None:
    # Containers send SIGTERM; a shell script's background jobs ignore SIGINT.
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.default_int_handler)
    try:
        with server, _data_plane(server.cloud, options):
            print(
                f"Compute Engine emulator for project {options.project} on {server.url} (controls:"
                f" {server.url}/control)",
                flush=True,
            )
            if options.data_plane:
                print(
                    "forwarding rules are served, each on its own port: "
                    f" {server.url}/control/data-plane",
                    flush=True,
                )
            server.join()
    except KeyboardInterrupt:
        print("stopped", flush=True)


def _data_plane(cloud: Cloud, options: argparse.Namespace) -> AbstractContextManager[object]:
    if not options.data_plane:
        return nullcontext()
    from compute_emulator.traffic.data_plane import DataPlane

    return DataPlane(cloud, options.data_plane_host, options.seed)


def _clock(speed: float) -> Clock:
    if speed == 0:
        return VirtualClock()
    return RealClock() if speed == 1 else ScaledClock(speed)


def _number(
    low: float, high: float = math.inf, kind: Callable[[str], float] = float
) -> Callable[[str], float]:
    """An argument type: a number from `low` to `high`."""

    def read(text: str) -> float:
        number = kind(text)
        if not low <= number <= high or not math.isfinite(number):
            raise argparse.ArgumentTypeError(
                f"{text} is not {f'from {low} to {high}' if high < math.inf else f'{low} or more'}"
            )
        return number

    read.__name__ = "number"  # argparse uses the name in its message
    return read


def _project(text: str) -> str:
    pattern = document()["resources"]["zones"]["methods"]["get"]["parameters"]["project"]["pattern"]
    if not re.fullmatch(pattern, text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a project id: letters, digits and hyphens, such as demo or"
            " example.com:demo"
        )
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m compute_emulator",
        description=ABOUT,
        epilog=USE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--port",
        type=_number(0, 65535, int),
        default=9100,
        help="port to listen on; 0 picks a free one and prints it (default 9100)",
    )
    add("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    add("--project", type=_project, default="demo", help="the only project (default demo)")
    add(
        "--speed",
        type=_number(0),
        default=1.0,
        help="seconds of cloud time per real second; 0: use POST /control/time (default 1)",
    )
    add(
        "--operation-seconds",
        type=_number(0),
        help="how long an operation takes, in cloud time (default 0)",
    )
    add(
        "--realistic-times",
        action="store_true",
        help="operations take 3 s (URL maps 15 s, one after the other), the data plane follows a"
        " change after 60 s, and managed certificates are PROVISIONING for 20 minutes (default:"
        " all at once); the settings file and --operation-seconds take precedence",
    )
    add(
        "--seed",
        type=int,
        default=0,
        help="random seed, for instance names and the like (default 0)",
    )
    add(
        "--behaviours",
        type=Path,
        metavar="FILE",
        help="how instances behave: a JSON list as for /control/behaviours",
    )
    add("--config", type=Path, metavar="FILE", help="JSON settings, see below")
    add(
        "--data-plane",
        action="store_true",
        help="serve traffic: each forwarding rule and instance listens on its own port",
    )
    add(
        "--data-plane-host",
        default="127.0.0.1",
        help="address that these ports listen on (default 127.0.0.1)",
    )
    add(
        "--coverage",
        action="store_true",
        help="print which methods of Compute v1 are implemented, and exit",
    )
    add("--verbose", action="store_true", help="log every request")
    return parser


if __name__ == "__main__":
    sys.exit(main())
