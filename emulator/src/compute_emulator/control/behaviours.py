"""How instances behave: when they boot, become ready, fail or die, by group, template name or
container image.

`phases.py` looks up the behaviour of each VM at every creation. The list comes from a file or a
control:

    {"behaviours": [
      {"template": "tiny-bad-*", "never_ready": true},
      {"image": "*/tiny@sha256:bad*", "boot_seconds": 60, "dies_after_seconds": 300},
      {"creation_error": {"kind": "stock_out", "times": 3}},
      {"ready_after_seconds": 20}
    ]}

The first entry whose patterns all match applies; members it does not set keep their defaults.
`image` may match anywhere in the template's metadata values (cloud-init, start-up script,
container declaration), since that is where an image is named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from random import Random
from typing import Any

from compute_emulator.control import validation
from compute_emulator.engine.capacity import ERROR_KINDS
from compute_emulator.errors import JsonObject
from compute_emulator.traffic import response_profile
from compute_emulator.traffic.response_profile import ResponseProfile

PATTERNS = ("group", "template", "image", "zone")


@dataclass(frozen=True, slots=True)
class CreationError:
    """What a creation fails with, the first `times` times (None: always)."""

    kind: str
    times: int | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The behaviour of one instance. Times of readiness and death count from when the VM is
    RUNNING.

        create      boot_seconds      ready_after_seconds            dies_after_seconds
          |-- STAGING --|-- RUNNING ------|-- alive and ready --------------|-- neither ...

    `ready` is what the load balancer's check sees, `alive` what the group's own check sees; both
    start together unless `alive_after_seconds` is set. `unready_…`: not ready for
    `unready_for_seconds` (None: for good), but alive. `flaps_every_seconds`: readiness toggles
    at that interval once reached. `stops_…`: the VM itself stops, as by preemption.
    `drain_seconds`: how long connections last while draining (None: up to the draining timeout).
    """

    boot_seconds: float = 30.0
    ready_after_seconds: float = 10.0
    never_ready: bool = False
    alive_after_seconds: float | None = None
    never_alive: bool = False
    unready_after_seconds: float | None = None
    unready_for_seconds: float | None = None
    flaps_every_seconds: float | None = None
    dies_after_seconds: float | None = None
    stops_after_seconds: float | None = None
    drain_seconds: float | None = None
    delete_seconds: float = 10.0
    # 0.2: boot and readiness take 0.8 to 1.2 times as long, by the cloud's seed.
    jitter: float = 0.0
    creation_error: CreationError | None = None
    # How its app answers requests on a data plane; entries set its members directly.
    profile: ResponseProfile = response_profile.DEFAULT

    def jittered(self, chance: Random) -> Behaviour:
        """The behaviour with one VM's jitter applied."""
        if not self.jitter:
            return self
        factor = 1 + self.jitter * chance.uniform(-1, 1)
        boot, ready = self.boot_seconds * factor, self.ready_after_seconds * factor
        return replace(self, jitter=0.0, boot_seconds=boot, ready_after_seconds=ready)

    def liveness_changes(self, since: float) -> tuple[float, ...]:
        """Times at which the answers to the group's check become good, bad, good ..."""
        if self.never_alive:
            return ()
        start = (
            self.ready_after_seconds
            if self.alive_after_seconds is None
            else self.alive_after_seconds
        )
        return _before(self.dies_after_seconds, [since + start], since)

    def readiness_changes(self, since: float) -> tuple[float, ...]:
        """The same for the load balancer's check."""
        if self.never_ready or self.never_alive:
            return ()
        changes = [since + self.ready_after_seconds]
        if self.unready_after_seconds is not None:
            changes.append(since + self.unready_after_seconds)
            if self.unready_for_seconds is not None:
                changes.append(changes[-1] + self.unready_for_seconds)
        elif self.flaps_every_seconds:
            changes += [changes[0] + n * self.flaps_every_seconds for n in range(1, FLAPS)]
        return _before(self.dies_after_seconds, changes, since)


FLAPS = 200  # how often a flapping VM toggles before it keeps its state
DEFAULT = Behaviour()


