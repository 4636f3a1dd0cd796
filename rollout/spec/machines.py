"""What each machine type supports: GPUs (fixed for accelerator-optimised types, a choice on N1,
none on others), boot disks, and the architecture of boot images.

Used by `rollout/spec/rules.py` and `defaults.py`, `rollout/policy/caps.py`, and the instance
template. Source: Compute Engine documentation, "GPU machine types", "GPUs on N1", "Machine families
resource and comparison", and the machine series that each disk type supports.
"""

from __future__ import annotations

from rollout.spec.model import Accelerator, Machine

# Machine type: accelerator type and count.
FIXED: dict[str, tuple[str, int]] = {
    **{
        f"g2-standard-{cpus}": ("nvidia-l4", count)
        for cpus, count in ((4, 1), (8, 1), (12, 1), (16, 1), (32, 1), (24, 2), (48, 4), (96, 8))
    },
    **{
        f"g4-standard-{cpus}": ("nvidia-rtx-pro-6000", count)
        for cpus, count in ((48, 1), (96, 2), (192, 4), (384, 8))
    },
    **{f"a2-highgpu-{count}g": ("nvidia-tesla-a100", count) for count in (1, 2, 4, 8)},
    "a2-megagpu-16g": ("nvidia-tesla-a100", 16),
    **{f"a2-ultragpu-{count}g": ("nvidia-a100-80gb", count) for count in (1, 2, 4, 8)},
    **{f"a3-highgpu-{count}g": ("nvidia-h100-80gb", count) for count in (1, 2, 4, 8)},
    "a3-edgegpu-8g": ("nvidia-h100-80gb", 8),
    "a3-megagpu-8g": ("nvidia-h100-mega-80gb", 8),
    "a3-ultragpu-8g": ("nvidia-h200-141gb", 8),
    "a4-highgpu-8g": ("nvidia-b200", 8),
    "a4x-highgpu-4g": ("nvidia-gb200", 4),
}
OPTIMISED_FAMILIES = ("g2", "g4", "a2", "a3", "a4", "a4x")
# Series without built-in GPUs or TPUs. Source: Compute Engine documentation, "Machine
# families resource and comparison".
PLAIN_FAMILIES = frozenset(
    {
        "c2",
        "c2d",
        "c3",
        "c3d",
        "c4",
        "c4a",
        "c4d",
        "c4n",
        "e2",
        "f1",
        "g1",
        "h3",
        "h4d",
        "m1",
        "m2",
        "m3",
        "m4",
        "m4n",
    }
    | {"n1", "n2", "n2d", "n4", "n4a", "n4d", "t2a", "t2d", "x4", "x5", "z3", "z4d"}
)
# Series that use Hyperdisk and no Persistent Disk. Of A3, that is A3 Ultra alone.
HYPERDISK_FAMILIES = frozenset(
    {"a4", "a4x", "c4", "c4a", "c4d", "c4n", "g4", "h4d", "m4", "m4n", "n4", "n4a", "n4d"}
    | {"x4", "x5", "z4d"}
)
# Series that Hyperdisk Balanced does not support.
PERSISTENT_DISK_FAMILIES = frozenset(
    {"a2", "c2", "c2d", "e2", "f1", "g1", "g2", "n1", "n2", "n2d", "t2a", "t2d"}
)
ARM_FAMILIES = frozenset({"a4x", "c4a", "n4a", "t2a"})
CHOSEN: dict[str, tuple[int, ...]] = {  # on N1: accelerator type and the counts it comes in
    "nvidia-tesla-t4": (1, 2, 4),
    "nvidia-tesla-v100": (1, 2, 4, 8),
    "nvidia-tesla-p4": (1, 2, 4),
    "nvidia-tesla-p100": (1, 2, 4),
}


def fixed_accelerator(machine_type: str) -> Accelerator | None:
    """The built-in accelerators of a machine type, if it is known to have any."""
    known = FIXED.get(machine_type)
    return Accelerator(type=known[0], count=known[1]) if known else None


def has_gpu(machine: Machine) -> bool:
    return machine.accelerator is not None or _family(machine.type) in OPTIMISED_FAMILIES


def is_uncountable(machine_type: str) -> bool:
    """Whether only the release says how many accelerators this machine type has."""
    return _family(machine_type) not in PLAIN_FAMILIES and machine_type not in FIXED


def is_arm(machine_type: str) -> bool:
    """Whether its processors are Arm's, which need boot images of their own."""
    return _family(machine_type) in ARM_FAMILIES


def disk_type(machine_type: str) -> str:
    """The balanced disk type that the machine type supports."""
    return "hyperdisk-balanced" if _needs_hyperdisk(machine_type) else "pd-balanced"


def disk_problem(machine: Machine) -> str | None:
    """What `machine.disk.type` must be, if the machine type does not support the given one."""
    given = machine.disk.type or ""
    if _needs_hyperdisk(machine.type) and given.startswith("pd-"):
        return f"must be hyperdisk-balanced or left out: {machine.type} uses Hyperdisk only"
    if _family(machine.type) in PERSISTENT_DISK_FAMILIES and given.startswith("hyperdisk-"):
        return f"must be a pd type or left out: {machine.type} does not support {given}"
    return None


def _needs_hyperdisk(machine_type: str) -> bool:
    return _family(machine_type) in HYPERDISK_FAMILIES or machine_type.startswith("a3-ultragpu-")


def accelerator_problem(machine: Machine) -> tuple[str, str] | None:
    """The field of `machine.accelerator` that does not fit the machine type, and what it must be;
    None if they fit.
    """
    family, given = _family(machine.type), machine.accelerator
    known = FIXED.get(machine.type)
    if family in OPTIMISED_FAMILIES:
        return _beside_fixed(machine.type, given, known)
    if given is None:
        return None
    if family != "n1":
        return (
            "",
            (
                f"must be left out: {machine.type} supports none (n1 supports some;"
                f" {', '.join(OPTIMISED_FAMILIES)} include theirs)"
            ),
        )
    counts = CHOSEN.get(given.type)
    if counts is None:
        return ".type", f"must be one that {machine.type} supports: {', '.join(CHOSEN)}"
    if given.count not in counts:
        return ".count", f"must be {', '.join(map(str, counts))} for {given.type}"
    return None


def _family(machine_type: str) -> str:
    return machine_type.partition("-")[0]


def _beside_fixed(
    machine_type: str, given: Accelerator | None, known: tuple[str, int] | None
) -> tuple[str, str] | None:
    if given is None:
        return (
            None if known else ("", f"is required: the number of GPUs of {machine_type} is unknown")
        )
    if known and given.type != known[0]:
        return ".type", f"must be {known[0]} or left out: {machine_type} includes its own"
    if known and given.count != known[1]:
        return ".count", f"must be {known[1]} or left out: {machine_type} includes its own"
    return None
