"""Compares an observed body with a desired one, in the fields that Slipway manages. Pure.

Only the fields of the desired body count. What the server adds (ids, links, fingerprints, status,
`calculated`) is no drift, nor is what others set (`securityPolicy`, `iap` or `cdnPolicy` on a
backend service, `stabilizationPeriodSec` on an autoscaler). A desired `None` means that the field
must be absent. A different spelling is no drift either:

    references      https://www.googleapis.com/compute/v1/projects/p/global/healthChecks/x
                    = global/healthChecks/x
    int64           "50" = 50            float32   0.6000000238418579 = 0.6
    port ranges     "80-80" = "80"       defaults  an absent field = its documented default
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from infra.fleet.model import Body
from infra.fleet.naming import canonical

_ONE_PORT = re.compile(r"(\d+)-\1")

Changes = dict[str, tuple[Any, Any]]  # path -> (observed, desired)

# What an absent field means. Source: Compute API discovery document, descriptions of the fields.
DEFAULTS: dict[str, Any] = {
    "balancingMode": "UTILIZATION",
    "capacityScaler": 1,
    "coolDownPeriodSec": 60,
    "defaultActionOnFailure": "REPAIR",
    "forceUpdateOnRepair": "NO",
    "instanceRedistributionType": "PROACTIVE",
    "minimalAction": "REPLACE",
    "mirrorPercent": 100,
    "mode": "ON",
    "mostDisruptiveAllowedAction": "REPLACE",
    "onFailedHealthCheck": "DEFAULT_ACTION",
    "predictiveMethod": "NONE",
    "proxyHeader": "NONE",
    "replacementMethod": "SUBSTITUTE",
    "sessionAffinity": "NONE",
    "targetShape": "EVEN",
    "timeZone": "UTC",
    "utilizationTargetType": "GAUGE",
}


def differences(desired: Mapping[str, Any], observed: Mapping[str, Any], path: str = "") -> Changes:
    """The fields of `desired` in which `observed` differs, by dotted path."""
    changes: Changes = {}
    for field, desired_value in desired.items():
        observed_value = observed.get(field)
        if desired_value != observed_value:  # most fields are equal and need no further comparison
            where = f"{path}.{field}" if path else field
            changes |= _compare(where, field, desired_value, observed_value)
    return changes


def _compare(where: str, field: str, desired_value: Any, observed_value: Any) -> Changes:
    match desired_value:
        case Mapping() if _is_amount(desired_value):
            desired_amount, observed_amount = _amount(desired_value), _amount(observed_value or {})
            is_equal = desired_amount == observed_amount
            return {} if is_equal else {where: (observed_amount, desired_amount)}
        case Mapping():
            return differences(desired_value, observed_value or {}, where)
        case list() if isinstance(observed_value, list) and len(observed_value) == len(
            desired_value
        ):
            changes: Changes = {}
            for index, (each, other) in enumerate(zip(desired_value, observed_value, strict=True)):
                changes |= _compare(f"{where}[{index}]", field, each, other)
            return changes
        case list():
            is_equal = not desired_value and not observed_value
        case _:
            is_equal = is_same(field, desired_value, observed_value)
    return {} if is_equal else {where: (observed_value, desired_value)}


def is_same(field: str, desired_value: Any, observed_value: Any) -> bool:
    """Whether two values of a field mean the same."""
    return _plain(field, desired_value) == _plain(field, observed_value) or _is_close(
        desired_value, DEFAULTS.get(field) if observed_value is None else observed_value
    )


def _plain(field: str, value: Any) -> Any:
    if value is None or value in ("", [], {}):
        value = DEFAULTS.get(field)
    match value:
        case None | False | 0:
            return None
        case str() if "/" in value:
            return canonical(value)
        case str() if _ONE_PORT.fullmatch(value):
            return value.split("-")[0]
        case int() if not isinstance(value, bool):
            return str(value)
    return value


def _is_close(desired_value: Any, observed_value: Any) -> bool:
    """Whether two numbers are equal as float32, in which Compute Engine stores several fields: 0.6
    may come back as 0.6000000238418579.
    """
    numbers = [
        value
        for value in (desired_value, observed_value)
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return len(numbers) == 2 and math.isclose(*numbers, rel_tol=1e-6)


def _is_amount(value: Mapping[str, Any]) -> bool:
    return bool(value) and set(value) <= {"fixed", "percent"}


def _amount(value: Mapping[str, Any]) -> dict[str, int]:
    """`{fixed}` or `{percent}`, whichever is set; the server's `calculated` does not count."""
    return {
        unit: int(value[unit]) for unit in ("fixed", "percent") if value.get(unit) is not None
    } or {"fixed": 0}


def with_absent(desired: Mapping[str, Any], fields: Iterable[str]) -> Body:
    """`desired`, in which each of `fields` that it omits must be absent."""
    return {field: None for field in fields if field not in desired} | dict(desired)


def describe(thing: str, changes: Changes, words: Mapping[str, str]) -> str:
    """Changes as a reason: *"the autoscaler's max is 3 and the release asks for 5"*. `words` maps
    paths to plain words.
    """
    clauses = [
        f"{thing}'s {words.get(path, path)} is {display(observed_value)} and the release asks for"
        f" {display(desired_value)}"
        for path, (observed_value, desired_value) in list(changes.items())[:2]
    ]
    more = f" (and {len(changes) - 2} more)" if len(changes) > 2 else ""
    return "; ".join(clauses) + more


def display(value: Any) -> str:
    """A value for a person: `none`, `3`, `50%`, `UTILIZATION`,
    `global/healthChecks/slipway-tiny-blue-live`.
    """
    match value:
        case None | "" | [] | {}:
            return "none"
        case {"percent": percent}:
            return f"{percent}%"
        case {"fixed": fixed}:
            return str(fixed)
        case str():
            return canonical(value)
        case Mapping():
            return ", ".join(f"{key} {display(each)}" for key, each in value.items())
        case list():
            return ", ".join(display(each) for each in value)
    return str(value)
