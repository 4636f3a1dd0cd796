"""Validates load, stock-outs, quotas and times. Pure.

`settings.py` and `config_file.py` validate before they change anything: a mistake is refused at
once, naming the member and what it may be, and does not surface later in an autoscaler or a
group. Each check raises ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from fnmatch import fnmatchcase
from typing import Any

from compute_emulator import keys
from compute_emulator.engine.capacity import ALL_REGIONS, METRIC

LOAD = ("cpu", "cpu_demand", "rps", "balancing", "metrics")
NO_DATA = ("invalid", "sparse")
RULE_TIMES, RULE_WORDS = ("from", "until"), ("accelerator", "machine_type", "message", "code")
Check = Callable[[Mapping[str, tuple[str, ...]], str, str, Any], None]


def number(
    where: str, value: Any, *, low: float = 0.0, high: float = math.inf, unit: str = "a number"
) -> float:
    """The number, if it is between `low` and `high`."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not low <= value <= high
        or not math.isfinite(value)
    ):
        expected = (
            f"{unit} ({low:g} or more)" if high == math.inf else f"{unit} from {low:g} to {high:g}"
        )
        raise ValueError(f"{where} must be {expected}, not {value!r}")
    return float(value)


def members(where: str, value: Any, known: Collection[str]) -> Mapping[str, Any]:
    """The object, if it has no members other than `known`."""
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be an object, not {value!r}")
    unknown = sorted(set(value) - set(known))
    if unknown:
        raise ValueError(f"{where}: unknown member {unknown[0]!r}; use one of {', '.join(known)}")
    return value


def load(regions: Mapping[str, tuple[str, ...]], where: str, name: str, value: Any) -> None:
    """An entry of the load, for a group that need not exist yet."""
    given = members(where, value, LOAD)
    for member in LOAD[:-1]:
        if member in given:
            number(f"{where}.{member}", given[member])
    metrics = given.get("metrics", {})
    if not isinstance(metrics, dict):
        raise ValueError(f"{where}.metrics must be an object of metrics, not {metrics!r}")
    for metric, each in metrics.items():
        if isinstance(each, str) and each in NO_DATA:
            continue
        at = f"{where}.metrics[{metric}]"
        if isinstance(each, dict) and set(each) == {"mean"}:
            number(f"{at}.mean", each["mean"])
        elif isinstance(each, bool) or not isinstance(each, int | float):
            raise ValueError(
                f'{at} must be a number, {{"mean": number}} or one of {", ".join(NO_DATA)}, not'
                f" {each!r}"
            )
        else:
            number(at, each)


def stock_out(regions: Mapping[str, tuple[str, ...]], where: str, name: str, value: Any) -> None:
    if name != "*" and name not in regions and not any(name in zones for zones in regions.values()):
        raise ValueError(f"{where}: {name!r} is not a zone, a region or *")
    rule = members(where, value, (*RULE_TIMES, *RULE_WORDS))
    for member in RULE_TIMES:
        if member in rule:
            number(f"{where}.{member}", rule[member])
    for member in RULE_WORDS:
        if member in rule and not isinstance(rule[member], str):
            raise ValueError(f"{where}.{member} must be a string, not {rule[member]!r}")


def quota(regions: Mapping[str, tuple[str, ...]], where: str, name: str, value: Any) -> None:
    """A limit of a metric in every region, or in one: `us-central1/CPUS`."""
    region, slash, metric = name.rpartition("/")
    if slash and region not in regions:
        raise ValueError(f"{where}: {region!r} is not a region")
    if not METRIC.fullmatch(metric):
        expected = f"INSTANCES, CPUS, N2_CPUS, NVIDIA_L4_GPUS and similar, {ALL_REGIONS}"
        raise ValueError(f"{where}: unknown metric {metric!r}; use {expected}")
    if slash and metric == ALL_REGIONS:
        raise ValueError(f"{where}: {metric} is a project limit, not a regional one")
    number(where, value)


CATALOGUE = ("images", "networks", "subnetworks")
ACCOUNT_STATES = ("denied", "missing")


def catalogue(regions: Mapping[str, tuple[str, ...]], where: str, name: str, value: Any) -> None:
    """URLs of resources of one collection that the project has."""
    if name not in CATALOGUE:
        raise ValueError(f"{where}: unknown collection; use one of {', '.join(CATALOGUE)}")
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"{where} must be a list of URLs, not {value!r}")
    for each in value:
        key = keys.parse(each)
        if key is None or key.collection != name:
            raise ValueError(f"{where}: {each!r} is not a URL such as {EXAMPLES[name]}")


EXAMPLES = {
    "images": "global/images/family/mine",
    "networks": "global/networks/mine",
    "subnetworks": "regions/us-central1/subnetworks/mine",
}


def service_account(
    regions: Mapping[str, tuple[str, ...]], where: str, name: str, value: Any
) -> None:
    if value not in ACCOUNT_STATES:
        raise ValueError(f"{where} must be one of {', '.join(ACCOUNT_STATES)}, not {value!r}")


MAPS: dict[str, Check] = {
    "load": load,
    "stock_outs": stock_out,
    "quotas": quota,
    "catalogue": catalogue,
    "service_accounts": service_account,
}
"""The settings that are maps, by their attribute of the `Cloud`."""


def entries(
    regions: Mapping[str, tuple[str, ...]], setting: str, value: Any, *, removable: bool = False
) -> dict[str, Any]:
    """The map for a setting of `MAPS`, if every entry is valid. With `removable`, `null` removes
    an entry.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{setting}: expected a JSON object, not {value!r}")
    for name, each in value.items():
        if each is not None or not removable:
            MAPS[setting](regions, f"{setting}[{name}]", name, each)
    return value


def seconds_by_method(where: str, value: Any, method_ids: Collection[str]) -> dict[str, float]:
    """Globs of method ids to seconds. Their order matters and is kept."""
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be an object of globs to seconds, not {value!r}")
    return {
        glob: number(f"{where}[{pattern(where, glob, method_ids)}]", each)
        for glob, each in value.items()
    }


def pattern(where: str, value: Any, method_ids: Collection[str]) -> str:
    """A glob that matches at least one method id."""
    if not isinstance(value, str):
        raise ValueError(f"{where} must be a string, not {value!r}")
    if not any(fnmatchcase(each, value) for each in method_ids):
        raise ValueError(
            f"{where}: {value!r} matches no method; an id looks like"
            " compute.regionInstanceGroupManagers.patch"
        )
    return value
