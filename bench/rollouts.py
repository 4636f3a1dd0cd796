"""Counts the requests that fail while Slipway rolls a model's releases out.

Slipway's local stack runs with the emulator's data plane. A load generator in another process sends
requests to the model's address all the time: `wrk` if it is installed, else the emulator's own.
Another one keeps streams open. The URL map takes `PROPAGATION_SECONDS` to reach the data plane, and
connections drain for `DRAINING_SECONDS`. All times are those of the stack, of which `SPEED` seconds
pass in a real one.

    journey      what happens                                   must hold
    canary       a good release takes over by weight            no request fails
    blue/green   a good release is previewed and switched       no request fails
    rollback     a good canary is aborted at 50 %              no request fails
    bad canary   a fifth of the answers are errors; it crashes  failed <= share x requests while
                                                                it had any
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.results import Row, row
from local.stack import RELEASES, Stack
from local.watch import weights

ROOT = Path(__file__).resolve().parent.parent
MODEL, IMAGE = "tiny", "us-docker.pkg.dev/demo/models/tiny"
SPEED = 20.0
PROPAGATION_SECONDS, DRAINING_SECONDS, STREAM_SECONDS = 60.0, 60, 120.0
LATENCY_SECONDS = 0.02  # real
CONNECTIONS, STREAMS, LEAST_RATE = 16, 6, 200
LIMIT_SECONDS = 150.0  # real, for one release
POLL_SECONDS, WARM_SECONDS = 0.05, 1.0
GROUPS = (f"slipway-{MODEL}-blue", f"slipway-{MODEL}-green")
BAD = "-bad"
WELL = {"boot_seconds": 30, "ready_after_seconds": 10, "latency_seconds": LATENCY_SECONDS}
BEHAVIOURS: list[dict[str, Any]] = [{"image": f"*{BAD}*", "error_rate": 0.2} | WELL, WELL]
DEAD = {"image": f"*{BAD}*", "never_ready": True} | WELL
STEPS = [
    {"weight": 5, "hold_seconds": 60},
    {"weight": 50, "hold_seconds": 60},
    {"weight": 100, "hold_seconds": 30},
]
CANARY = {
    "strategy": "canary",
    "steps": STEPS,
    "bake_seconds": 60,
    "watch_seconds": 0,
    "keep_old_seconds": 60,
}
BLUE_GREEN = CANARY | {
    "strategy": "blue_green",
    "steps": [{"preview": True, "hold_seconds": 30}, {"weight": 100, "hold_seconds": 30}],
}
FIRST = {
    "scaling": {"min": 4, "max": 12},
    "traffic": {"draining_seconds": DRAINING_SECONDS},
    "rollout": CANARY,
}


@dataclass(frozen=True)
class Counts:
    """What load generators received. A stream that ends early has failed."""

    requests: int
    failed: int
    seconds: float


@dataclass(frozen=True)
class Moment:
    """The weights in the URL map by group, the requests that the load balancer has answered, and
    those that the instances of each group have got, at one time of the stack's clock.
    """

    at: float
    weights: Mapping[str, int]
    answered: int
    by_group: Mapping[str, int]


@dataclass(frozen=True)
class Course:
    """One release under load. `moments` are in order; `group` is the candidate's."""

    outcome: str
    plain: Counts
    streams: Counts
    moments: tuple[Moment, ...]
    group: str
    stopped_at: float | None = None
    promised: int | None = None

    def exposure(self) -> tuple[float, float]:
        """The requests that the weights gave the candidate, and for how many seconds they gave it
        any. The load balancer follows the URL map with a delay.
        """
        expected = seconds = 0.0
        for before, after in pairwise(self.moments):
            share = self._weight_at(before.at - PROPAGATION_SECONDS) / 1000
            expected += share * (after.answered - before.answered)
            seconds += (after.at - before.at) * bool(share)
        return expected, seconds

    def _weight_at(self, at: float) -> int:
        earlier = [moment for moment in self.moments if moment.at <= at]
        return earlier[-1].weights.get(self.group, 0) if earlier else 0

    def last_request_at(self) -> float:
        """When the candidate got its last request."""
        counts = [(moment.at, moment.by_group.get(self.group, 0)) for moment in self.moments]
        changes = [at for (_, before), (at, after) in pairwise(counts) if after > before]
        return changes[-1] if changes else self.moments[0].at


