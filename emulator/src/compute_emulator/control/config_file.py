"""The settings file (`--config`): a JSON object that sets at the start what the controls set at
run time.

    {"behaviours": [...], "traffic": [...], "load": {...}, "stock_outs": {...}, "quotas": {...},
     "catalogue": {...}, "service_accounts": {...},
     "faults": [...], "zones": {"us-central1-a": "DOWN"}, "operation_seconds": 2,
     "operation_seconds_by_method": {...}, "propagation_seconds": 60, "certificate_seconds": 1200,
     "later": [{"after_seconds": 600, "post": "/instances",
                "body": {"effect": "preempt", "most": 2}}]}

Each member takes what the control of its name takes by PUT; `zones` and `later` take what theirs
take by POST.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from compute_emulator.api.discovery import methods
from compute_emulator.control import outages, scheduled, validation
from compute_emulator.control.faults import Fault
from compute_emulator.engine.cloud import Cloud
from compute_emulator.traffic.response_profile import check_entries

SETTERS: dict[str, Callable[[Cloud, Any], None]] = {}


def configure(cloud: Cloud, settings: Any) -> None:
    """Raises ValueError naming an unknown member or an invalid value."""
    if not isinstance(settings, dict):
        raise ValueError(
            f"settings are an object with members such as {', '.join(SETTERS)}, not {settings!r}"
        )
    unknown = sorted(set(settings) - set(SETTERS))
    if unknown:
        raise ValueError(f"unknown member {unknown[0]!r}; use one of {', '.join(SETTERS)}")
    for name, given in settings.items():
        SETTERS[name](cloud, given)


def _require_list(name: str, given: Any) -> list[Any]:
    if not isinstance(given, list):
        raise ValueError(f"{name} must be a list, not {given!r}")
    return given


def _set_traffic(cloud: Cloud, given: Any) -> None:
    check_entries(_require_list("traffic", given))
    cloud.traffic = list(given)


def _add_faults(cloud: Cloud, given: Any) -> None:
    for index, each in enumerate(_require_list("faults", given)):
        try:
            cloud.faults.active.append(Fault.read(each))
        except ValueError as error:
            raise ValueError(f"faults[{index}]: {error}") from error


def _schedule_controls(cloud: Cloud, given: Any) -> None:
    for index, each in enumerate(_require_list("later", given)):
        try:
            scheduled.schedule(cloud, each)
        except ValueError as error:
            raise ValueError(f"later[{index}]: {error}") from error


def _set_operation_seconds(cloud: Cloud, given: Any) -> None:
    cloud.operations.seconds = validation.number("operation_seconds", given)


def _set_operation_seconds_by_method(cloud: Cloud, given: Any) -> None:
    cloud.operations.seconds_by_method.update(
        validation.seconds_by_method("operation_seconds_by_method", given, methods())
    )


def set_propagation_seconds(cloud: Cloud, given: Any) -> None:
    cloud.propagation.seconds = validation.number("propagation_seconds", given)


def set_certificate_seconds(cloud: Cloud, given: Any) -> None:
    cloud.certificate_seconds = validation.number("certificate_seconds", given)


def _map_setter(name: str) -> Callable[[Cloud, Any], None]:
    return lambda cloud, given: getattr(cloud, name).update(
        validation.entries(cloud.regions, name, given)
    )


SETTERS |= {
    "behaviours": lambda cloud, given: cloud.set_behaviours(_require_list("behaviours", given)),
    "traffic": _set_traffic,
    **{name: _map_setter(name) for name in validation.MAPS},
    "faults": _add_faults,
    "zones": outages.set_states,
    "operation_seconds": _set_operation_seconds,
    "operation_seconds_by_method": _set_operation_seconds_by_method,
    "propagation_seconds": set_propagation_seconds,
    "certificate_seconds": set_certificate_seconds,
    "later": _schedule_controls,
}
REALISTIC_TIMES = {
    "operation_seconds": 3,
    "operation_seconds_by_method": {
        "compute.urlMaps.*": 15,
        "compute.regionUrlMaps.*": 15,
        "compute.backendServices.*": 10,
    },
    "propagation_seconds": 60,
    "certificate_seconds": 1200,
}
"""Times as at Google, for `--realistic-times`. Google publishes no figures except for certificates
(up to 60 minutes); these are assumptions of the usual order of magnitude."""
