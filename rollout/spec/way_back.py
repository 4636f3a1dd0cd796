"""How long the way back takes, as far as a spec alone decides it. Pure.

Used by the rule of `rollout.max_seconds_to_roll_back` and by `rollout/way_back_time.py`, which adds
what is observed. The constants are estimates and lean to the long side; `make bench` compares
the sum with the emulator, and nothing has measured them on Google Cloud.
"""

from __future__ import annotations

from rollout.spec.defaults import startup_seconds
from rollout.spec.model import Sections

QUEUE_SECONDS = 30
"""Until a write of the URL map that is in flight has ended. Rollbacks come next, in one write."""
WRITE_SECONDS = 30
"""One write of the URL map: the pass that decides it, and its operation."""
PROPAGATION_SECONDS = 120
"""Until a URL map has reached every front end. Google documents minutes at most and no number."""
ROUTE_SECONDS = QUEUE_SECONDS + WRITE_SECONDS + PROPAGATION_SECONDS
REPLACEMENT_SECONDS = 30
"""What a group takes to replace an instance beside starting and draining: its operations, and the
health check that sees the new one."""


def round_seconds(sections: Sections) -> int:
    """How long a group takes to replace as many instances as it may at a time."""
    return REPLACEMENT_SECONDS + startup_seconds(sections) + sections.traffic.draining_seconds


def rounds(fullest_zone: int, sections: Sections, *, in_place: bool = False) -> int:
    """How many rounds replace the instances of a group whose fullest zone has so many of them: 4 in
    one of three zones are two rounds with a surge of 6, since each zone gets two.
    """
    rollout, zones = sections.rollout, sections.placement.zone_count
    surge = rollout.surge
    if surge is None:
        surge = 0 if rollout.unavailable else zones
    batch = max(1, rollout.unavailable) if in_place else surge + rollout.unavailable
    return -(-fullest_zone // max(1, batch // zones))


def least_seconds(sections: Sections) -> int:
    """The shortest way back that a release with this spec can have after its last step: with the
    smallest fleet, and a stable release that could take everything back.
    """
    if sections.rollout.has_second_group:
        return ROUTE_SECONDS
    fullest_zone = -(-max(1, sections.scaling.min) // sections.placement.zone_count)
    return rounds(fullest_zone, sections) * round_seconds(sections)