def measure() -> tuple[Row, ...]:
    """All journeys, one after the other, in one stack."""
    with Stack(SPEED, embedded=True) as stack, stack.emulator.data_plane() as plane:
        stack.emulator.propagation_seconds = PROPAGATION_SECONDS
        stack.emulator.set_behaviours(BEHAVIOURS)
        runs = Runs(stack, lambda: sum(plane.metrics.requests.copy().values()))
        runs.settle("1", f"{IMAGE}:1", FIRST)
        good = runs.course("2", f"{IMAGE}:2", {})
        switch = runs.course("3", f"{IMAGE}:3", {"rollout": BLUE_GREEN})
        back = runs.course("4", f"{IMAGE}:4", {"rollout": CANARY}, stop_at=500)
        bad = runs.course("5", f"{IMAGE}:5{BAD}", {"rollout": CANARY}, stop_at=50)
    return (
        _without_failures("canary", good, "succeeded", "a canary to its success"),
        _without_failures("blue_green", switch, "succeeded", "a blue/green to its success"),
        _without_failures("rollback", back, "aborted", "a canary that is aborted at 50 %"),
        _bounded(bad),
        _way_back(back),
    )


class Runs:
    """Publishes releases and watches them under load."""

    def __init__(self, stack: Stack, answered: Callable[[], int]) -> None:
        self._stack, self._answered = stack, answered

    def settle(self, version: str, image: str, sections: Mapping[str, Any]) -> None:
        self._publish(version, image, sections)
        latest = time.monotonic() + LIMIT_SECONDS
        while not self._has_settled(version):
            self._check_limit(version, latest)
            time.sleep(POLL_SECONDS)

    def course(
        self, version: str, image: str, sections: Mapping[str, Any], stop_at: int | None = None
    ) -> Course:
        """A release under load, until its rollout has ended and the other group is gone. Once the
        release has had the weight `stop_at` for a while, all its instances crash for good if it is
        bad, else it is aborted.
        """
        (serving,) = weights(self._stack.emulator, MODEL)
        group = next(name for name in GROUPS if name != serving)
        moments, latest = [self._moment()], time.monotonic() + LIMIT_SECONDS
        stopped_at: float | None = None
        promised: int | None = None
        with _load(self._url) as stop:
            time.sleep(WARM_SECONDS)
            self._publish(version, image, sections)
            while not self._has_settled(version):
                time.sleep(POLL_SECONDS)
                moments.append(self._moment())
                self._check_limit(version, latest)
                if stopped_at is None and self._has_had(moments, group, stop_at):
                    promised = self._document()["seconds_to_roll_back"]
                    stopped_at = moments[-1].at
                    if image.endswith(BAD):
                        self._stack.emulator.set_behaviours([DEAD, WELL])
                        self._stack.emulator.affect_instances("kill", group=group)
                    else:
                        self._stack.publish(RELEASES, {"model": MODEL, "command": "abort"})
            time.sleep(WARM_SECONDS)
            plain, streams = stop()
        moments.append(self._moment())
        outcome = str(self._release(version)["outcome"])
        return Course(outcome, plain, streams, tuple(moments), group, stopped_at, promised)

    def _check_limit(self, version: str, latest: float) -> None:
        if time.monotonic() > latest:
            waiting_for = self._document().get("waiting_for", "its event was refused")
            raise RuntimeError(f"release {version} did not settle: {waiting_for}")

    def _publish(self, version: str, image: str, sections: Mapping[str, Any]) -> None:
        event = {"model": MODEL, "version": version, "artifact": {"image": image}, **sections}
        self._stack.publish(RELEASES, event)

    @property
    def _url(self) -> str:
        rules = self._data_plane()["forwarding_rules"]
        return str(next(iter(rules.values()))["url"]).rstrip("/") + f"/{MODEL}/"

    def _has_had(self, moments: Sequence[Moment], group: str, weight: int | None) -> bool:
        """Whether the group has had the weight for longer than it takes to propagate."""
        if weight is None or moments[-1].weights.get(group) != weight:
            return False
        since = next(
            (each.at for each in reversed(moments) if each.weights.get(group) != weight), 0.0
        )
        return moments[-1].at - since > 2 * PROPAGATION_SECONDS

    def _has_settled(self, version: str) -> bool:
        release, document = self._release(version), self._document()
        is_at_rest = bool(document) and document["rollout"]["phase"]["name"] == "settled"
        return bool(
            release.get("outcome")
            and is_at_rest
            and len(weights(self._stack.emulator, MODEL)) == 1
            and not document["requeue_at"]
        )

    def _data_plane(self) -> dict[str, Any]:
        state: dict[str, Any] = self._stack.emulator.control("GET", "/data-plane")
        return state

    def _document(self) -> Mapping[str, Any]:
        found = self._stack.store.get(f"models/{MODEL}")
        return found.data if found else {}

    def _release(self, version: str) -> Mapping[str, Any]:
        found = self._stack.store.get(f"models/{MODEL}/releases/{version}")
        return found.data if found else {}

    def _moment(self) -> Moment:
        by_group = Counter[str]()
        for backends in self._data_plane()["backend_services"].values():
            for each in backends:
                by_group[each["group"]] += each["requests"]
        at = self._stack.emulator.now()
        return Moment(at, weights(self._stack.emulator, MODEL), self._answered(), dict(by_group))


