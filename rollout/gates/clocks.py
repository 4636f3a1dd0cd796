"""What each instance of a candidate has shown so far, and whose fault its losses are. Pure.

Called by `advance` once per pass through `release_health.update_progress`. Evidence has an owner:

    the release       its process fell, or never answered, while its VM ran
    the environment   the VM went: preemption, host error, zone outage, deletion by hand, or for a
                      reason that nobody knows

A clock starts anew whenever its instance's health breaks, and no other clock does.

    starting ──> healthy ──process fell──> lost ──> healthy
        │           ├──no health data────> silent ──> healthy
        └───────────┴──the VM went───────> gone ──> starting, and so on, marked as returned

The clocks are stored as one short string, since a group may have 2,000 instances:
`healthy@1767268800:x7k2,9f3d lost@1767268860:q0p1`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import groupby
from typing import Literal

from rollout.deferred import dataclass
from rollout.model import Instance, Loss

State = Literal["starting", "healthy", "silent", "lost", "gone"]
RETURNED = "returned-"


@dataclass(frozen=True, order=True)
class Clock:
    """An instance's state and since when. `is_returned`: the environment took its VM before."""

    state: State
    since: datetime
    is_returned: bool = False


Clocks = Mapping[str, Clock]
"""By the part of the instance's name that is its own."""


def key_of(name: str) -> str:
    return name.rpartition("-")[2]


# ---- The next state


def lost_instances(clocks: Clocks, instances: Iterable[Instance]) -> tuple[Instance, ...]:
    """The instances whose loss has to be explained before they are judged: those that were healthy
    and are not, and those whose VM ran and does not.
    """
    found = []
    for instance in instances:
        before = clocks.get(key_of(instance.name))
        if before is None or before.state in ("gone", "lost"):
            continue
        was_healthy = before.state in ("healthy", "silent")
        is_silent = instance.is_settled and instance.health == "unknown"
        fell = was_healthy and not (instance.is_healthy or is_silent)
        if fell or not instance.is_running:
            found.append(instance)
    return tuple(found)


def update_clocks(
    clocks: Clocks, instances: Iterable[Instance], losses: Iterable[Loss], now: datetime
) -> tuple[Clocks, int]:
    """The clocks after this pass, and how many instances the release has lost in it."""
    owners = {key_of(loss.instance): loss.owner for loss in losses}
    after: dict[str, Clock] = {}
    fallen = 0
    for instance in instances:
        key = key_of(instance.name)
        before = clocks.get(key)
        state = _next_state(before, instance, owners.get(key))
        if state is None:
            continue
        fallen += state == "lost" and before is not None and before.state != "lost"
        is_returned = state == "gone" or bool(before and before.is_returned and state != "lost")
        is_same = before is not None and before.state == state
        after[key] = before if before and is_same else Clock(state, now, is_returned)
    return after, fallen


def _next_state(before: Clock | None, instance: Instance, owner: str | None) -> State | None:
    """None: no VM of this instance has run yet."""
    was = before.state if before else None
    had_health = was in ("healthy", "silent")
    if instance.is_healthy:
        return "healthy"
    if not instance.is_running:
        if had_health:
            return "lost" if owner == "release" else "gone"
        if was == "starting":
            # The group repairs what never answered. Unless the environment took it, or has no room
            # for the repair, its time runs.
            return "gone" if owner == "environment" or instance.is_blocked else "starting"
        return was
    if not instance.is_settled:  # the VM was started again, or is new
        if had_health:
            return "lost" if owner == "release" else "starting"
        return "lost" if was == "lost" else "starting"
    if instance.health == "unknown":
        return "silent" if had_health else _started(was)
    if had_health:
        return "gone" if owner == "environment" else "lost"
    return _started(was)


def _started(was: State | None) -> State:
    return "lost" if was == "lost" else "starting"


# ---- The stored form


def encode(clocks: Clocks) -> str:
    entries = sorted((clock, key) for key, clock in clocks.items())
    parts = []
    for clock, members in groupby(entries, key=lambda entry: entry[0]):
        prefix = RETURNED if clock.is_returned else ""
        keys = ",".join(key for _, key in members)
        parts.append(f"{prefix}{clock.state}@{clock.since.timestamp():.0f}:{keys}")
    return " ".join(parts)


def decode(text: str) -> dict[str, Clock]:
    found: dict[str, Clock] = {}
    for part in text.split():
        head, _, keys = part.partition(":")
        name, _, seconds = head.partition("@")
        state: State = name.removeprefix(RETURNED)  # type: ignore[assignment]
        since = datetime.fromtimestamp(int(seconds), UTC)
        clock = Clock(state, since, name.startswith(RETURNED))
        found |= dict.fromkeys(keys.split(","), clock)
    return found


def encode_times(times: Iterable[datetime]) -> str:
    return " ".join(f"{time.timestamp():.0f}" for time in times)


def decode_times(text: str) -> tuple[datetime, ...]:
    return tuple(datetime.fromtimestamp(int(seconds), UTC) for seconds in text.split())
