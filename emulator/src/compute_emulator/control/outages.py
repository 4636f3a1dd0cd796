"""Zone outages: a zone that is down loses every VM at once, and none can be created in it until
it is up.

    POST /control/zones {"us-central1-a": "DOWN"}    in process: take_down(cloud, "us-central1-a")
    POST /control/zones {"us-central1-a": "UP"}      in process: bring_up(cloud, "us-central1-a")
    POST /control/zones {"us-central1-a": "UNREACHABLE"}

`zones.get` shows that a zone is down; creations in it fail as in a stock-out, and groups keep
trying. In an unreachable zone everything runs, but calls about it fail with 503; aggregated
lists fail too, unless `returnPartialSuccess` is set.
"""

from __future__ import annotations

from typing import Any

from compute_emulator.control.registry import Controls, Query
from compute_emulator.engine.cloud import Cloud
from compute_emulator.engine.groups import groups
from compute_emulator.errors import JsonObject

CONTROLS = Controls()
DOWN, UP, UNREACHABLE = "DOWN", "UP", "UNREACHABLE"


def take_down(cloud: Cloud, zone: str) -> list[str]:
    """Returns the names of the lost VMs. Raises ValueError for an unknown zone."""
    _require_zone(cloud, zone)
    with cloud.lock:
        cloud.advance()
        cloud.zones_down.add(zone)
        cloud.stock_outs.notify()
        lost = [
            instance
            for group in groups(cloud)
            for instance in group.instances.values()
            if instance.zone == zone
        ]
        for instance in lost:
            instance.stop_unexpectedly()
        return [instance.name for instance in lost]


def bring_up(cloud: Cloud, zone: str) -> None:
    """Groups repair what the zone lost. A stock-out that was set for the zone remains."""
    _require_zone(cloud, zone)
    with cloud.lock:
        cloud.zones_unreachable.discard(zone)
        cloud.zones_down.discard(zone)
        cloud.stock_outs.notify()


def set_states(cloud: Cloud, states: Any) -> None:
    """Set all states, or none if one is invalid. Raises ValueError."""
    if not isinstance(states, dict) or not all(
        state in (DOWN, UP, UNREACHABLE) for state in states.values()
    ):
        raise ValueError(f"zones: expected an object of zones, each {DOWN}, {UNREACHABLE} or {UP}")
    for zone in states:
        _require_zone(cloud, zone)
    for zone, state in states.items():
        match state:
            case "DOWN":
                cloud.zones_unreachable.discard(zone)
                take_down(cloud, zone)
            case "UP":
                bring_up(cloud, zone)
            case _:
                cloud.zones_unreachable.add(zone)


def _require_zone(cloud: Cloud, zone: str) -> None:
    if not any(zone in zones for zones in cloud.regions.values()):
        raise ValueError(f"zones: {zone!r} is not a zone; GET /control/zones lists the zones")


def _state(cloud: Cloud, zone: str) -> str:
    if zone in cloud.zones_unreachable:
        return UNREACHABLE
    return DOWN if zone in cloud.zones_down else UP


@CONTROLS.add("GET", "/zones", "the state of each zone")
def show(cloud: Cloud, query: Query, body: Any) -> JsonObject:
    return {zone: _state(cloud, zone) for zones in cloud.regions.values() for zone in zones}


@CONTROLS.add(
    "POST",
    "/zones",
    'take zones down, with every VM in them, or bring them up: {"us-central1-a": "DOWN"}',
)
def change(cloud: Cloud, query: Query, body: Any) -> JsonObject:
    set_states(cloud, body)
    return show(cloud, query, None)


@CONTROLS.add("DELETE", "/zones", "bring all zones up")
def clear(cloud: Cloud, query: Query, body: Any) -> JsonObject:
    for zone in sorted(cloud.zones_down | cloud.zones_unreachable):
        bring_up(cloud, zone)
    return show(cloud, query, None)
