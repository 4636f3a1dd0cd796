"""How an observed body differs from a wanted one, in the fields that are ours.

Only fields of the wanted body are looked at, so whatever the server adds (ids, links, fingerprints,
status, `calculated`) and whatever other people set beside ours (for example `securityPolicy`, `iap`
or `cdnPolicy` on a backend service, `stabilizationPeriodSec` on an autoscaler) is no drift. A
wanted `None` means that the field should not be there. Spelling is no drift either:

    references      https://www.googleapis.com/compute/v1/projects/p/global/healthChecks/x  =  global/healthChecks/x
    int64           "50" = 50            float32   0.6000000238418579 = 0.6
    port ranges     "80-80" = "80"       defaults  a field that is absent = its documented default
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from infra.fleet.model import Body
from infra.fleet.naming import canonical

Changes = dict[str, tuple[Any, Any]]  # path -> (observed, wanted)

# What the server means by leaving a field out. Source: Compute API discovery document, descriptions
# of the fields.
DEFAULTS: dict[str, Any] = {
    "balancingMode": "UTILIZATION",
    "capacityScaler": 1,
    "coolDownPeriodSec": 60,
    "defaultActionOnFailure": "REPAIR",
    "forceUpdateOnRepair": "NO",
    "instanceRedistributionType": "PROACTIVE",
    "minimalAction": "REPLACE",
    "mode": "ON",
    "mostDisruptiveAllowedAction": "REPLACE",
    "predictiveMethod": "NONE",
    "proxyHeader": "NONE",
    "replacementMethod": "SUBSTITUTE",
    "sessionAffinity": "NONE",
    "targetShape": "EVEN",
    "timeZone": "UTC",
    "utilizationTargetType": "GAUGE",
}


def differences(wanted: Mapping[str, Any], observed: Mapping[str, Any], path: str = "") -> Changes:
    """The fields of `wanted` that `observed` does not agree with, by dotted path."""
    changes: Changes = {}
    for field, want in wanted.items():
        seen = observed.get(field)
        if want != seen:  # what is equal as it stands, as most fields are, needs no reading
            changes |= _compare(f"{path}.{field}" if path else field, field, want, seen)
    return changes


def _compare(where: str, field: str, want: Any, seen: Any) -> Changes:
    match want:
        case Mapping() if _is_amount(want):
            return (
                {}
                if _amount(want) == _amount(seen or {})
                else {where: (_amount(seen or {}), _amount(want))}
            )
        case Mapping():
            return differences(want, seen or {}, where)
        case list() if isinstance(seen, list) and len(seen) == len(want):
            changes: Changes = {}
            for index, (each, other) in enumerate(zip(want, seen, strict=True)):
                changes |= _compare(f"{where}[{index}]", field, each, other)
            return changes
        case list():
            return {} if not want and not seen else {where: (seen, want)}
        case _:
            return {} if is_same(field, want, seen) else {where: (seen, want)}


def is_same(field: str, want: Any, seen: Any) -> bool:
    """Whether two values of a field mean the same."""
    return _plain(field, want) == _plain(field, seen) or _is_close(
        want, DEFAULTS.get(field) if seen is None else seen
    )


def _plain(field: str, value: Any) -> Any:
    if value is None or value in ("", [], {}):
        value = DEFAULTS.get(field)
    match value:
        case None | False | 0:
            return None
        case str() if "/" in value:
            return canonical(value)
        case str() if re.fullmatch(r"(\d+)-\1", value):
            return value.split("-")[0]
        case int() if not isinstance(value, bool):
            return str(value)
    return value


def _is_close(want: Any, seen: Any) -> bool:
    """Numbers that agree as float32: several fields are stored with no more, so 0.6 may come back
    as 0.6000000238418579."""
    numbers = [
        value
        for value in (want, seen)
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return len(numbers) == 2 and math.isclose(*numbers, rel_tol=1e-6)


def _is_amount(value: Mapping[str, Any]) -> bool:
    return bool(value) and set(value) <= {"fixed", "percent"}


def _amount(value: Mapping[str, Any]) -> dict[str, int]:
    """`{fixed}` or `{percent}`, of which exactly one counts; `calculated` is the server's."""
    return {
        unit: int(value[unit]) for unit in ("fixed", "percent") if value.get(unit) is not None
    } or {"fixed": 0}


def exactly(
    wanted: Mapping[str, Any], observed: Mapping[str, Any], fields: tuple[str, ...] | None = None
) -> Body:
    """`wanted` with an explicit `None` for each of `fields` (or of all the observed ones) that it
    leaves out."""
    return {field: None for field in fields or tuple(observed) if field not in wanted} | dict(
        wanted
    )


def sentence(thing: str, changes: Changes, words: Mapping[str, str]) -> str:
    """Changes as a reason: *"the autoscaler's max is 3 and the release asks for 5"*. `words` names
    paths in plain words."""
    said = [
        _clause(thing, words.get(path, path), seen, want)
        for path, (seen, want) in list(changes.items())[:2]
    ]
    more = f" (and {len(changes) - 2} more)" if len(changes) > 2 else ""
    return "; ".join(said) + more


def _clause(thing: str, what: str, seen: Any, want: Any) -> str:
    return f"{thing}'s {what} is {display(seen)} and the release asks for {display(want)}"


def display(value: Any) -> str:
    """A value as a person reads it: `none`, `3`, `50%`, `UTILIZATION`,
    `global/healthChecks/tiny-live`."""
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
