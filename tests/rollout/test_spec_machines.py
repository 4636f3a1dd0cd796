"""The accelerators of each machine type, as Compute Engine's documentation lists them."""

from __future__ import annotations

import pytest

from rollout.spec.machines import (
    CHOSEN,
    FIXED,
    accelerator_problem,
    fixed_accelerator,
    is_uncountable,
)
from rollout.spec.model import Accelerator, Machine

# Source: Compute Engine documentation, "GPU machine types": type, then its GPUs.
LISTED = """
g2-standard-4 1 nvidia-l4               a2-highgpu-1g 1 nvidia-tesla-a100
a3-highgpu-1g 1 nvidia-h100-80gb        g2-standard-8 1 nvidia-l4
a2-highgpu-2g 2 nvidia-tesla-a100       a3-highgpu-2g 2 nvidia-h100-80gb
g2-standard-12 1 nvidia-l4              a2-highgpu-4g 4 nvidia-tesla-a100
a3-highgpu-4g 4 nvidia-h100-80gb        g2-standard-16 1 nvidia-l4
a2-highgpu-8g 8 nvidia-tesla-a100       a3-highgpu-8g 8 nvidia-h100-80gb
g2-standard-24 2 nvidia-l4              a2-megagpu-16g 16 nvidia-tesla-a100
a3-edgegpu-8g 8 nvidia-h100-80gb        g2-standard-32 1 nvidia-l4
a2-ultragpu-1g 1 nvidia-a100-80gb       a3-megagpu-8g 8 nvidia-h100-mega-80gb
g2-standard-48 4 nvidia-l4              a2-ultragpu-2g 2 nvidia-a100-80gb
a3-ultragpu-8g 8 nvidia-h200-141gb      g2-standard-96 8 nvidia-l4
a2-ultragpu-4g 4 nvidia-a100-80gb       a4-highgpu-8g 8 nvidia-b200
g4-standard-48 1 nvidia-rtx-pro-6000    a2-ultragpu-8g 8 nvidia-a100-80gb
a4x-highgpu-4g 4 nvidia-gb200           g4-standard-96 2 nvidia-rtx-pro-6000
g4-standard-192 4 nvidia-rtx-pro-6000   g4-standard-384 8 nvidia-rtx-pro-6000
"""


def test_the_table_lists_every_machine_with_built_in_accelerators() -> None:
    words = LISTED.split()
    listed = {words[at]: (words[at + 2], int(words[at + 1])) for at in range(0, len(words), 3)}
    assert listed == FIXED


@pytest.mark.parametrize("machine_type", [name for name in FIXED if name.startswith("a")])
def test_the_names_of_series_a_include_the_number_of_accelerators(machine_type: str) -> None:
    assert FIXED[machine_type][1] == int(machine_type.rpartition("-")[2].removesuffix("g"))


# Source: Compute Engine documentation, "GPUs on N1".
def test_n1_supports_powers_of_two() -> None:
    assert CHOSEN == {
        "nvidia-tesla-t4": (1, 2, 4),
        "nvidia-tesla-p4": (1, 2, 4),
        "nvidia-tesla-p100": (1, 2, 4),
        "nvidia-tesla-v100": (1, 2, 4, 8),
    }


def test_the_fixed_accelerators_of_a_machine_type() -> None:
    assert fixed_accelerator("g2-standard-48") == Accelerator(type="nvidia-l4", count=4)
    assert fixed_accelerator("n1-standard-4") is None


@pytest.mark.parametrize(
    ("machine_type", "is_unknown"),
    [
        ("n1-standard-1", False),
        ("e2-micro", False),
        ("a4-highgpu-8g", False),
        ("z9-standard-4", True),
        ("ct6e-standard-4t", True),
        ("a4x-maxgpu-4g-metal", True),
        ("g2-standard-1024", True),
    ],
)
def test_a_machine_type_whose_accelerators_cannot_be_counted_is_recognized(
    machine_type: str, is_unknown: bool
) -> None:
    assert is_uncountable(machine_type) == is_unknown


@pytest.mark.parametrize("kind", CHOSEN)
def test_n1_supports_only_the_listed_counts(kind: str) -> None:
    for count in range(1, 10):
        machine = Machine(type="n1-standard-4", accelerator=Accelerator(type=kind, count=count))
        assert (accelerator_problem(machine) is None) == (count in CHOSEN[kind])
    assert accelerator_problem(Machine(type="n1-standard-4")) is None


def test_built_in_accelerators_may_be_stated() -> None:
    for machine_type, (kind, count) in FIXED.items():
        assert (
            accelerator_problem(
                Machine(type=machine_type, accelerator=Accelerator(type=kind, count=count))
            )
            is None
        )
        assert accelerator_problem(Machine(type=machine_type)) is None