# ---- Rows


def _without_failures(name: str, course: Course, outcome: str, what: str) -> Row:
    if course.outcome != outcome:
        raise RuntimeError(f"the release of the journey {name!r} ended as {course.outcome}")
    how = (
        f"requests that failed of {course.plain.requests} during {what}; {_setting(course)};"
        f" {course.streams.failed} of {course.streams.requests} streams of {STREAM_SECONDS:g} s"
        " were cut"
    )
    return row(
        f"{name}_failed_requests",
        course.plain.failed,
        how,
        requests=course.plain.requests,
        rate=round(course.plain.requests / course.plain.seconds),
        streams=course.streams.requests,
        streams_cut=course.streams.failed,
    )


def _bounded(course: Course) -> Row:
    expected, seconds = course.exposure()
    if course.outcome != "rolled_back" or not course.plain.failed:
        failed = course.plain.failed
        raise RuntimeError(f"the bad canary ended as {course.outcome} with {failed} failures")
    how = (
        f"requests that failed ({course.plain.failed} of {course.plain.requests}) over weight share"
        f" x requests until it got none ({expected:.0f}, in {seconds:.0f} s), of a canary that"
        f" answers a fifth with 500 and then crashes; {_setting(course)}"
    )
    return row(
        "bad_canary_failed_over_share",
        course.plain.failed / expected,
        how,
        failed=course.plain.failed,
        share_x_requests=round(expected),
        seconds=round(seconds),
        requests=course.plain.requests,
    )


def _way_back(course: Course) -> Row:
    if course.stopped_at is None or not course.promised:
        raise RuntimeError("the canary was aborted without a promised way back")
    measured = course.last_request_at() - course.stopped_at
    how = (
        f"{measured:.0f} s from `abort` at 50 % until the candidate got its last request, of them"
        f" {PROPAGATION_SECONDS:g} s of propagation, over the {course.promised} s that"
        " `seconds_to_roll_back` promised at that moment"
    )
    return row(
        "roll_back_over_promised",
        measured / course.promised,
        how,
        seconds=round(measured, 1),
        promised=course.promised,
    )


def _setting(course: Course) -> str:
    rate = course.plain.requests / course.plain.seconds
    tool = "wrk" if shutil.which("wrk") else "the emulator's load generator"
    return (
        f"{rate:.0f} requests per second by {tool}, propagation {PROPAGATION_SECONDS:g} s, draining"
        f" {DRAINING_SECONDS} s, {SPEED:g} times as fast"
    )


# ---- Load


@contextmanager
def _load(url: str) -> Iterator[Callable[[], tuple[Counts, Counts]]]:
    """Requests and streams until the returned function is called."""
    has_wrk = shutil.which("wrk") is not None
    processes = [
        _start(_wrk(url) if has_wrk else _own(url, CONNECTIONS)),
        _start(_own(url, STREAMS, "--header", f"x-stream-seconds: {STREAM_SECONDS / SPEED:g}")),
    ]

    def stop() -> tuple[Counts, Counts]:
        for process in processes:
            process.send_signal(signal.SIGINT)
        plain, streams = (process.communicate(timeout=60)[0] for process in processes)
        return (_of_wrk(plain) if has_wrk else _of_own(plain)), _of_own(streams)

    try:
        yield stop
    finally:
        for process in processes:
            process.kill()


def _start(command: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def _wrk(url: str) -> list[str]:
    return ["wrk", "-t1", f"-c{CONNECTIONS}", "-d1h", "--timeout", "20s", url]


def _own(url: str, connections: int, *more: str) -> list[str]:
    module = "compute_emulator.traffic.load_generator"
    return [
        *(sys.executable, "-m", module, url, "--seconds", "3600"),
        *("--connections", str(connections), *more),
    ]


def _of_wrk(text: str) -> Counts:
    """Reads wrk's report. It names errors only if there were any."""
    done = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m|h)", text)
    if done is None:
        raise RuntimeError(f"wrk reported {text!r}")
    errors = re.search(
        r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text
    )
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    failed = sum(map(int, errors.groups())) if errors else 0
    failed += int(refused[1]) if refused else 0
    unit = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}[done[3]]
    return Counts(int(done[1]), failed, float(done[2]) * unit)


def _of_own(text: str) -> Counts:
    found = json.loads(text)
    good = found["statuses"].get("200", 0)
    return Counts(found["requests"], found["requests"] - good, found["requests"] / found["rps"])
