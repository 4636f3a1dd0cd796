"""Checks that a cron line is valid for an autoscaling schedule: five fields, in range, and a day
that exists.

Called by `rollout/spec/types.py`. It computes no next time. Source: Compute Engine reference,
AutoscalingPolicyScalingSchedule.schedule (its optional year field is not supported).
"""

from __future__ import annotations

import re

from rollout.deferred import dataclass

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True)
class _Field:
    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()

    def number(self, text: str) -> int | None:
        if text.upper() in self.words:
            return self.low + self.words.index(text.upper())
        if re.fullmatch(r"[0-9]{1,2}", text) and self.low <= int(text) <= self.high:
            return int(text)
        return None

    def values(self, text: str) -> frozenset[int] | None:
        """The numbers that a field names, or None if it is malformed or out of range."""
        found: set[int] = set()
        for item in text.split(","):
            span, slash, step = item.partition("/")
            every = int(step) if re.fullmatch(r"[0-9]{1,2}", step) else 0 if slash else 1
            first, dash, last = span.partition("-")
            low = self.low if span == "*" else self.number(first)
            high = (
                self.high
                if span == "*" or (slash and not dash)
                else self.number(last if dash else first)
            )
            if low is None or high is None or low > high or every < 1:
                return None
            found.update(range(low, high + 1, every))
        return frozenset(found)


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _DAYS),
)


def cron_problem(text: str) -> str | None:
    """What is wrong with the line, or None."""
    parts = text.split(" ")
    if len(parts) != len(_FIELDS):
        return f"has {len(parts)} fields instead of 5"
    read = [field.values(part) for field, part in zip(_FIELDS, parts, strict=True)]
    for field, values in zip(_FIELDS, read, strict=True):
        if values is None:
            return f"has no valid {field.name}"
    days, months = read[2] or (), read[3] or ()
    # With a restricted day of week, cron matches either day, so an impossible day of month does not
    # matter.
    if parts[4].startswith("*") and not any(
        day <= _LONGEST[month - 1] for day in days for month in months
    ):
        return "names a day that its months do not have"
    return None
