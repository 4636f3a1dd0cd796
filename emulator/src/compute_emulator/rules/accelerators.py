"""Accelerator types: which exist, in which zones, and which machine types have or take them. Pure.

Sources: Compute Engine documentation, "GPU machine types" and "GPU regions and zones"; the zones
also from skypilot-org/skypilot-catalog, catalogs/v7/gcp/vms.csv, which lists the machine types and
accelerators of every zone as the API does. They are those of early 2026.
"""

from __future__ import annotations

from compute_emulator.rules.machine_types import series_of

BUILT_IN = {
    "g2-": "nvidia-l4",
    "a2-highgpu-": "nvidia-tesla-a100",
    "a2-megagpu-": "nvidia-tesla-a100",
    "a2-ultragpu-": "nvidia-a100-80gb",
    "a3-highgpu-": "nvidia-h100-80gb",
    "a3-edgegpu-": "nvidia-h100-80gb",
    "a3-megagpu-": "nvidia-h100-mega-80gb",
    "a3-ultragpu-": "nvidia-h200-141gb",
    "a4-highgpu-": "nvidia-b200",
    "a4x-highgpu-": "nvidia-gb200",
    "g4-standard-": "nvidia-rtx-pro-6000",
}
"""The accelerator of accelerator-optimized machine types, by the beginning of their names."""
ATTACHABLE_SERIES = ("n1",)
MAX_CPUS = {
    "nvidia-tesla-t4": {1: 48, 2: 48, 4: 96},
    "nvidia-tesla-p4": {1: 24, 2: 48, 4: 96},
    "nvidia-tesla-p100": {1: 16, 2: 32, 4: 96},
    "nvidia-tesla-v100": {1: 12, 2: 24, 4: 48, 8: 96},
}
"""The numbers of cards that an N1 VM can have, and the vCPUs that it can have with them."""
ACCELERATOR_TYPES = {
    "nvidia-tesla-t4": "NVIDIA T4",
    "nvidia-tesla-p4": "NVIDIA Tesla P4",
    "nvidia-tesla-p100": "NVIDIA Tesla P100",
    "nvidia-tesla-v100": "NVIDIA V100",
    "nvidia-l4": "NVIDIA L4",
    "nvidia-tesla-a100": "NVIDIA A100 40GB",
    "nvidia-a100-80gb": "NVIDIA A100 80GB",
    "nvidia-h100-80gb": "NVIDIA H100 80GB",
    "nvidia-h100-mega-80gb": "NVIDIA H100 80GB MEGA",
    "nvidia-h200-141gb": "NVIDIA H200 141GB",
    "nvidia-b200": "NVIDIA B200 180GB",
    "nvidia-gb200": "NVIDIA GB200",
    "nvidia-rtx-pro-6000": "NVIDIA RTX PRO 6000 96GB",
}
"""Name: description. The `-vws` variants (virtual workstations) are in the same zones."""


def _zones(text: str) -> frozenset[str]:
    """`us-east1-bc` stands for us-east1-b and us-east1-c."""
    pairs = (each.rpartition("-") for each in text.split())
    return frozenset(f"{region}-{letter}" for region, _, letters in pairs for letter in letters)


