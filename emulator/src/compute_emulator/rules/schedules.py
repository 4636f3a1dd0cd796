"""When a scaling schedule is in force: the starts of a cron expression in a time zone, each for
a duration.

Used by `autoscale.py` and by the validation of autoscalers. Source: Compute documentation,
"Scaling based on schedules": five cron fields and an optional year.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

LAST_YEAR = 2099
SHORTEST_SECONDS = 300


@dataclass(frozen=True)
class Schedule:
    name: str
    cron: str
    duration_seconds: float
    required: int
    time_zone: str = "UTC"
    is_disabled: bool = False


@dataclass(frozen=True)
class ScheduleStatus:
    """The status of a schedule at some time. `changes_at` is its next start or end; None if
    there is none.
    """

    state: str  # ACTIVE, READY, DISABLED, OBSOLETE, as in the API
    last_start: float | None = None
    next_start: float | None = None
    changes_at: float | None = None


def schedule_problem(schedule: Schedule) -> str | None:
    """Why a schedule is invalid, as the explanation that follows the field and its value."""
    if schedule.duration_seconds < SHORTEST_SECONDS:
        return f"durationSec must be at least {SHORTEST_SECONDS}."
    try:
        next(_starts(schedule, datetime(2026, 1, 1, tzinfo=ZoneInfo(schedule.time_zone))), None)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return f"Unknown time zone '{schedule.time_zone}' or malformed year."
    except CronSimError as error:
        return f"Not a cron expression: {error}."
    return None


def schedule_status(schedule: Schedule, now: float) -> ScheduleStatus:
    """Whether the schedule is in force at `now`, and when that changes."""
    if schedule.is_disabled:
        return ScheduleStatus("DISABLED")
    zone = ZoneInfo(schedule.time_zone)
    # A start exactly one duration ago is over; the iteration begins just after the time it is
    # given.
    since = datetime.fromtimestamp(now, UTC).astimezone(zone) - timedelta(
        seconds=schedule.duration_seconds
    )
    last: float | None = None
    upcoming: float | None = None
    for start in _starts(schedule, since):
        moment = start.timestamp()
        if moment > now:
            upcoming = moment
            break
        last = moment
    if last is not None:
        end = last + schedule.duration_seconds
        return ScheduleStatus(
            "ACTIVE", last, upcoming, end if upcoming is None else min(end, upcoming)
        )
    if upcoming is None:
        return ScheduleStatus("OBSOLETE")
    return ScheduleStatus("READY", None, upcoming, upcoming)


def _starts(schedule: Schedule, since: datetime) -> Iterator[datetime]:
    """Starts after `since`, in order, in the allowed years."""
    fields = schedule.cron.split()
    years = _years(fields.pop()) if len(fields) == 6 else range(since.year, LAST_YEAR + 1)
    begin = since
    for year in years:
        if year < since.year:
            continue
        if year > begin.year:
            begin = datetime(year, 1, 1, tzinfo=since.tzinfo) - timedelta(minutes=1)
        for start in CronSim(" ".join(fields), begin):
            if start.year != year:
                break
            begin = start
            yield start


def _years(text: str) -> list[int]:
    """`2026`, `2026-2028`, `2026,2030`, `*` and steps such as `2026-2032/2`. Raises ValueError."""
    allowed: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        low, _, high = ("1970", "-", str(LAST_YEAR)) if span == "*" else span.partition("-")
        allowed.update(range(int(low), int(high or low) + 1, int(step or 1)))
    return sorted(allowed)
