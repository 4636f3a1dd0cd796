"""For how many more instances of a release the region's quotas have room."""

from __future__ import annotations

from typing import Any

import pytest

from infra.fleet.preflight import Answer, references
from infra.fleet.room import room
from rollout.spec.message import ReleaseRequested, resolve
from rollout.spec.model import Spec

L4 = {"type": "g2-standard-8"}
H100 = {"type": "a3-highgpu-8g"}


def spec(**machine: Any) -> Spec:
    body = {"artifact": {"image": "tiny:1"}, "machine": machine}
    return resolve(ReleaseRequested("tiny", "1", body), None)


def found(
    of: Spec, quotas: dict[str, tuple[int, int]], cpus: int | None = 8
) -> tuple[int, str] | None:
    """The room under quotas with a limit and a usage each, and the metric that says so."""
    listed = [
        {"metric": metric, "limit": limit, "usage": usage}
        for metric, (limit, usage) in quotas.items()
    ]
    answers = {each: Answer(()) for each in references(of)}
    for each in answers:
        if each.path == "placement.region":
            answers[each] = Answer(({"quotas": listed},))
        if each.path == "machine.type" and cpus:
            answers[each] = Answer(({"guestCpus": cpus},))
    result = room(of, answers)
    return (result.instances, result.why.split()[1]) if result else None


@pytest.mark.parametrize(
    ("machine", "quotas", "expected"),
    [
        ({}, {"CPUS": (24, 8)}, (2, "CPUS")),
        ({}, {"CPUS": (24, 23)}, (0, "CPUS")),
        ({}, {"CPUS": (8, 24)}, (0, "CPUS")),
        ({}, {"CPUS": (80, 0), "INSTANCES": (5, 4)}, (1, "INSTANCES")),
        ({"type": "n2-standard-8"}, {"CPUS": (8, 8), "N2_CPUS": (16, 0)}, (2, "N2_CPUS")),
        ({"type": "e2-standard-8"}, {"CPUS": (16, 8)}, (1, "CPUS")),
        (L4, {"CPUS": (800, 0), "NVIDIA_L4_GPUS": (4, 4)}, (0, "NVIDIA_L4_GPUS")),
        (H100, {"NVIDIA_H100_GPUS": (24, 8)}, (2, "NVIDIA_H100_GPUS")),
        (
            L4 | {"spot": True},
            {"NVIDIA_L4_GPUS": (4, 4), "PREEMPTIBLE_NVIDIA_L4_GPUS": (8, 2)},
            (6, "PREEMPTIBLE_NVIDIA_L4_GPUS"),
        ),
        (
            L4 | {"spot": True},
            {"NVIDIA_L4_GPUS": (4, 4), "PREEMPTIBLE_NVIDIA_L4_GPUS": (0, 0)},
            (0, "NVIDIA_L4_GPUS"),
        ),
        ({}, {"N2_CPUS": (0, 0)}, None),
        (L4 | {"reservation": "ours"}, {"NVIDIA_L4_GPUS": (4, 4)}, None),
    ],
)
def test_the_quota_that_runs_out_first_decides(
    machine: dict[str, Any], quotas: dict[str, tuple[int, int]], expected: tuple[int, str] | None
) -> None:
    assert found(spec(**machine), quotas) == expected


def test_what_was_not_read_is_no_limit() -> None:
    assert room(spec(), {}) is None
    assert found(spec(), {"CPUS": (8, 8)}, cpus=None) is None


def test_the_reason_names_the_quota_the_region_and_the_numbers() -> None:
    of = spec()
    answers = {
        each: Answer(
            ({"quotas": [{"metric": "CPUS", "limit": 24.0, "usage": 8.0}], "guestCpus": 8},)
        )
        for each in references(of)
    }
    result = room(of, answers)
    assert result
    assert result.why == (
        "quota CPUS in us-central1 has room for 2 more instances (limit 24, in use 8)"
    )