ZONES: dict[str, frozenset[str]] = {
    "nvidia-tesla-t4": _zones(
        "asia-east1-ac asia-east2-ac asia-northeast1-ac asia-northeast3-bc asia-south1-ab"
        " asia-southeast1-abc asia-southeast2-ab australia-southeast1-ac europe-central2-bc"
        " europe-west1-bcd europe-west2-ab europe-west3-b europe-west4-abc me-west1-bc"
        " northamerica-northeast1-c southamerica-east1-ac us-central1-abcf us-east1-cd us-east4-abc"
        " us-west1-ab us-west2-bc us-west3-b us-west4-ab"
    ),
    "nvidia-tesla-p4": _zones(
        "asia-southeast1-bc australia-southeast1-ab europe-west4-bc northamerica-northeast1-abc"
        " us-central1-ac us-east4-abc us-west2-bc"
    ),
    "nvidia-tesla-p100": _zones(
        "asia-east1-ac australia-southeast1-b europe-west1-bd europe-west4-a us-central1-cf"
        " us-east1-bc us-west1-ab"
    ),
    "nvidia-tesla-v100": _zones(
        "asia-east1-c europe-west4-abc us-central1-abcf us-east1-c us-west1-ab"
    ),
    "nvidia-l4": _zones(
        "asia-east1-abc asia-northeast1-abc asia-northeast3-ab asia-south1-abc asia-southeast1-abc"
        " europe-west1-bc europe-west2-ab europe-west3-ab europe-west4-abc europe-west6-bc"
        " me-central2-ac northamerica-northeast1-b northamerica-northeast2-ab us-central1-abc"
        " us-east1-bcd us-east4-ac us-west1-abc us-west4-ac"
    ),
    "nvidia-tesla-a100": _zones(
        "asia-northeast1-ac asia-northeast3-ab asia-southeast1-abc europe-west4-ab me-west1-ac"
        " us-central1-abcf us-east1-b us-west1-b us-west3-b us-west4-b"
    ),
    "nvidia-a100-80gb": _zones(
        "asia-southeast1-c europe-west4-a us-central1-ac us-east4-c us-east5-ab"
    ),
    "nvidia-h100-80gb": _zones(
        "asia-east1-c asia-northeast1-b asia-northeast3-ac asia-south1-c asia-south2-b"
        " asia-southeast1-bc australia-southeast1-c europe-north1-c europe-west1-bc europe-west2-b"
        " europe-west3-ac europe-west4-bc europe-west8-c europe-west9-c northamerica-northeast2-c"
        " us-central1-abc us-east4-abc us-east5-a us-west1-ab us-west4-a"
    ),
    "nvidia-h100-mega-80gb": _zones(
        "asia-east1-c asia-northeast1-b asia-southeast1-bc australia-southeast1-c europe-north1-c"
        " europe-west1-bc europe-west3-c europe-west4-bc us-central1-abc us-east4-abc us-east5-a"
        " us-west1-ab us-west4-a"
    ),
    "nvidia-h200-141gb": _zones(
        "asia-south1-b asia-south2-c europe-west1-b europe-west4-a us-central1-b us-east4-b"
        " us-east5-a us-south1-b us-west1-c"
    ),
    "nvidia-b200": _zones(
        "asia-northeast1-b asia-southeast1-b europe-north1-b europe-west4-b us-central1-b"
        " us-east1-b us-east4-b us-south1-b us-west2-c us-west3-bc"
    ),
}
"""Types without an entry are taken to be in every zone: their zones are not known."""


def _plain(accelerator: str) -> str:
    return accelerator.removesuffix("-vws")


def built_in(machine_type: str) -> str | None:
    """The accelerator that a machine type always has."""
    return next(
        (kind for prefix, kind in BUILT_IN.items() if machine_type.startswith(prefix)), None
    )


def exists(accelerator: str) -> bool:
    return _plain(accelerator) in ACCELERATOR_TYPES


def is_in_zone(accelerator: str, zone: str) -> bool:
    kind = _plain(accelerator)
    return exists(kind) and (kind not in ZONES or zone in ZONES[kind])


def can_attach(machine_type: str, accelerator: str) -> bool:
    """Whether a VM of this machine type can have this accelerator."""
    own = built_in(machine_type)
    if own is not None:
        return own == _plain(accelerator)
    return series_of(machine_type) in ATTACHABLE_SERIES and _plain(accelerator) not in (
        BUILT_IN.values()
    )


def count_problem(accelerator: str, count: int, cpus: int) -> str | None:
    """Why a VM with so many vCPUs cannot have so many attached cards; None if it can."""
    maxima = MAX_CPUS.get(_plain(accelerator), {})
    if maxima and count not in maxima:
        return f"Number of accelerator cards attached to an instance must be one of {[*maxima]}."
    if maxima and cpus > maxima[count]:
        return (
            f"At most {maxima[count]} vCPUs can be used along with {count} accelerator cards in an"
            " instance."
        )
    return None
