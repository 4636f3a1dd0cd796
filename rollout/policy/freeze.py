"""Freeze windows of the policy: times in which no rollout begins or goes on. Pure.

Read by `rollout/policy/policy.py` from the field `freezes`, and asked once per pass. A window is
weekly or happens once, by the clock of its time zone:

    {"reason": "weekend", "from": "fri 18:00", "to": "mon 08:00", "timezone": "Europe/Berlin"}
    {"reason": "year end", "from": "2026-12-23T18:00", "to": "2027-01-04T08:00"}
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta, tzinfo
from typing import Any

from rollout.deferred import dataclass
from rollout.model import Frozen
from rollout.visible import is_visible

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WEEK = timedelta(days=7)
MONDAY = datetime.fromisoformat("2024-01-01")  # any Monday: weekly moments are in its week
FIELDS = ("reason", "from", "to", "timezone", "rollbacks")
MOST_CUTS = 100
_WEEKLY = re.compile(rf"({'|'.join(DAYS)}) ([01]\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True)
class Freeze:
    """One window. `begins` and `ends` are moments by the wall clock of `timezone`; those of a
    weekly window are in the week of `MONDAY`. `rollbacks`: commanded rollbacks wait too.
    """

    reason: str
    begins: datetime
    ends: datetime
    timezone: str = "UTC"
    is_weekly: bool = False
    rollbacks: bool = False


def load_freezes(value: Any) -> tuple[Freeze, ...]:
    """Raises ValueError with the field that is wrong, and what it may be."""
    if not isinstance(value, list | tuple):
        raise ValueError(f"freezes must be a list of windows, got {value!r}")
    return tuple(_load(f"freezes[{index}]", each) for index, each in enumerate(value))


def _load(path: str, value: Any) -> Freeze:
    if not isinstance(value, Mapping):
        raise ValueError(f"{path} must be an object, got {value!r}")
    unknown = sorted(set(value) - set(FIELDS))
    if unknown:
        raise ValueError(
            f"{path} has unknown fields {', '.join(unknown)}; known fields are {', '.join(FIELDS)}"
        )
    reason, timezone = value.get("reason"), value.get("timezone", "UTC")
    if not isinstance(reason, str) or not reason or not is_visible(reason):
        raise ValueError(f"{path}.reason must say why, in visible characters, got {reason!a}")
    rollbacks = value.get("rollbacks", False)
    if not isinstance(rollbacks, bool):
        raise ValueError(f"{path}.rollbacks must be true or false, got {rollbacks!r}")
    try:
        _zone(timezone)
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise ValueError(f"{path}.timezone must be a time zone's name, got {timezone!r}") from error
    begins, ends = (_moment(f"{path}.{name}", value.get(name)) for name in ("from", "to"))
    is_weekly = begins[1]
    if is_weekly != ends[1]:
        raise ValueError(f"{path}: from and to must both be weekly, or both dates")
    if begins[0] == ends[0] or (not is_weekly and begins[0] > ends[0]):
        raise ValueError(f"{path}.to must be after from, got {value.get('to')!r}")
    return Freeze(reason, begins[0], ends[0], timezone, is_weekly, rollbacks)


def _moment(path: str, value: Any) -> tuple[datetime, bool]:
    """The moment, and whether it is weekly."""
    text = value if isinstance(value, str) else ""
    if found := _WEEKLY.fullmatch(text.lower()):
        day, hour, minute = found.groups()
        at = timedelta(days=DAYS.index(day), hours=int(hour), minutes=int(minute))
        return MONDAY + at, True
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is not None:
        raise ValueError(
            f'{path} must be a day and time, such as "fri 18:00", or a date and time without an'
            f' offset, such as "2026-12-23T18:00", got {value!r}'
        )
    return moment, False


def _zone(name: str) -> tzinfo:
    from zoneinfo import ZoneInfo  # imported late: only a policy with windows needs it

    return ZoneInfo(name)


def frozen(freezes: Iterable[Freeze], now: datetime) -> Frozen | None:
    """The window that holds now; of several, the one that ends last."""
    found = (_frozen(freeze, now) for freeze in freezes)
    return max((each for each in found if each), key=lambda each: each.until, default=None)


def _frozen(freeze: Freeze, now: datetime) -> Frozen | None:
    for since, until in _moments(freeze, now):
        if since <= now < until:
            ends = until.astimezone(_zone(freeze.timezone))
            why = f"frozen until {ends:%Y-%m-%d %H:%M} {freeze.timezone}: {freeze.reason}"
            return Frozen(why, until, freeze.rollbacks)
    return None


@dataclass(frozen=True)
class Cut:
    """One time at which a window holds up a rollout."""

    since: datetime
    until: datetime
    freeze: Freeze

    def __str__(self) -> str:
        zone = _zone(self.freeze.timezone)
        begins, ends = self.since.astimezone(zone), self.until.astimezone(zone)
        return (
            f"frozen from {begins:%Y-%m-%d %H:%M} to {ends:%Y-%m-%d %H:%M} {self.freeze.timezone}:"
            f" {self.freeze.reason}"
        )


def cuts(
    freezes: Iterable[Freeze], now: datetime, length: timedelta
) -> tuple[tuple[Cut, ...], datetime]:
    """Every window that holds while a rollout of that length would go on, in order, and when it
    ends if it stands still in each.
    """
    found: set[Cut] = set()
    windows, end = tuple(freezes), now + length
    while len(found) < MOST_CUTS:
        all_of = {
            Cut(since, until, freeze)
            for freeze in windows
            for since, until in _moments(freeze, now, end)
            if since < end and until > now
        }
        if all_of == found:
            break
        found, end = all_of, now + length + _covered(all_of, now)
    return tuple(sorted(found, key=lambda each: (each.since, each.until))), end


def _covered(found: Iterable[Cut], now: datetime) -> timedelta:
    """How much of the time from now on the windows cover together."""
    covered, reached = timedelta(0), now
    for cut in sorted(found, key=lambda each: each.since):
        covered += max(timedelta(0), cut.until - max(cut.since, reached))
        reached = max(reached, cut.until)
    return covered


def _moments(
    freeze: Freeze, now: datetime, end: datetime | None = None
) -> Iterator[tuple[datetime, datetime]]:
    """Each time at which the window holds, from the one that may hold now until `end`."""
    zone = _zone(freeze.timezone)
    local = now.astimezone(zone).replace(tzinfo=None)
    last = (end or now).astimezone(zone).replace(tzinfo=None)
    begins, length = freeze.begins, freeze.ends - freeze.begins
    if freeze.is_weekly:
        begins, length = local - (local - begins) % WEEK, length % WEEK
    while begins <= last:
        moments = (each.replace(tzinfo=zone) for each in (begins, begins + length))
        since, until = (each.astimezone(now.tzinfo) for each in moments)
        yield since, until
        if not freeze.is_weekly:
            return
        begins += WEEK
