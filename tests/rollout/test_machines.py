"""Which machine types bring which accelerators, as Compute Engine's documentation lists them."""

from __future__ import annotations

import pytest

from rollout.spec.machines import CHOSEN, FIXED

# Source: Compute Engine documentation, "GPU machine types": type, then its GPUs.
LISTED = """
g2-standard-4 1 nvidia-l4           a2-highgpu-1g 1 nvidia-tesla-a100     a3-highgpu-1g 1 nvidia-h100-80gb
g2-standard-8 1 nvidia-l4           a2-highgpu-2g 2 nvidia-tesla-a100     a3-highgpu-2g 2 nvidia-h100-80gb
g2-standard-12 1 nvidia-l4          a2-highgpu-4g 4 nvidia-tesla-a100     a3-highgpu-4g 4 nvidia-h100-80gb
g2-standard-16 1 nvidia-l4          a2-highgpu-8g 8 nvidia-tesla-a100     a3-highgpu-8g 8 nvidia-h100-80gb
g2-standard-24 2 nvidia-l4          a2-megagpu-16g 16 nvidia-tesla-a100   a3-edgegpu-8g 8 nvidia-h100-80gb
g2-standard-32 1 nvidia-l4          a2-ultragpu-1g 1 nvidia-a100-80gb     a3-megagpu-8g 8 nvidia-h100-mega-80gb
g2-standard-48 4 nvidia-l4          a2-ultragpu-2g 2 nvidia-a100-80gb     a3-ultragpu-8g 8 nvidia-h200-141gb
g2-standard-96 8 nvidia-l4          a2-ultragpu-4g 4 nvidia-a100-80gb     a4-highgpu-8g 8 nvidia-b200
g4-standard-48 1 nvidia-rtx-pro-6000   a2-ultragpu-8g 8 nvidia-a100-80gb  a4x-highgpu-4g 4 nvidia-gb200
g4-standard-96 2 nvidia-rtx-pro-6000   g4-standard-192 4 nvidia-rtx-pro-6000   g4-standard-384 8 nvidia-rtx-pro-6000
"""


def test_the_table_has_every_machine_that_brings_accelerators_and_how_many() -> None:
    words = LISTED.split()
    listed = {words[at]: (words[at + 2], int(words[at + 1])) for at in range(0, len(words), 3)}
    assert listed == FIXED


@pytest.mark.parametrize("machine_type", [name for name in FIXED if name.startswith("a")])
def test_the_names_of_series_a_say_how_many_accelerators_they_bring(machine_type: str) -> None:
    assert FIXED[machine_type][1] == int(machine_type.rpartition("-")[2].removesuffix("g"))


# Source: Compute Engine documentation, "GPUs on N1".
def test_n1_takes_accelerators_in_powers_of_two() -> None:
    assert CHOSEN == {
        "nvidia-tesla-t4": (1, 2, 4),
        "nvidia-tesla-p4": (1, 2, 4),
        "nvidia-tesla-p100": (1, 2, 4),
        "nvidia-tesla-v100": (1, 2, 4, 8),
    }
