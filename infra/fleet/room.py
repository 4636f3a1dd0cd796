"""For how many more instances of a release the region's quotas have room. Pure.

Called by `handlers/reconcile/loop.py` before a rollout begins, with the answers of the preflight's
reads. It is a hint and never a refusal: others use the same quota, some quotas are shown nowhere,
and capacity that a reservation holds has been counted already. What is not shown is no limit.

Source: Compute API reference, `regions.get`, and the Compute docs, "Allocation quotas".
"""

from __future__ import annotations

from collections.abc import Iterator

from infra.fleet.model import Body
from infra.fleet.preflight import Answers
from rollout.model import Room
from rollout.spec.model import Spec

_SHARED_CPUS = ("n1", "f1", "g1")
"""Families whose vCPUs count toward the metric CPUS; so do those without a metric of their own."""
_GPUS = {
    "nvidia-tesla-a100": "A100",
    "nvidia-h100-80gb": "H100",
    "nvidia-h100-mega-80gb": "H100_MEGA",
    "nvidia-h200-141gb": "H200",
}


def room(spec: Spec, answers: Answers) -> Room | None:
    """The quota that runs out first. None if none of the release's quotas was read, or if its
    instances use a reservation, whose capacity has its quota already.
    """
    by_path = {reference.path: answer for reference, answer in answers.items()}
    region, machine = by_path.get("placement.region"), by_path.get("machine.type")
    if region is None or not region.found or spec.machine.reservation not in ("any", "none"):
        return None
    quotas = {str(each.get("metric")): each for each in region.found[0].get("quotas", [])}
    cpus = int(machine.found[0].get("guestCpus", 0)) if machine and machine.found else 0
    rooms = [
        _room_in(quotas[metric], metric, need, spec.placement.region)
        for metric, need in _needs(spec, cpus, quotas)
    ]
    return min(rooms, key=lambda each: each.instances, default=None)


def _needs(spec: Spec, cpus: int, quotas: dict[str, Body]) -> Iterator[tuple[str, int]]:
    """What an instance uses of each quota that is shown. A Spot VM uses the preemptible quota if
    the project has any.
    """
    machine = spec.machine
    family = machine.type.partition("-")[0]
    own = "CPUS" if family in _SHARED_CPUS else f"{family.upper()}_CPUS"
    needs = [("INSTANCES", 1), (own if own in quotas else "CPUS", cpus)]
    if machine.accelerator:
        kind = machine.accelerator.type
        name = _GPUS.get(kind) or kind.removeprefix("nvidia-").removeprefix("tesla-").upper()
        needs.append((f"NVIDIA_{name.replace('-', '_')}_GPUS", machine.accelerator.count))
    for metric, need in needs:
        preemptible = f"PREEMPTIBLE_{metric}"
        if machine.spot and float(quotas.get(preemptible, {}).get("limit", 0)):
            metric = preemptible
        if need and metric in quotas:
            yield metric, need


def _room_in(quota: Body, metric: str, need: int, region: str) -> Room:
    limit, usage = float(quota.get("limit", 0)), float(quota.get("usage", 0))
    instances = max(0, int((limit - usage) // need))
    why = (
        f"quota {metric} in {region} has room for {instances} more instances (limit {limit:g}, in"
        f" use {usage:g})"
    )
    return Room(instances, why)
