"""How an instance's app answers requests: latency, error rate, concurrency. Pure.

The profile comes from the instance's behaviour (`behaviours.py`); `/control/traffic` overrides
it at run time:

    [{"template": "tiny-2*", "latency_seconds": 0.4, "error_rate": 0.05}, {"concurrency": 2}]

Errors may be rare in the ways in which those of a bad release are: only under load, in bursts, or
only for requests with one header. Patterns are globs on `group`, `template`, `version`, `zone` and
`name`. The first matching entry that sets a member decides it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from random import Random
from typing import Any

PATTERNS = ("group", "template", "version", "zone", "name")


@dataclass(frozen=True, slots=True)
class ResponseProfile:
    """`latency_seconds` is the duration of one request in real time; `latency_spread` 0.2 means
    0.8 to 1.2 times as long. Up to `concurrency` requests run at once; others wait, and beyond
    `queue` waiting requests the app answers 503. An `error_rate` of 0.05 answers every twentieth
    request with `error_status`. If they are given, it applies only to requests with `error_header`
    (`x-tenant: acme`, or a name), only while the app has more than `error_above_in_flight`
    requests, and only for `error_for_seconds` of every `error_every_seconds` in real time, for all
    instances at once.

    With `stream_seconds`, a response is a stream of server-sent events: one every
    `stream_interval_seconds`, for that long in real time. A worker stays busy until it ends.
    """

    latency_seconds: float = 0.005
    latency_spread: float = 0.0
    error_rate: float = 0.0
    error_status: int = 500
    error_header: str = ""
    error_above_in_flight: int = 0
    error_for_seconds: float = 0.0
    error_every_seconds: float = 0.0
    concurrency: int = 16
    queue: int = 1000
    stream_seconds: float = 0.0
    stream_interval_seconds: float = 0.1

    def latency(self, chance: Random) -> float:
        if not self.latency_spread:
            return self.latency_seconds
        return max(0.0, self.latency_seconds * (1 + self.latency_spread * chance.uniform(-1, 1)))

    def fails(self, headers: Mapping[str, str], in_flight: int, now: float, chance: Random) -> bool:
        """Whether a request is answered with `error_status`. `in_flight` counts it; `now` is in
        seconds of any clock that all instances share.
        """
        if not self.error_rate or in_flight <= self.error_above_in_flight:
            return False
        if self.error_every_seconds and now % self.error_every_seconds >= self.error_for_seconds:
            return False
        if self.error_header and not _has_header(headers, self.error_header):
            return False
        return chance.random() < self.error_rate


DEFAULT = ResponseProfile()
MEMBERS = tuple(each.name for each in fields(ResponseProfile))
WHOLE = ("concurrency", "queue", "error_status", "error_above_in_flight")


def check(where: str, entry: Mapping[str, Any]) -> None:
    """Raises ValueError naming the invalid member of an entry."""
    for name in MEMBERS:
        value = entry.get(name)
        if value is None:
            continue
        if name == "error_header":
            if not isinstance(value, str):
                raise ValueError(f"{where}.{name} must be a header, as text, not {value!r}")
            continue
        whole = name in WHOLE
        if (
            isinstance(value, bool)
            or not isinstance(value, int if whole else int | float)
            or value < 0
        ):
            raise ValueError(
                f"{where}.{name} must be a {'whole ' if whole else ''}number, 0 or more, not"
                f" {value!r}"
            )
    if entry.get("concurrency") == 0:
        raise ValueError(f"{where}.concurrency must be at least 1")
    if entry.get("stream_interval_seconds") == 0:
        raise ValueError(f"{where}.stream_interval_seconds must be more than 0")
    if not 0 <= (entry.get("error_rate") or 0) <= 1:
        raise ValueError(f"{where}.error_rate must be from 0 to 1, not {entry['error_rate']!r}")
    if not 200 <= (entry.get("error_status") or 500) <= 599:
        raise ValueError(
            f"{where}.error_status must be an HTTP status from 200 to 599, not"
            f" {entry['error_status']!r}"
        )


def _has_header(headers: Mapping[str, str], header: str) -> bool:
    """`headers` have lower-case names; of `name: value` both count, of a name only that."""
    name, separator, value = header.partition(":")
    found = headers.get(name.strip().lower())
    return found is not None and (not separator or found == value.strip())


def check_entries(entries: Iterable[Any]) -> None:
    """Raises ValueError for an invalid list of `/control/traffic` entries."""
    for index, entry in enumerate(entries):
        where = f"traffic[{index}]"
        if not isinstance(entry, dict):
            raise ValueError(f"{where} must be an object, not {entry!r}")
        unknown = sorted(set(entry) - set(MEMBERS) - set(PATTERNS))
        if unknown:
            raise ValueError(
                f"{where}: unknown member {unknown[0]!r}; use one of"
                f" {', '.join([*PATTERNS, *MEMBERS])}"
            )
        check(where, entry)


def with_overrides(
    profile: ResponseProfile, entries: Iterable[Mapping[str, Any]], names: Mapping[str, str]
) -> ResponseProfile:
    """A profile with the entries applied that match an instance's `names`."""
    overrides: dict[str, Any] = {}
    for entry in entries:
        if all(
            fnmatchcase(names.get(pattern, ""), entry[pattern])
            for pattern in PATTERNS
            if pattern in entry
        ):
            overrides = {
                name: entry[name] for name in MEMBERS if entry.get(name) is not None
            } | overrides
    return replace(profile, **overrides) if overrides else profile
