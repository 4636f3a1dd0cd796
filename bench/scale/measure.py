"""Many releases at once: how many calls, how long, and how much CPU time they take.

Everything is counted in virtual time on `bench/scale/deployment.py`; only CPU time depends on the
machine. Each story runs in three sizes, which are in the details: what grows faster than they do is
not linear.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from bench.results import Row, row
from bench.scale import mixed
from bench.scale.deployment import Deployment
from bench.scale.setting import READS_PER_MINUTE
from bench.scale.threads import in_virtual_time
from bench.setting import release_message

SLOW_BOOT = {"boot_seconds": 30, "ready_after_seconds": 10, "drain_seconds": 0}
QUICK_BOOT = {"boot_seconds": 5, "ready_after_seconds": 2, "drain_seconds": 0}
FIRST_RELEASES = (100, 300, 1000)
AT_QUOTA = (100, 200, 400)
EVENTS = (25, 50, 100)
WATCH_SECONDS = 0.25
HOSTS = 4
"""A gateway has room for 450 models on one host."""
SETTING = "80 ms a Compute call, 20 ms a store call, 40 slots a function, no project caps"


def measure() -> tuple[Row, ...]:
    return (*swaps(), *first_releases(), *at_the_quota(), events_for_one_model(), *mixed.measure())


def swaps() -> tuple[Row, ...]:
    slow, quick = _swap(SLOW_BOOT), _swap(QUICK_BOOT)
    how = f"a swap of 6 instances in three steps, boots of 40 s and of 7 s; {SETTING}"
    ratio = "from the event to the outcome, over the time in which the group was not stable"
    return (
        row(
            "scale_swap_calls",
            max(slow["calls"], quick["calls"]),
            f"calls of {how}; the larger",
            slow=slow,
            quick=quick,
        ),
        row("scale_swap_over_group", slow["ratio"], f"{ratio}: {how}; boots of 40 s"),
        row("scale_quick_swap_over_group", quick["ratio"], f"{ratio}: {how}; boots of 7 s"),
    )


def _swap(behaviour: dict[str, Any]) -> dict[str, Any]:
    deployment = Deployment(behaviour=behaviour)
    clock, emulator = deployment.clock, deployment.emulator
    path = "regions/us-central1/instanceGroupManagers/slipway-tiny-blue"
    moving = 0.0

    def watch() -> None:
        nonlocal moving
        with deployment.meter.apart():
            emulator.advance()
            is_stable = emulator.call("GET", path)["status"]["isStable"]
            is_ready = all(instance["ready"] for instance in emulator.instances())
        moving += 0 if is_stable and is_ready else WATCH_SECONDS
        clock.at(clock.now() + timedelta(seconds=WATCH_SECONDS), watch)

    with in_virtual_time(clock):
        deployment.publish(release_message("1"))
        deployment.run(60, lambda: deployment.ended("succeeded") == 1)
        deployment.run(1)
        deployment.meter.calls.clear()
        watch()
        deployment.publish(release_message("2"))
        taken = deployment.run(60, lambda: deployment.ended("succeeded") == 2)
    _require(deployment, succeeded=2)
    seconds = taken.total_seconds()
    return {
        "calls": deployment.meter.calls.total(),
        "by_kind": dict(deployment.meter.calls),
        "seconds": round(seconds, 1),
        "group_seconds": moving,
        "ratio": seconds / moving,
    }


def first_releases() -> tuple[Row, ...]:
    runs = {count: _first_releases(count, None) for count in FIRST_RELEASES}
    largest = runs[max(FIRST_RELEASES)]
    how = f"{max(FIRST_RELEASES)} first releases published at once, all exposed; {SETTING}"
    return (
        row("scale_first_releases_min", largest["minutes"], f"until all serve: {how}", sizes=runs),
        row(
            "scale_first_release_cpu_ms",
            largest["cpu_ms"],
            f"CPU time of each, without emulator and store: {how}",
        ),
        row(
            "scale_url_map_conflicts",
            largest["conflicts"],
            f"writes of the URL map that met another one: {how}",
        ),
    )


def at_the_quota() -> tuple[Row, ...]:
    runs = {count: _first_releases(count, READS_PER_MINUTE) for count in AT_QUOTA}
    largest = runs[max(AT_QUOTA)]
    how = (
        f"{max(AT_QUOTA)} first releases at once with {READS_PER_MINUTE} reads a minute; {SETTING}"
    )
    return (
        row("scale_quota_min", largest["minutes"], f"until all serve: {how}", sizes=runs),
        row("scale_quota_calls", largest["calls"], f"calls of each, refused ones included: {how}"),
    )


def publish_first_releases(deployment: Deployment, count: int) -> None:
    """Each of a model of its own, all at once, all exposed."""
    for number in range(count):
        message = release_message("1", f"m{number:04d}")
        traffic = message["traffic"] | {"host": f"{number % HOSTS}.example.com"}
        deployment.publish(message | {"scaling": {"min": 1, "max": 2}, "traffic": traffic})


def _first_releases(count: int, reads_per_minute: int | None) -> dict[str, Any]:
    deployment = Deployment(reads_per_minute, SLOW_BOOT)
    with in_virtual_time(deployment.clock):
        publish_first_releases(deployment, count)
        taken = deployment.run(120, lambda: len(deployment.outcomes) == count)
    _require(deployment, succeeded=count)
    return {
        "minutes": round(taken.total_seconds() / 60, 2),
        "calls": deployment.meter.calls.total() / count,
        "by_kind": {kind: calls / count for kind, calls in deployment.meter.calls.items()},
        "refused": deployment.meter.refused / count,
        "conflicts": deployment.meter.conflicts,
        "deliveries": deployment.meter.deliveries.total() / count,
        "store_calls": deployment.meter.stored.total() / count,
        "cpu_ms": round(deployment.meter.cpu_seconds / count * 1000, 1),
        "outcomes": dict(Counter(deployment.outcomes.values())),
    }


def events_for_one_model() -> Row:
    runs = {count: _events(count) for count in EVENTS}
    how = f"{max(EVENTS)} events for one model at once; {SETTING}"
    dead = runs[max(EVENTS)]["dead"]
    return row("scale_dead_events", dead, f"that became dead letters: {how}", sizes=runs)


def _events(count: int) -> dict[str, Any]:
    deployment = Deployment(behaviour=QUICK_BOOT)
    with in_virtual_time(deployment.clock):
        for number in range(count):
            deployment.publish(release_message(f"v{number:03d}"))
        taken = deployment.run(600, lambda: len(deployment.outcomes) == count)
    return {
        "dead": len(deployment.dead),
        "minutes": round(taken.total_seconds() / 60, 1),
        "deliveries": deployment.meter.deliveries["model-releases"],
        "outcomes": dict(Counter(deployment.outcomes.values())),
    }


def _require(deployment: Deployment, succeeded: int) -> None:
    if deployment.ended("succeeded") != succeeded:
        found = dict(Counter(deployment.outcomes.values()))
        raise RuntimeError(f"{succeeded} releases had to succeed; the outcomes are {found}")
