"""The controls for behaviours, load, faults, stock-outs, quotas and time, and for the log of
calls.

Every list or map of settings works the same way: GET shows, PUT replaces, POST adds, DELETE
clears. The settings are attributes of the `Cloud`; in process, set them there.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from compute_emulator import keys
from compute_emulator.api.coverage import coverage
from compute_emulator.api.discovery import methods
from compute_emulator.control import validation
from compute_emulator.control.faults import CLASSES, KINDS, Fault
from compute_emulator.control.registry import Controls, Query
from compute_emulator.engine.clock import VirtualClock
from compute_emulator.engine.cloud import Cloud
from compute_emulator.errors import JsonObject

CONTROLS = Controls()


def _objects(body: Any) -> list[JsonObject]:
    """One object or a list of objects. Raises ValueError."""
    given = body if isinstance(body, list) else [body]
    if not all(isinstance(each, dict) for each in given):
        raise ValueError("expected a JSON object or a list of objects")
    return given


# Behaviours


@CONTROLS.add("GET", "/behaviours", "how instances behave; the first match wins")
def show_behaviours(cloud: Cloud, query: Query, body: Any) -> Any:
    return cloud.behaviours


@CONTROLS.add("PUT", "/behaviours", "replace all behaviours: a list")
def replace_behaviours(cloud: Cloud, query: Query, body: Any) -> Any:
    cloud.set_behaviours(_objects(body))
    return cloud.behaviours


@CONTROLS.add("POST", "/behaviours", "add one behaviour (or a list) before the others")
def add_behaviours(cloud: Cloud, query: Query, body: Any) -> Any:
    cloud.set_behaviours(_objects(body) + cloud.behaviours)
    return cloud.behaviours


@CONTROLS.add("DELETE", "/behaviours", "remove all behaviours")
def clear_behaviours(cloud: Cloud, query: Query, body: Any) -> Any:
    cloud.set_behaviours([])
    return cloud.behaviours


# Maps: load, stock-outs, quotas


def _map_controls(path: str, member: str, about: str) -> None:
    """Add GET, PUT, POST (merge; null removes an entry) and DELETE for a map of the cloud."""

    def show(cloud: Cloud, query: Query, body: Any) -> Any:
        return getattr(cloud, member)

    def replace(cloud: Cloud, query: Query, body: Any) -> Any:
        given = validation.entries(cloud.regions, member, body)
        getattr(cloud, member).clear()
        getattr(cloud, member).update(given)
        return show(cloud, query, body)

    def add(cloud: Cloud, query: Query, body: Any) -> Any:
        table = getattr(cloud, member)
        for name, value in validation.entries(cloud.regions, member, body, removable=True).items():
            if value is None:
                table.pop(name, None)
            else:
                table[name] = value
        return table

    def clear(cloud: Cloud, query: Query, body: Any) -> Any:
        getattr(cloud, member).clear()
        return show(cloud, query, body)

    CONTROLS.add("GET", path, about)(show)
    CONTROLS.add("PUT", path, f"replace the map: {about}")(replace)
    CONTROLS.add("POST", path, "set entries; null removes one")(add)
    CONTROLS.add("DELETE", path, "clear the map")(clear)


_map_controls(
    "/load", "load", 'load by group: {"my-group": {"cpu": 0.8, "rps": 120, "metrics": {"name": 5}}}'
)
_map_controls(
    "/stock-outs",
    "stock_outs",
    'places without capacity: {"us-central1-a": {}} or {"us-central1": {"message": "…"}}',
)
_map_controls("/quotas", "quotas", 'limits by metric: {"CPUS": 24}')
_map_controls(
    "/catalogue",
    "catalogue",
    'resources of the project: {"images": ["global/images/family/mine"]}, networks, subnetworks',
)
_map_controls(
    "/service-accounts",
    "service_accounts",
    'accounts that VMs cannot use, by glob: {"llama@*": "denied"} or "missing"',
)


# Faults


@CONTROLS.add("GET", "/faults", "the active faults with their counts, and the kinds of faults")
def show_faults(cloud: Cloud, query: Query, body: Any) -> JsonObject:
    return {
        "faults": [each.as_dict() for each in cloud.faults.active],
        "kinds": KINDS,
        "error_classes": sorted(CLASSES),
    }


@CONTROLS.add(
    "POST",
    "/faults",
    'add a fault: {"kind": "error", "method": "compute.urlMaps.*", "nth": 1, "times": 2, "status":'
    " 503}",
)
def add_faults(cloud: Cloud, query: Query, body: Any) -> JsonObject:
    cloud.faults.active += [Fault.read(each) for each in _objects(body)]
    return show_faults(cloud, query, None)


@CONTROLS.add("PUT", "/faults", "replace all faults: a list")
def replace_faults(cloud: Cloud, query: Query, body: Any) -> JsonObject:
    cloud.faults.active = [Fault.read(each) for each in _objects(body)]
    return show_faults(cloud, query, None)


@CONTROLS.add("DELETE", "/faults", "remove all faults")
def clear_faults(cloud: Cloud, query: Query, body: Any) -> JsonObject:
    cloud.faults.clear()
    return show_faults(cloud, query, None)


@CONTROLS.add(
    "GET", "/operation-seconds", "how long operations take: a default and globs by method id"
)
def show_operation_seconds(cloud: Cloud, query: Query, body: Any) -> JsonObject:
    return {"default": cloud.operations.seconds, "by_method": cloud.operations.seconds_by_method}


@CONTROLS.add(
    "PUT", "/operation-seconds", 'set them: {"default": 2, "by_method": {"compute.urlMaps.*": 30}}'
)
def set_operation_seconds(cloud: Cloud, query: Query, body: Any) -> JsonObject:
    given = validation.members("operation-seconds", body, ("default", "by_method"))
    default = validation.number("default", given.get("default", cloud.operations.seconds))
    by_method = validation.seconds_by_method("by_method", given.get("by_method", {}), methods())
    cloud.operations.seconds, cloud.operations.seconds_by_method = default, by_method
    return show_operation_seconds(cloud, query, None)


@CONTROLS.add(
    "GET", "/delays", "how long the data plane takes to follow a change, and managed certificates"
)
def show_delays(cloud: Cloud, query: Query, body: Any) -> JsonObject:
    return {
        "propagation_seconds": cloud.propagation.seconds,
        "certificate_seconds": cloud.certificate_seconds,
    }


@CONTROLS.add(
    "PUT", "/delays", 'set them: {"propagation_seconds": 60, "certificate_seconds": 1200}'
)
def set_delays(cloud: Cloud, query: Query, body: Any) -> JsonObject:
    names = ("propagation_seconds", "certificate_seconds")
    given = validation.members("delays", body, names)
    current = show_delays(cloud, query, None)
    propagation, certificate = (
        validation.number(name, given.get(name, current[name])) for name in names
    )
    cloud.propagation.seconds, cloud.certificate_seconds = propagation, certificate
    return show_delays(cloud, query, None)


# Time


@CONTROLS.add(
    "GET",
    "/time",
    "the cloud's time, its speed (0: manual), and the time of the next event",
)
def show_time(cloud: Cloud, query: Query, body: Any) -> JsonObject:
    upcoming = cloud.next_event_at()
    return {
        "now": cloud.now(),
        "timestamp": cloud.timestamp(),
        "speed": cloud.clock.speed,
        "next_event_at": upcoming,
    }


@CONTROLS.add("POST", "/time", 'let time pass, with --speed 0: {"advance": 60}')
def pass_time(cloud: Cloud, query: Query, body: Any) -> JsonObject:
    if not isinstance(cloud.clock, VirtualClock):
        raise ValueError(
            "this cloud's time passes by itself; start it with --speed 0 to advance it manually"
        )
    given = validation.members("time", body, ("advance",))
    cloud.clock.advance(validation.number("advance", given.get("advance")))
    cloud.advance()
    return show_time(cloud, query, None)


# Calls and resources


@CONTROLS.add("GET", "/calls", "calls so far by method id")
def show_calls(cloud: Cloud, query: Query, body: Any) -> JsonObject:
    counts = dict(sorted(cloud.calls.counts.items()))
    return {"calls": counts, "total": sum(counts.values()), "mutations": cloud.calls.mutations}


@CONTROLS.add("DELETE", "/calls", "reset the counts")
def clear_calls(cloud: Cloud, query: Query, body: Any) -> JsonObject:
    cloud.calls.clear()
    return show_calls(cloud, query, None)


@CONTROLS.add("GET", "/calls/log", "the last calls; ?last=N")
def show_call_log(cloud: Cloud, query: Query, body: Any) -> Any:
    last = query.get("last", "1000")
    if not (last.isascii() and last.isdigit()):
        raise ValueError(f"last must be a whole number, not {last!r}")
    return [each.as_dict() for each in list(cloud.calls.log)[-int(last) :] if last != "0"]


@CONTROLS.add(
    "GET",
    "/instances",
    "instances with template, version and state, and counts by template; ?group=NAME",
)
def show_instances(cloud: Cloud, query: Query, body: Any) -> JsonObject:
    found = [each for each in cloud.snapshot() if query.get("group") in (None, each.get("group"))]
    counts = Counter(str(each.get("template")) for each in found)
    return {"at": cloud.now(), "instances": found, "by_template": dict(sorted(counts.items()))}


@CONTROLS.add("GET", "/state", "every resource and every unfinished operation")
def show_state(cloud: Cloud, query: Query, body: Any) -> JsonObject:
    resources = {
        cloud.path(keys.Key(scope, collection, name)): resource
        for (scope, collection), table in sorted(cloud.tables.items())
        for name, resource in sorted(table.items())
    }
    running = [each for each in cloud.operations.table.values() if each["status"] != "DONE"]
    return {"now": cloud.now(), "resources": resources, "operations": running}


@CONTROLS.add("GET", "/coverage", "which methods of Compute v1 are implemented, by collection")
def show_coverage(cloud: Cloud, query: Query, body: Any) -> JsonObject:
    return coverage()
