"""Machine types: which exist, their CPUs and memory, and what each series runs and boots from.
Pure.

Sources: Compute Engine documentation, "Machine families resource and comparison guide" and "Machine
series support for Persistent Disk"; API reference, initializeParams.diskType.
"""

from __future__ import annotations

import re
from functools import lru_cache

GB = 1024
PER_CPU = {"standard": 4.0, "highmem": 8.0, "highcpu": 2.0}
"""Memory per virtual CPU in GB, where a series does not differ."""
SHAPES = ("standard", "highmem", "highcpu")
SIZES: dict[str, dict[tuple[str, ...], tuple[int, ...]]] = {
    "e2": {
        ("standard",): (2, 4, 8, 16, 32),
        ("highmem",): (2, 4, 8, 16),
        ("highcpu",): (2, 4, 8, 16, 32),
    },
    "n2": {
        ("standard", "highmem"): (2, 4, 8, 16, 32, 48, 64, 80, 96, 128),
        ("highcpu",): (2, 4, 8, 16, 32, 48, 64, 80, 96),
    },
    "n2d": {
        ("standard", "highcpu"): (2, 4, 8, 16, 32, 48, 64, 80, 96, 128, 224),
        ("highmem",): (2, 4, 8, 16, 32, 48, 64, 80, 96),
    },
    "n4": {SHAPES: (2, 4, 8, 16, 32, 48, 64, 80)},
    "n4a": {SHAPES: (1, 2, 4, 8, 16, 32, 48, 64)},
    "n4d": {SHAPES: (2, 4, 8, 16, 32, 48, 64, 80, 96)},
    "c2": {("standard",): (4, 8, 16, 30, 60)},
    "c2d": {SHAPES: (2, 4, 8, 16, 32, 56, 112)},
    "c3": {SHAPES: (4, 8, 22, 44, 88, 176)},
    "c3d": {SHAPES: (4, 8, 16, 30, 60, 90, 180, 360)},
    "c4": {SHAPES: (2, 4, 8, 16, 24, 32, 48, 96, 144, 192, 288)},
    "c4a": {SHAPES: (1, 2, 4, 8, 16, 32, 48, 64, 72)},
    "c4d": {SHAPES: (2, 4, 8, 16, 32, 48, 64, 96, 192, 384)},
    "t2a": {("standard",): (1, 2, 4, 8, 16, 32, 48)},
    "t2d": {("standard",): (1, 2, 4, 8, 16, 32, 48, 60)},
    "g2": {("standard",): (4, 8, 12, 16, 24, 32, 48, 96)},
    "h3": {("standard",): (88,)},
    "h4d": {("standard", "highmem"): (192,)},
}


def _sizes() -> dict[str, tuple[int, int]]:
    return {
        f"{series}-{shape}-{cpus}": (cpus, int(cpus * PER_CPU[shape] * GB))
        for series, groups in SIZES.items()
        for shapes, sizes in groups.items()
        for shape in shapes
        for cpus in sizes
    }


