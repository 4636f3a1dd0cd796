"""What a preflight reads for a release, and what the answers mean."""

from __future__ import annotations

from typing import Any

import pytest

from infra.fleet.preflight import Answer, Reference, problems, references
from rollout.spec.message import ReleaseRequested, resolve
from rollout.spec.model import Spec

ZONES = ("us-central1-a", "us-central1-b", "us-central1-c", "us-central1-f")


def spec(**sections: Any) -> Spec:
    body = {"artifact": {"image": "tiny:1"}} | sections
    return resolve(ReleaseRequested("tiny", "1", body), None)


def found(reference: Reference, **more: Any) -> Answer:
    """An answer under which the reference is no problem in the zones a, b and c."""
    if reference.catalogue == "regions":
        return Answer(({"zones": [f"https://host/zones/{zone}" for zone in ZONES]},))
    if reference.catalogue in ("machineTypes", "acceleratorTypes", "diskTypes"):
        return Answer(tuple({"zone": f"https://host/zones/{zone}"} | more for zone in ZONES[:3]))
    return Answer((more,))


def paths(of: Spec) -> list[str]:
    return [reference.path for reference in references(of)]


def whys(of: Spec, **replaced: Answer | None) -> list[str]:
    """The problems if the fields in `replaced` (`machine_type`) have other answers, or none."""
    answers = {each: found(each) for each in references(of)}
    for each in references(of):
        name = each.path.replace(".", "_")
        if name in replaced:
            answer = replaced[name]
            answers.pop(each)
            answers |= {each: answer} if answer else {}
    return [problem.message for problem in problems(of, answers, of.placement.zones)]


def test_a_release_with_defaults_needs_three_reads() -> None:
    assert paths(spec()) == ["placement.region", "machine.type", "machine.network"]


def test_everything_that_a_release_names_is_read_where_it_is() -> None:
    of = spec(
        machine={
            "type": "n1-standard-8",
            "accelerator": {"type": "nvidia-tesla-t4"},
            "disk": {"type": "pd-ssd"},
            "image": "projects/images/global/images/family/mine",
            "network": "projects/host/global/networks/shared",
            "subnetwork": "projects/host/regions/us-central1/subnetworks/part",
        },
        traffic={"certificate": "global/sslCertificates/ours"},
    )
    assert references(of) == (
        Reference("placement.region", "regions", "us-central1"),
        Reference("machine.type", "machineTypes", "n1-standard-8"),
        Reference("machine.accelerator.type", "acceleratorTypes", "nvidia-tesla-t4"),
        Reference("machine.disk.type", "diskTypes", "pd-ssd"),
        Reference("machine.network", "networks", "shared", "", "host"),
        Reference("machine.subnetwork", "subnetworks", "part", "us-central1", "host"),
        Reference("machine.image", "imageFamilies", "mine", "", "images"),
        Reference("traffic.certificate", "sslCertificates", "ours"),
    )
    assert whys(of) == []


def test_what_does_not_exist_is_reported_in_compute_engines_words() -> None:
    absent = Answer((), "NOT_FOUND", "The resource 'x' was not found")
    answers = {each: absent for each in references(spec())}
    region = references(spec())[0]
    problem, *_ = problems(spec(), answers | {region: found(region)}, ())
    assert (problem.reason, problem.code) == ("config", "NOT_FOUND")
    assert problem.message == "machine.network: The resource 'x' was not found"
    everything = whys(spec(), placement_region=absent, machine_type=Answer())
    assert everything == ["placement.region: The resource 'x' was not found"]


def test_what_could_not_be_read_is_no_problem() -> None:
    of = spec(placement={"zones": [ZONES[3]]}, machine={"image": "global/images/mine"})
    silent = dict.fromkeys(
        ("placement_region", "machine_type", "machine_network", "machine_image"), None
    )
    assert whys(of, **silent) == []


@pytest.mark.parametrize(
    ("zones", "answer", "expected"),
    [
        ([], None, []),
        (
            ["us-central1-f"],
            None,
            ["does not exist in us-central1-f; Compute Engine has it in us-"],
        ),
        ([], Answer(), ["does not exist in us-central1; Compute Engine has it in no zone"]),
        (
            [],
            Answer(({"zone": "zones/us-east1-b"},)),
            ["does not exist in us-central1; Compute Engine has it in us-east1-b"],
        ),
    ],
)
def test_each_named_zone_needs_the_type_and_else_one_zone_of_the_region(
    zones: list[str], answer: Answer | None, expected: list[str]
) -> None:
    of = spec(placement={"zones": zones})
    replaced = {"machine_type": answer} if answer else {}
    found_whys = whys(of, **replaced)
    assert len(found_whys) == len(expected)
    assert all(
        f"machine.type: n1-standard-1 {end}" in why
        for why, end in zip(found_whys, expected, strict=True)
    )


def test_a_zone_must_be_in_the_region_as_compute_engine_knows_it() -> None:
    of = spec(placement={"zones": ["us-central1-z"]})
    (why, _) = whys(of)
    assert why.startswith("placement.zones: us-central1 has no zone us-central1-z; it has us-")


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({"architecture": "X86_64"}, []),
        ({}, []),
        ({"architecture": "ARM64"}, ["is for ARM64, and n1-standard-1 is X86_64"]),
        ({"deprecated": {"state": "OBSOLETE"}}, ["is obsolete; name a newer image"]),
        ({"deprecated": {"state": "DEPRECATED"}}, []),
    ],
)
def test_the_boot_image_runs_on_the_machine(image: dict[str, Any], expected: list[str]) -> None:
    of = spec(machine={"image": "global/images/mine"})
    of_type = references(of)[1]
    whys_found = whys(
        of, machine_image=Answer((image,)), machine_type=found(of_type, architecture="X86_64")
    )
    assert whys_found == [f"machine.image: global/images/mine {each}" for each in expected]
