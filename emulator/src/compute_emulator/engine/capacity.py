"""Why a VM cannot be created now: no capacity in its zone, no quota, or an invalid configuration.

`group_capacity.py` asks before each attempt. Stock-outs and quotas are settings of the `Cloud`:

    cloud.stock_outs["us-central1-a"] = {}     a zone, a region or "*", until removed
    cloud.stock_outs["us-central1"] = {
        "from": T1, "until": T2, "accelerator": "nvidia-l4", "machine_type": "g2-*",
        "message": "replaces the usual message", "code": "ZONE_RESOURCE_POOL_EXHAUSTED",
    }
    cloud.quotas["CPUS"] = 24      INSTANCES, CPUS, NVIDIA_L4_GPUS ... per region;
                                   GPUS_ALL_REGIONS for the project

Codes and wording are Compute Engine's; see its documentation on resource errors and quotas.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from compute_emulator.errors import JsonObject
from compute_emulator.rules.machine_types import CUSTOM

STOCK_OUT = "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"
ALL_REGIONS = "GPUS_ALL_REGIONS"
METRIC = re.compile(
    rf"INSTANCES|CPUS|{ALL_REGIONS}|(?!PREEMPTIBLE_|COMMITTED_)([A-Z0-9]+_CPUS|NVIDIA_[A-Z0-9_]+_GPUS)"
)
"""The quota metrics that a VM counts towards."""
VCPUS = {
    "a2-highgpu": 12,
    "a2-ultragpu": 12,
    "a2-megagpu": 6,
    "a3-highgpu": 26,
}  # vCPUs per GPU, for machine types named by their number of GPUs


@dataclass(frozen=True)
class Failure:
    """A failed creation, as reported in `lastAttempt` and by `listErrors`."""

    code: str
    message: str
    details: tuple[JsonObject, ...] = field(default=(), hash=False)

    def as_error(self) -> JsonObject:
        error: JsonObject = {"code": self.code, "message": self.message}
        return error | ({"errorDetails": list(self.details)} if self.details else {})

    @property
    def is_stock_out(self) -> bool:
        return "POOL_EXHAUSTED" in self.code


@dataclass(frozen=True)
class Need:
    """The resources that a VM needs. `accelerators` are pairs of a type such as `nvidia-l4` and a
    count.
    """

    machine_type: str
    accelerators: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, properties: JsonObject) -> Need:
        given = properties.get("guestAccelerators") or []
        pairs = tuple(
            (each.get("acceleratorType", ""), int(each.get("acceleratorCount", 0)))
            for each in given
        )
        return cls(properties.get("machineType", ""), pairs)

    def of_type(self, machine_type: str) -> Need:
        """The same need on another machine type; unchanged if `machine_type` is empty."""
        return replace(self, machine_type=machine_type) if machine_type else self

    @property
    def vcpus(self) -> int:
        """From the type's name: `n1-standard-4` has 4, `a2-highgpu-2g` has 2 x 12; shared-core
        types count as 2.
        """
        custom = CUSTOM.fullmatch(self.machine_type)
        if custom is not None:
            return int(custom[1])
        family, _, last = self.machine_type.rpartition("-")
        number = re.match(r"\d+", last)
        if number is None:
            return 2
        return int(number[0]) * (VCPUS.get(family, 1) if last.endswith("g") else 1)


def zones_without_capacity(
    stock_outs: Mapping[str, JsonObject], zones: Iterable[str], need: Need, now: float
) -> dict[str, JsonObject]:
    """The zones that have no capacity for such a VM now, each with the rule that causes it."""
    return {
        zone: rule
        for zone in zones
        for at, rule in stock_outs.items()
        if _rule_applies(at, rule, zone, need, now)
    }


def _rule_applies(place: str, rule: JsonObject, zone: str, need: Need, now: float) -> bool:
    if place not in ("*", zone, zone.rpartition("-")[0]):
        return False
    if not float(rule.get("from", "-inf")) <= now < float(rule.get("until", "inf")):
        return False
    if "accelerator" in rule and not any(
        fnmatchcase(kind, rule["accelerator"]) for kind, _ in need.accelerators
    ):
        return False
    return fnmatchcase(need.machine_type, rule.get("machine_type", "*"))


def stock_out_failure(
    project: str,
    zone: str,
    need: Need,
    zones_available: Iterable[str] = (),
    message: str | None = None,
    code: str | None = None,
) -> Failure:
    attachment = ",".join(f"{kind}:{count}" for kind, count in need.accelerators)
    with_accelerator = "".join(
        f" with {count} {kind} accelerator(s)" for kind, count in need.accelerators
    )
    vm = f"A {need.machine_type} VM instance{with_accelerator}"
    available = ",".join(zones_available)
    metadatas = {
        "vmType": need.machine_type,
        "zone": zone,
        "attachment": attachment,
        "zonesAvailable": available,
    }
    hint = f" Consider trying your request in the {available} zone(s)." if available else ""
    return Failure(
        code or STOCK_OUT,
        message
        or (
            f"The zone 'projects/{project}/zones/{zone}' does not have enough resources available"
            " to fulfill the request.  Try a different zone, or try again later."
        ),
        (
            {
                "help": {
                    "links": [
                        {
                            "description": "Troubleshooting",
                            "url": "https://cloud.google.com/compute/docs/resource-error",
                        }
                    ]
                }
            },
            {
                "localizedMessage": {
                    "locale": "en-US",
                    "message": f"{vm} is currently unavailable in the {zone} zone.{hint}",
                }
            },
            {
                "errorInfo": {
                    "domain": "compute.googleapis.com",
                    "reason": "resource_availability",
                    "metadatas": metadatas,
                }
            },
        ),
    )


def quota_failure(metric: str, limit: float, region: str) -> Failure:
    everywhere = metric == ALL_REGIONS
    where = "globally" if everywhere else f"in region {region}"
    info: JsonObject = {
        "metricName": f"compute.googleapis.com/{metric.lower()}",
        "limitName": f"{metric.replace('_', '-')}-per-project{'' if everywhere else '-region'}",
        "dimensions": {} if everywhere else {"region": region},
        "limit": float(limit),
    }
    return Failure(
        "QUOTA_EXCEEDED",
        f"Quota '{metric}' exceeded.  Limit: {float(limit)} {where}.",
        ({"quotaInfo": info},),
    )


def failure_of_kind(
    kind: str, message: str | None, project: str, region: str, zone: str, need: Need
) -> Failure:
    """The failure that a behaviour's `creation_error` of this kind causes."""
    if kind == "stock_out":
        return stock_out_failure(project, zone, need, message=message)
    if kind == "quota":
        return quota_failure("CPUS", 0.0, region)
    code, usual = OTHER_ERRORS[kind]
    return Failure(code, message or usual.format(project=project))