N1_SIZES = (2, 4, 8, 16, 32, 64, 96)
MACHINE_TYPES: dict[str, tuple[int, int]] = {
    **_sizes(),
    "e2-micro": (2, 1024),
    "e2-small": (2, 2048),
    "e2-medium": (2, 4096),
    "f1-micro": (1, 614),
    "g1-small": (1, 1740),
    **{f"n1-standard-{n}": (n, n * 3840) for n in (1, *N1_SIZES)},
    **{f"n1-highmem-{n}": (n, n * 6656) for n in N1_SIZES},
    **{f"n1-highcpu-{n}": (n, n * 920) for n in N1_SIZES},
    **{f"c3-standard-{n}-lssd": (n, n * 4 * GB) for n in (4, 8, 22, 44, 88, 176)},
    **{f"a2-highgpu-{n}g": (12 * n, n * 87_040) for n in (1, 2, 4, 8)},
    "a2-megagpu-16g": (96, 1360 * GB),
    **{f"a2-ultragpu-{n}g": (12 * n, n * 174_080) for n in (1, 2, 4, 8)},
    **{f"a3-highgpu-{n}g": (26 * n, n * 239_616) for n in (1, 2, 4, 8)},
    "a3-edgegpu-8g": (208, 1_916_928),
    "a3-megagpu-8g": (208, 1_916_928),
    "a3-ultragpu-8g": (224, 3_021_824),
    "a4-highgpu-8g": (224, 4_063_232),
    "a4x-highgpu-4g": (140, 884 * GB),
    **{f"g4-standard-{48 * n}": (48 * n, n * 184_320) for n in (1, 2, 4, 8)},
    **{f"m1-ultramem-{n}": (n, int(n * 24.025 * GB)) for n in (40, 80, 160)},
    "m1-megamem-96": (96, 1_468_006),
    **{f"m2-ultramem-{n}": (n, int(n * 28.307 * GB)) for n in (208, 416)},
    "m2-megamem-416": (416, 5888 * GB),
    "m2-hypermem-416": (416, 8832 * GB),
    **{f"m3-ultramem-{n}": (n, int(n * 30.5 * GB)) for n in (32, 64, 128)},
    **{f"m3-megamem-{n}": (n, int(n * 15.25 * GB)) for n in (64, 128)},
    **{f"m4-hypermem-{n}": (n, int(n * 15.5 * GB)) for n in (16, 32, 64)},
    **{f"m4-megamem-{n}": (n, int(n * 13.3 * GB)) for n in (28, 56, 112, 224)},
    **{f"m4-ultramem-{n}": (n, int(n * 26.57 * GB)) for n in (56, 112, 224)},
    **{
        f"x4-{cpus}-{terabytes}t-metal": (cpus, terabytes * GB * GB)
        for cpus, terabytes in ((480, 6), (480, 8), (960, 12), (960, 16), (1440, 24), (1920, 32))
    },
    **{f"z3-highmem-{n}": (n, n * 8 * GB) for n in (88, 176)},
}
"""Name: virtual CPUs and memory in MB."""
CUSTOM = re.compile(r"(?:(?:e2|g2|n1|n2|n2d|n4|n4a|n4d)-)?custom-(\d+)-(\d+)(?:-ext)?")
SHARED_CORE = frozenset({"e2-micro", "e2-small", "e2-medium", "f1-micro", "g1-small"})
ARM_SERIES = frozenset({"t2a", "c4a", "n4a", "a4x"})
HYPERDISK_ONLY = frozenset(
    {"a4", "a4x", "c4", "c4a", "c4d", "g4", "h4d", "m4", "n4", "n4a", "n4d", "x4"}
)
"""Series that take no Persistent Disk; of A3, only the `ultragpu` types."""
PERSISTENT_DISK_ONLY = frozenset(
    {"a2", "c2", "c2d", "e2", "f1", "g1", "g2", "n1", "n2", "n2d", "t2a", "t2d"}
)
"""Series that take no Hyperdisk Balanced."""
NO_STANDARD_DISK = frozenset({"a3", "c3", "c3d", "g2", "h3", "m3", "z3"})
"""Series that take Persistent Disk other than `pd-standard`."""


@lru_cache(maxsize=4096)
def size_of(name: str) -> tuple[int, int] | None:
    """CPUs and memory in MB of a predefined or custom type; None if there is no such type."""
    custom = CUSTOM.fullmatch(name)
    return (int(custom[1]), int(custom[2])) if custom else MACHINE_TYPES.get(name)


def series_of(name: str) -> str:
    """`n2d-standard-8` is of series `n2d`; `custom-2-4096` is of `n1`."""
    series = name.partition("-")[0]
    return "n1" if series == "custom" else series


def architecture_of(name: str) -> str:
    return "ARM64" if series_of(name) in ARM_SERIES else "X86_64"


def takes_disk(name: str, disk_type: str) -> bool:
    """Whether a VM of this machine type can use a disk of this type."""
    series = series_of(name)
    if disk_type.startswith("pd-"):
        if series in HYPERDISK_ONLY or name.startswith("a3-ultragpu-") or name.endswith("-metal"):
            return False
        return disk_type != "pd-standard" or series not in NO_STANDARD_DISK
    return disk_type != "hyperdisk-balanced" or series not in PERSISTENT_DISK_ONLY
