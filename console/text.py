"""Text for terminals and pages: what others wrote is shown as it is, and controls nothing. Pure.

Names, reasons and messages come from events, instances and Compute Engine. Control characters,
which move the cursor or change colours, and characters that cannot be seen or change the direction
of writing are replaced by their escapes. Text is never read as rich's markup: what is printed is
made by `plain`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from rollout import visible
from rollout.counts import ReleaseCount
from rollout.policy.usage import Usage

if TYPE_CHECKING:
    from rich.text import Text


def escape(text: object) -> str:
    """One line without characters that a terminal would act on."""
    return visible.escape(str(text))


def plain(text: object, style: str = "") -> Text:
    from rich.text import Text  # imported late: the dashboard's service does without rich

    return Text(escape(text), style, overflow="fold")


def moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}Z" if at else "-"


def clock(at: datetime) -> str:
    return f"{at:%H:%M:%S}Z"


def span(time: timedelta) -> str:
    """A length of time in two units at most: `45 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    seconds = max(0, round(time.total_seconds()))
    for size, unit, small, small_unit in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= size:
            rest = seconds % size // small
            return f"{seconds // size} {unit}" + (f" {rest} {small_unit}" if rest else "")
    return f"{seconds} s"


def since(at: datetime | None, now: datetime) -> str:
    return f"{moment(at)}, {span(now - at)} ago" if at else "-"


def count_text(count: ReleaseCount) -> str:
    """The instances of a release, and its part of the requests if it has any."""
    needed = f" of {count.needed} needed" if count.needed else ", none needed"
    part = f", {count.per_mille / 10:g} % of the requests" if count.per_mille else ""
    return f"{count.healthy} healthy{needed}{part}"


def usage_text(usage: Usage, currency: str) -> str:
    gpus = f", {usage.accelerators} GPUs" if usage.accelerators else ""
    is_priced = usage.cost != float("inf")
    cost = f"{usage.cost:.2f} {currency} an hour" if is_priced else "no price in settings/prices"
    return f"{usage.instances} instances{gpus}, {cost}"