OTHER_ERRORS = {
    "config": (
        "INVALID_FIELD_VALUE",
        "Invalid value for field 'resource.disks[0].initializeParams.sourceImage'.",
    ),
    "addresses": ("IP_SPACE_EXHAUSTED", "IP space of the subnetwork is exhausted."),
    "permissions": (
        "PERMISSIONS_ERROR",
        "Required 'compute.instances.create' permission for 'projects/{project}'.",
    ),
    "org_policy": (
        "CONDITION_NOT_MET",
        (
            "Constraint constraints/compute.vmExternalIpAccess violated for project {project}. Add"
            " instance to the constraint to use external IP with it."
        ),
    ),
}
"""Code and usual message of each kind of error that is neither a stock-out nor a quota."""
ERROR_KINDS = ("stock_out", "quota", *OTHER_ERRORS)


def exceeded_quota(
    quotas: Mapping[str, float],
    region: str,
    need: Need,
    in_region: Iterable[Need],
    everywhere: Iterable[Need],
) -> tuple[str, float] | None:
    """The quota that one more such VM would exceed. `in_region` and `everywhere` are the existing
    VMs.
    """
    taken, taken_everywhere = usage(in_region), usage(everywhere)
    for metric, amount in usage([need]).items():
        limit = limit_of(quotas, region, metric)
        so_far = (taken_everywhere if metric == ALL_REGIONS else taken).get(metric, 0)
        if limit is not None and amount and so_far + amount > limit:
            return metric, limit
    return None


def limit_of(quotas: Mapping[str, float], region: str, metric: str) -> float | None:
    """The limit of a metric in a region. A limit set for the region overrides the one for all."""
    return quotas.get(f"{region}/{metric}", quotas.get(metric))


def usage(needs: Iterable[Need]) -> dict[str, float]:
    """The total usage of VMs, by metric."""
    total: dict[str, float] = {}
    for need in needs:
        for metric, amount in [
            *_regional(need),
            (ALL_REGIONS, sum(count for _, count in need.accelerators)),
        ]:
            total[metric] = total.get(metric, 0) + amount
    return total


def _regional(need: Need) -> Iterator[tuple[str, float]]:
    yield "INSTANCES", 1
    family = need.machine_type.partition("-")[0].upper()
    yield ("CPUS" if family in ("N1", "E2", "F1", "G1", "") else f"{family}_CPUS"), need.vcpus
    for kind, count in need.accelerators:
        for_metric = kind.removeprefix("nvidia-").removeprefix("tesla-").upper().replace("-", "_")
        yield f"NVIDIA_{for_metric}_GPUS", count
