"""Preflight: whether what a release refers to exists, and fits, before anything is changed. Pure.

Called by `handlers/reconcile/loop.py` when a plan would create the first resource for a candidate.
`references` says what to read, `problems` what the answers mean. Invariant: what could not be read
is no problem; Compute Engine itself decides then. Two things are not read: Slipway's own defaults
of the disk type and the boot image, and the service account, which Compute Engine shows to nobody
(the first instance reports it).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from infra.fleet import naming
from infra.fleet.model import Body, Plan, Snapshot
from rollout.deferred import dataclass
from rollout.model import Problem
from rollout.spec.model import DEFAULT_NETWORK, Spec

Catalogue = Literal[
    "regions",
    "machineTypes",
    "acceleratorTypes",
    "diskTypes",
    "networks",
    "subnetworks",
    "images",
    "imageFamilies",
    "sslCertificates",
]
ZONAL: frozenset[Catalogue] = frozenset({"machineTypes", "acceleratorTypes", "diskTypes"})
"""Read as a list of all zones that have it: one read, whatever the number of zones."""
_FIRST = {
    ("instanceTemplates", "insert"),
    ("regionInstanceGroupManagers", "insert"),
    ("targetHttpsProxies", "insert"),
    ("targetHttpsProxies", "setSslCertificates"),
}


@dataclass(frozen=True)
class Reference:
    """What a field of a release refers to. `project` is empty for the model's own; `region` is set
    for a subnetwork.
    """

    path: str
    catalogue: Catalogue
    name: str
    region: str = ""
    project: str = ""


@dataclass(frozen=True)
class Answer:
    """What was read: the resource, or one for each zone that has it; else Compute Engine's code and
    words.
    """

    found: tuple[Body, ...] = ()
    code: str = "NOT_FOUND"
    message: str = ""


Answers = Mapping[Reference, Answer]
"""By reference; one that could not be read is absent."""


def is_due(plan: Plan) -> bool:
    """Whether the plan creates something that refers to resources which Slipway does not make."""
    return any((action.key.collection, action.verb) in _FIRST for action in plan.actions)


def references(spec: Spec) -> tuple[Reference, ...]:
    """What to read for a release: three reads for one that gives nothing but an image."""
    machine, given = spec.machine, spec.defaulted
    found = [Reference("placement.region", "regions", spec.placement.region)]
    if "custom" not in machine.type:  # these are listed nowhere
        found.append(Reference("machine.type", "machineTypes", machine.type))
    if machine.accelerator and "machine.accelerator" not in given:
        found.append(
            Reference("machine.accelerator.type", "acceleratorTypes", machine.accelerator.type)
        )
    if machine.disk.type and "machine.disk.type" not in given:
        found.append(Reference("machine.disk.type", "diskTypes", machine.disk.type))
    if not machine.subnetwork or naming.canonical(machine.network) != DEFAULT_NETWORK:
        found.append(_reference("machine.network", "networks", machine.network))
    if machine.subnetwork:
        found.append(_reference("machine.subnetwork", "subnetworks", machine.subnetwork))
    if machine.image and "machine.image" not in given:
        is_family = "/family/" in machine.image
        kind: Catalogue = "imageFamilies" if is_family else "images"
        found.append(_reference("machine.image", kind, machine.image))
    if spec.traffic.is_exposed and spec.traffic.certificate:
        found.append(_reference("traffic.certificate", "sslCertificates", spec.traffic.certificate))
    return tuple(found)


def _reference(path: str, catalogue: Catalogue, url: str) -> Reference:
    """The reference in a partial URL or a bare name."""
    parts = url.split("/")
    project = parts[1] if parts[0] == "projects" else ""
    region = parts[parts.index("regions") + 1] if "regions" in parts else ""
    return Reference(path, catalogue, parts[-1], region, project)


def zones_of(spec: Spec, snapshot: Snapshot, model: str) -> tuple[str, ...]:
    """The zones in which the release's instances have to run: those that it names, else those of
    the group that exists. Empty if Compute Engine is free to choose.
    """
    zones = {
        naming.last(each.get("zone"))
        for key, body in snapshot.bodies.items()
        if body and key.collection == "regionInstanceGroupManagers" and naming.is_of(model, key)
        for each in body.get("distributionPolicy", {}).get("zones", [])
    }
    return spec.placement.zones or tuple(sorted(zone for zone in zones if zone))


def problems(spec: Spec, answers: Answers, zones: tuple[str, ...]) -> tuple[Problem, ...]:
    """Why the release cannot run as it is, in `zones_of` it, each with the field, and Compute
    Engine's words.
    """
    by_path = {reference.path: answer for reference, answer in answers.items()}
    missing = [
        Problem("config", answer.code, f"{reference.path}: {answer.message}")
        for reference, answer in answers.items()
        if reference.catalogue not in ZONAL and not answer.found
    ]
    if any(problem.message.startswith("placement.region:") for problem in missing):
        return tuple(missing)  # in no region, nothing is in its zones
    zonal = (
        _missing_in_zones(spec.placement.region, zones, reference, answer)
        for reference, answer in answers.items()
        if reference.catalogue in ZONAL
    )
    rest = (_unknown_zones(spec, by_path), *zonal, *_image_problems(spec, by_path))
    found = (Problem("config", "PREFLIGHT", why) for why in rest if why)
    return (*missing, *found)


def _unknown_zones(spec: Spec, answers: Mapping[str, Answer]) -> str:
    region = answers.get("placement.region")
    if region is None or "zones" not in region.found[0]:
        return ""
    known = [naming.last(url) or "" for url in region.found[0]["zones"]]
    unknown = [zone for zone in spec.placement.zones if zone not in known]
    if not unknown:
        return ""
    return (
        f"placement.zones: {spec.placement.region} has no zone {', '.join(unknown)}; it has"
        f" {', '.join(sorted(known))}"
    )


def _missing_in_zones(
    region: str, zones: tuple[str, ...], reference: Reference, answer: Answer
) -> str:
    """Each of the zones needs the type. Where Compute Engine chooses them, one of the region must
    have it.
    """
    having = sorted(naming.last(str(body.get("zone"))) or "" for body in answer.found)
    nearby = [zone for zone in having if zone.startswith(f"{region}-")]
    missing = [zone for zone in zones if zone not in having]
    if nearby and not missing:
        return ""
    where = ", ".join(nearby or having[:5]) or "no zone that this project can use"
    return (
        f"{reference.path}: {reference.name} does not exist in {', '.join(missing) or region};"
        f" Compute Engine has it in {where}"
    )


def _image_problems(spec: Spec, answers: Mapping[str, Answer]) -> Iterator[str]:
    image, machine = answers.get("machine.image"), answers.get("machine.type")
    if image is None or not image.found:
        return
    body, name = image.found[0], spec.machine.image
    state = body.get("deprecated", {}).get("state")
    if state in ("OBSOLETE", "DELETED"):
        yield f"machine.image: {name} is {state.lower()}; name a newer image"
    runs_on = body.get("architecture")
    has = machine.found[0].get("architecture") if machine and machine.found else None
    if runs_on and has and runs_on != has:
        yield f"machine.image: {name} is for {runs_on}, and {spec.machine.type} is {has}"