def _before(dies_after: float | None, changes: list[float], since: float) -> tuple[float, ...]:
    if dies_after is None:
        return tuple(changes)
    death = since + dies_after
    kept = [change for change in changes if change < death]
    return (*kept, death) if len(kept) % 2 else tuple(kept)


def check(entries: Iterable[JsonObject]) -> None:
    """Raises ValueError naming the entry, the member and what is allowed."""
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise ValueError(f"behaviours[{index}] must be an object, not {entry!r}")
        _parse(index, entry)


def behaviour_for(
    entries: Iterable[JsonObject], group: str, zone: str, template: JsonObject
) -> Behaviour:
    """The behaviour of a VM of a group, created from a template resource."""
    for index, entry in enumerate(entries):
        if _matches(entry, group, zone, template):
            return _parse(index, entry)
    return DEFAULT


def _matches(entry: JsonObject, group: str, zone: str, template: JsonObject) -> bool:
    given = {"group": group, "zone": zone, "template": template.get("name", "")}
    if any(name in entry and not fnmatchcase(value, entry[name]) for name, value in given.items()):
        return False
    return "image" not in entry or _names_image(template, entry["image"])


def _names_image(template: JsonObject, pattern: str) -> bool:
    items = template.get("properties", {}).get("metadata", {}).get("items", [])
    found = _image_pattern(pattern)
    return any(found.search(str(item.get("value", ""))) for item in items)


@lru_cache(maxsize=256)
def _image_pattern(pattern: str) -> re.Pattern[str]:
    """A glob that may match anywhere in a text, but not across quotes or spaces."""
    parts = [re.escape(part) for part in pattern.split("*")]
    return re.compile(r"""[^\s"']*""".join(parts).replace(r"\?", r"""[^\s"']"""))


def _parse(index: int, entry: JsonObject) -> Behaviour:
    known = {each.name for each in fields(Behaviour)} - {"profile"} | set(response_profile.MEMBERS)
    unknown = sorted(set(entry) - known - set(PATTERNS))
    if unknown:
        allowed = ", ".join([*PATTERNS, *sorted(known)])
        raise ValueError(
            f"behaviours[{index}]: unknown member {unknown[0]!r}; use one of {allowed}"
        )
    values: dict[str, Any] = {name: value for name, value in entry.items() if name in known}
    _check(f"behaviours[{index}]", entry)
    response_profile.check(f"behaviours[{index}]", values)
    values["creation_error"] = _creation_error(index, values.get("creation_error"))
    own = {name: values.pop(name) for name in response_profile.MEMBERS if name in values}
    return Behaviour(
        profile=ResponseProfile(
            **{name: value for name, value in own.items() if value is not None}
        ),
        **values,
    )


def _check(where: str, entry: JsonObject) -> None:
    for name, value in entry.items():
        if name in PATTERNS and not isinstance(value, str):
            raise ValueError(f"{where}.{name} must be a glob, not {value!r}")
        if name.endswith("_seconds") and value is not None and name not in response_profile.MEMBERS:
            validation.number(f"{where}.{name}", value, unit="seconds")
        if name.startswith("never_") and not isinstance(value, bool):
            raise ValueError(f"{where}.{name} must be true or false, not {value!r}")
    validation.number(f"{where}.jitter", entry.get("jitter", 0.0), high=1)


def _creation_error(index: int, given: Any) -> CreationError | None:
    if given is None:
        return None
    members = {"kind": given} if isinstance(given, str) else given
    if (
        not isinstance(members, dict)
        or members.get("kind") not in ERROR_KINDS
        or not _only(members)
    ):
        expected = f"one of {', '.join(ERROR_KINDS)}, or an object of kind, times, message"
        raise ValueError(f"behaviours[{index}].creation_error must be {expected}, not {given!r}")
    return CreationError(**members)


def _only(members: JsonObject) -> bool:
    times, message = members.get("times"), members.get("message")
    known = set(members) <= {"kind", "times", "message"}
    return (
        known
        and (times is None or type(times) is int)
        and (message is None or isinstance(message, str))
    )
