"""A small load generator: `python -m compute_emulator.traffic.load_generator URL --seconds 5
--connections 32 [--rate 200] [--header "x-stream-seconds: 6"]`.

Each of the kept connections sends its next request when the last one is answered, or all at a
common rate. It ends by itself, or at SIGINT or SIGTERM once the requests in flight are answered,
and reports responses by status and by release, and their durations. It accepts any certificate of
an https address.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import ssl
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from compute_emulator.traffic.http import Request
from compute_emulator.traffic.upstream import Broken, Upstream

TIMEOUT = 60.0


@dataclass
class Report:
    """The result of a load. A request without a response counts under status 0."""

    statuses: Counter[int] = field(default_factory=Counter)
    releases: Counter[str] = field(default_factory=Counter)
    durations: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def requests(self) -> int:
        return sum(self.statuses.values())

    def percentile(self, share: float) -> float:
        """Seconds within which that share of the responses arrived."""
        ordered = sorted(self.durations)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0

    def as_dict(self) -> dict[str, object]:
        return {
            "requests": self.requests,
            "rps": round(self.requests / self.seconds, 1) if self.seconds else 0.0,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "releases": dict(sorted(self.releases.items())),
            "milliseconds": {
                f"p{share}": round(1000 * self.percentile(share / 100), 2) for share in (50, 95, 99)
            },
        }


async def load(
    url: str,
    *,
    seconds: float = 5.0,
    connections: int = 16,
    rate: float | None = None,
    most: int | None = None,
    headers: dict[str, str] | None = None,
    is_stopping: Callable[[], bool] = lambda: False,
) -> Report:
    """Send requests to a URL until `seconds` have passed, `most` requests are sent, or
    `is_stopping`.
    """
    parts = urlsplit(url)
    tls = _trusting_context() if parts.scheme == "https" else None
    upstream = Upstream(parts.hostname or "127.0.0.1", parts.port or (443 if tls else 80), tls)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    report, began, sent = Report(), time.monotonic(), 0

    def has_ended() -> bool:
        is_late = time.monotonic() >= began + seconds
        return is_late or is_stopping() or (most is not None and sent >= most)

    async def one() -> None:
        nonlocal sent
        while not has_ended():
            number, sent = sent, sent + 1
            if rate:
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            started = time.monotonic()
            try:
                response = await upstream.send(
                    Request("GET", target, {"host": parts.netloc} | (headers or {})), TIMEOUT
                )
                if response.stream is not None:
                    await response.stream.read()
            except (Broken, TimeoutError):
                report.statuses[0] += 1
                continue
            report.durations.append(time.monotonic() - started)
            report.statuses[response.status] += 1
            report.releases[response.headers.get("x-release", "")] += 1

    await asyncio.gather(*(one() for _ in range(connections)))
    report.seconds = time.monotonic() - began
    upstream.close()
    return report


def _trusting_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "python -m compute_emulator.traffic.load_generator",
        description=(__doc__ or "").partition("\n")[0],
    )
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, default=5.0, help="seconds to run (default 5)")
    parser.add_argument(
        "--connections", type=int, default=16, help="number of connections (default 16)"
    )
    parser.add_argument(
        "--rate",
        type=float,
        help="requests per second over all connections (default: as fast as possible)",
    )
    parser.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="NAME: VALUE",
        help="a header of each request; may be repeated",
    )
    given = parser.parse_args(arguments)
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (each.partition(":") for each in given.header)
    }
    stops: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: stops.append(number))
    report = asyncio.run(
        load(
            given.url,
            seconds=given.seconds,
            connections=given.connections,
            rate=given.rate,
            headers=headers,
            is_stopping=lambda: bool(stops),
        )
    )
    print(json.dumps(report.as_dict(), indent=1))
    return 0 if report.requests else 1


if __name__ == "__main__":
    sys.exit(main())
