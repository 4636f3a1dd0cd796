"""A policy's caps, allow-lists and signatures for one model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.model import Observed, Target
from rollout.policy.caps import clamp, violations
from rollout.policy.policy import Policy
from rollout.policy.prices import cost_per_hour
from rollout.policy.usage import Usage, quota_violations
from rollout.spec.model import Spec
from rollout.strategies.base import Swap
from rollout.strategies.rolling import steady_group, swap_group
from tests.rollout.build import release, step
from tests.rollout.policies import PRICES, spec

DIGEST = f"eu-docker.pkg.dev/p/r/tiny@sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("policy", "patch", "why"),
    [
        (
            Policy(max_instances=8),
            {},
            "scaling.max: policy allows 8 instances, surge included; got 9",
        ),
        (
            Policy(max_accelerators=8),
            {"kind": "g2-standard-12"},
            "machine.accelerator: policy allows 8 accelerators, surge included; got 9",
        ),
        (
            Policy(max_cost_per_hour=0.5, prices=PRICES),
            {},
            "machine: policy allows 0.50 USD an hour, surge included; got 0.90",
        ),
        (
            Policy(max_cost_per_hour=0.5, prices=PRICES),
            {"kind": "e2-standard-2"},
            (
                "machine: policy caps the cost, and settings/prices has no price for machine type"
                " e2-standard-2"
            ),
        ),
        (
            Policy(regions=("europe-west4",)),
            {},
            "placement.region: policy allows europe-west4; got us-central1",
        ),
        (
            Policy(machine_types=("n1-standard-1",)),
            {},
            "machine.type: policy allows n1-standard-1; got n1-standard-2",
        ),
        (
            Policy(accelerator_types=("nvidia-tesla-t4",)),
            {"kind": "g2-standard-12"},
            "machine.accelerator.type: policy allows nvidia-tesla-t4; got nvidia-l4",
        ),
        (
            Policy(max_accelerators=99),
            {"kind": "a9-highgpu-8g"},
            (
                "machine.type: policy limits accelerators, and the number that a9-highgpu-8g has is"
                " unknown; list the type in machine_types to allow it"
            ),
        ),
        (
            Policy(images=("gcr.io/", "eu.gcr.io/")),
            {},
            (
                "artifact.image: policy allows images that start with gcr.io/, eu.gcr.io/; got"
                " eu-docker.pkg.dev/p/r/tiny:1"
            ),
        ),
    ],
)
def test_a_violation_names_the_field_the_limit_and_the_value(
    policy: Policy, patch: dict[str, Any], why: str
) -> None:
    assert violations(policy, spec(**patch)) == (why,)


def test_a_spec_at_every_limit_is_allowed() -> None:
    policy = Policy(
        max_instances=9,
        max_accelerators=9,
        max_cost_per_hour=9.0,
        regions=("us-central1",),
        machine_types=("g2-standard-12",),
        accelerator_types=("nvidia-l4",),
        images=("eu-docker.pkg.dev/p",),
        prices=PRICES,
    )
    assert violations(policy, spec(kind="g2-standard-12")) == ()


def test_an_empty_policy_allows_everything() -> None:
    assert violations(Policy(), spec(most=2000)) == ()
    assert quota_violations(Policy(), Usage(), Usage(10**6, 10**6, 1e9), Usage()) == ()


@pytest.mark.parametrize(
    ("policy", "given", "is_allowed"),
    [
        (Policy(max_instances=9), spec(6), True),
        (Policy(max_instances=9), spec(7), False),
        (Policy(max_accelerators=9), spec(6, "g2-standard-12"), True),
        (Policy(max_accelerators=9), spec(7, "g2-standard-12"), False),
        (Policy(max_cost_per_hour=0.9, prices=PRICES), spec(6), True),
        (Policy(max_cost_per_hour=0.9, prices=PRICES), spec(7), False),
        (Policy(max_cost_per_hour=9, prices=PRICES), spec(6, "g2-standard-12"), True),
    ],
)
def test_a_release_may_use_exactly_what_the_policy_allows(
    policy: Policy, given: Spec, is_allowed: bool
) -> None:
    assert (violations(policy, given) == ()) == is_allowed


# ---- A swap, during which both releases run


def test_a_swap_may_exceed_a_cap_that_each_release_alone_respects() -> None:
    policy = Policy(max_cost_per_hour=10, prices=PRICES)
    many, dear = spec(most=50), spec(most=5, kind="g2-standard-12")
    assert violations(policy, many) == violations(policy, dear) == ()
    assert violations(policy, dear, many) == (
        (
            "machine: policy allows 10 USD an hour, surge included; got up to 53 while up"
            " to 50 instances are swapped; lower scaling.max in a separate release first"
        ),
    )


def test_a_model_above_a_later_cap_may_shrink() -> None:
    policy = Policy(max_cost_per_hour=2, prices=PRICES)
    assert violations(policy, spec(most=10), spec(most=50)) == ()


def test_a_swap_may_use_what_the_cap_allows_or_what_was_used_before() -> None:
    many, dear = spec(8), spec(1, "g2-standard-12")
    assert violations(Policy(max_cost_per_hour=11, prices=PRICES), dear, many) == ()
    assert violations(Policy(max_cost_per_hour=10.99, prices=PRICES), dear, many) == (
        (
            "machine: policy allows 10.99 USD an hour, surge included; got up to 11 while"
            " up to 8 instances are swapped; lower scaling.max in a separate release first"
        ),
    )
    assert violations(Policy(max_accelerators=11), dear, many) == ()
    assert violations(Policy(max_accelerators=10), dear, many)[0].startswith(
        "machine.accelerator: policy allows 10 accelerators"
    )
    dearer = spec(20, "g2-standard-12")
    assert violations(Policy(max_cost_per_hour=10, prices=PRICES), spec(6), dearer) == ()
    assert violations(Policy(max_instances=10), spec(6), spec(50)) == ()


SPECS = st.builds(
    lambda least, span, kind: spec(least + span, kind, least),
    st.integers(1, 9),
    st.integers(1, 40),
    st.sampled_from(["n1-standard-2", "g2-standard-12", "n1-standard-16"]),
)


@given(SPECS, SPECS, st.integers(1, 60), st.sampled_from([10, 50, 100]))
def test_no_target_of_an_allowed_swap_exceeds_a_cap(
    before: Spec, after: Spec, cap: int, percent: int
) -> None:
    policy = Policy(max_cost_per_hour=cap, max_accelerators=cap, max_instances=cap, prices=PRICES)
    if violations(policy, before) or violations(policy, after, before):
        return
    stable, candidate = replace(release("1"), spec=before), replace(release("2"), spec=after)
    for group in (
        swap_group(Swap(stable, candidate, "blue"), step(percent), Observed()),
        steady_group(candidate, "blue"),
    ):
        (group,) = clamp(policy, Target("tiny", (group,))).groups
        instances, specs = group.max + group.surge, [share.release.spec for share in group.shares]
        assert instances <= cap
        assert instances * max(cost_per_hour(PRICES, each) for each in specs) <= cap + 1e-6
        assert (
            instances
            * max(
                each.machine.accelerator.count if each.machine.accelerator else 0 for each in specs
            )
            <= cap
        )


@pytest.mark.parametrize(
    ("most", "bounds"),
    [
        (None, (2, 8)),
        (100, (2, 8)),
        (11, (2, 8)),
        (10, (2, 7)),
        (5, (2, 2)),
        (4, (1, 1)),
        (0, (1, 1)),
    ],
)
def test_a_later_cap_shrinks_a_group_but_never_below_one_instance(
    most: int | None, bounds: tuple[int, int]
) -> None:
    group = steady_group(release("1", scaling={"min": 2, "max": 8}), "blue")
    target = Target("tiny", (group,), frozenset({"tiny-1"}))
    assert clamp(Policy(max_instances=most), target) == replace(
        target, groups=(replace(group, min=bounds[0], max=bounds[1]),)
    )


# ---- Allow-lists


def test_a_list_of_accelerators_does_not_affect_machines_without_any() -> None:
    assert violations(Policy(accelerator_types=("nvidia-l4",)), spec()) == ()


@pytest.mark.parametrize(
    ("prefix", "is_allowed"),
    [
        ("eu-docker.pkg.dev/p/r/", True),
        ("eu-docker.pkg.dev/p/r", True),
        ("eu-docker.pkg.dev/p/r/tiny", True),
        ("eu-docker.pkg.dev/p/r/tiny:1", True),
        ("eu-docker.pkg.dev/p/r/ti", False),
        ("eu-docker.pkg.de", False),
        ("docker.pkg.dev/p/r/", False),
    ],
)
def test_a_prefix_matches_only_whole_parts_of_an_image_name(prefix: str, is_allowed: bool) -> None:
    assert (violations(Policy(images=(prefix,)), spec()) == ()) == is_allowed


@pytest.mark.parametrize("end", ["/", ":", "@"])
def test_a_prefix_ends_where_a_part_of_a_name_ends(end: str) -> None:
    image = {"/": "gcr.io/p/tiny:1", ":": "gcr.io/p:1", "@": f"gcr.io/p@sha256:{'0' * 64}"}[end]
    given = release("1", artifact={"image": image}).spec
    for prefix in ("gcr.io/p", f"gcr.io/p{end}", image):
        assert violations(Policy(images=("eu.gcr.io", prefix)), given) == ()
    assert violations(Policy(images=("gcr.io/pp", "gcr.io/")), given) == ()
    assert violations(Policy(images=("gcr.io/pp", "cr.io")), given) == (
        f"artifact.image: policy allows images that start with gcr.io/pp, cr.io; got {image}",
    )


def test_another_port_of_a_host_is_another_registry() -> None:
    given = release("1", artifact={"image": "gcr.io:5000/p/tiny:1"}).spec
    assert violations(Policy(images=("gcr.io",)), given)
    assert violations(Policy(images=("gcr.io:5000",)), given) == ()


def test_a_start_up_script_is_not_an_allowed_image() -> None:
    script = release("1", artifact={"startup_script": "true"}).spec
    assert violations(Policy(images=("gcr.io/",)), script) == (
        "artifact.startup_script: policy allows images that start with gcr.io/, and so no start-up"
        " script; release an image, or remove images from settings/policy",
    )


def test_what_a_release_says_of_an_unknown_machine_type_is_not_believed() -> None:
    gpu = {"type": "nvidia-l4", "count": 1}
    given = release("1", machine={"type": "a4x-maxgpu-4g-metal", "accelerator": gpu}).spec
    for limits in ({"accelerator_types": ("nvidia-l4",)}, {"max_accelerators": 99}):
        assert violations(Policy(**limits), given)[0].startswith(
            "machine.type: policy limits accelerators, and the number that a4x-maxgpu-4g-metal has"
        )
    assert violations(Policy(), given) == ()


@pytest.mark.parametrize(
    ("limits", "is_refused"),
    [
        ({}, False),
        ({"max_accelerators": 99}, True),
        ({"max_project_accelerators": 99}, True),
        ({"accelerator_types": ("nvidia-l4",)}, True),
        ({"max_accelerators": 99, "machine_types": ("z9-standard-4",)}, False),
        ({"max_accelerators": 99, "machine_types": ("n1-standard-1", "z9-standard-4")}, False),
        ({"max_instances": 99}, False),
    ],
)
def test_a_machine_of_an_unknown_series_is_refused_where_accelerators_are_limited(
    limits: dict[str, Any], is_refused: bool
) -> None:
    message = (
        "machine.type: policy limits accelerators, and the number that z9-standard-4 has is"
        " unknown; list the type in machine_types to allow it"
    )
    assert violations(Policy(**limits), spec(kind="z9-standard-4")) == (
        (message,) if is_refused else ()
    )
    assert (
        violations(
            Policy(max_accelerators=99, accelerator_types=("nvidia-l4",)),
            spec(kind="g2-standard-12"),
        )
        == ()
    )
