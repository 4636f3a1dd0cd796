"""Policy: what a spec breaks, what the sum over a project's models breaks, and which policies are
none."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.model import Baking, Command, Desired, Rollout, Stepping, Target
from rollout.policy.caps import DEFAULT_BOOT_IMAGES, clamp, violations
from rollout.policy.policy import Policy, load_policy
from rollout.policy.prices import Prices, cost_per_hour, load_prices
from rollout.policy.usage import (
    Usage,
    competing,
    live_releases,
    max_usage,
    quota_violations,
)
from rollout.spec.model import Spec
from rollout.strategies.base import Swap
from rollout.strategies.rolling import steady_group, swap_group
from tests.rollout.build import NOON, release, step

PRICES = Prices(
    {"g2-standard-12": 1.0}, {"n1-standard": 0.05}, {"nvidia-tesla-t4": 0.35}, {"pd-balanced": 0.0}
)


def spec(least: int = 3, most: int = 6, kind: str = "n1-standard-2", **patch: Any) -> Spec:
    return release("1", machine={"type": kind}, scaling={"min": least, "max": most}, **patch).spec


@pytest.mark.parametrize(
    ("policy", "patch", "why"),
    [
        (
            Policy(max_instances=8),
            {},
            "scaling.max: policy allows 8 instances with the surge of a swap; got 9",
        ),
        (
            Policy(max_accelerators=8),
            {"kind": "g2-standard-12"},
            "machine.accelerator: policy allows 8 accelerators with the surge of a swap; got 9",
        ),
        (
            Policy(max_cost_per_hour=0.5, prices=PRICES),
            {},
            "machine: policy allows 0.50 USD an hour with the surge of a swap; got 0.90",
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
                "machine.type: policy limits accelerators, and it is not known here how many"
                " a9-highgpu-8g has"
            ),
        ),
        (
            Policy(signers=("a key",)),
            {"artifact": {"image": f"host/app@sha256:{'0' * 64}", "signature": "A" * 88}},
            (
                f"artifact.signature: policy wants one of host/app@sha256:{'0' * 64} by one of its"
                " 1 signers; got another"
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
def test_what_a_spec_breaks_is_said_with_what_is_allowed(
    policy: Policy, patch: dict[str, Any], why: str
) -> None:
    assert violations(policy, spec(**patch)) == (why,)


def test_a_spec_at_every_limit_breaks_none() -> None:
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


def test_without_a_policy_anything_goes() -> None:
    assert violations(Policy(), spec(most=2000)) == ()
    assert quota_violations(Policy(), Usage(), Usage(10**6, 10**6, 1e9), Usage()) == ()


def test_a_list_of_accelerators_says_nothing_of_machines_without_any() -> None:
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
def test_an_image_is_below_a_prefix_only_by_whole_parts(prefix: str, is_allowed: bool) -> None:
    assert (violations(Policy(images=(prefix,)), spec()) == ()) == is_allowed


def test_a_start_up_script_is_no_allowed_image() -> None:
    script = release("1", artifact={"startup_script": "true"}).spec
    assert violations(Policy(images=("gcr.io/",)), script)[0].endswith("got None")


def test_boot_images_that_slipway_takes_by_itself_need_no_place_on_the_list() -> None:
    policy = Policy(images=("eu-docker.pkg.dev/p/",))
    for name in DEFAULT_BOOT_IMAGES:
        assert violations(policy, spec_with_boot_image(name)) == ()
    assert (
        violations(
            policy, spec_with_boot_image("projects/cos-cloud/global/images/family/cos-stable-evil")
        )
        != ()
    )


def spec_with_boot_image(name: str) -> Spec:
    return release("1", machine={"image": name}).spec


def test_a_policy_that_knows_nobody_who_could_check_takes_no_signature() -> None:
    signed = release(
        "1", artifact={"image": f"host/app@sha256:{'0' * 64}", "signature": "A" * 88}
    ).spec
    assert (
        violations(replace(Policy(signers=("a key",)), is_signed=lambda *given: True), signed) == ()
    )
    assert violations(Policy(signers=("a key",)), signed) != ()


# ---- A swap, while which both releases are there


def test_a_swap_that_could_run_many_of_the_dear_machine_is_refused_though_each_release_fits() -> (
    None
):
    policy = Policy(max_cost_per_hour=10, prices=PRICES)
    many, dear = spec(most=50), spec(most=5, kind="g2-standard-12")
    assert violations(policy, many) == violations(policy, dear) == ()
    assert violations(policy, dear, many) == (
        (
            "machine: policy allows 10 USD an hour with the surge of a swap; got up to 53 while up"
            " to 50 instances are swapped; lower scaling.max in a release of its own first"
        ),
    )


def test_what_serves_above_a_cap_that_came_later_can_be_made_smaller() -> None:
    policy = Policy(max_cost_per_hour=2, prices=PRICES)
    assert violations(policy, spec(most=10), spec(most=50)) == ()


LISTED = st.sampled_from(["n1-standard-2", "g2-standard-12", "n1-standard-16"])
SPECS = st.builds(
    lambda least, span, kind: spec(least, least + span, kind),
    st.integers(1, 9),
    st.integers(1, 40),
    LISTED,
)


@given(SPECS, SPECS, st.integers(1, 60), st.sampled_from([10, 50, 100]))
def test_no_target_of_a_swap_that_policy_allows_can_cost_more_than_the_cap(
    before: Spec, after: Spec, cap: int, percent: int
) -> None:
    policy = Policy(max_cost_per_hour=cap, max_accelerators=cap, max_instances=cap, prices=PRICES)
    if violations(policy, before) or violations(policy, after, before):
        return
    stable, candidate = replace(release("1"), spec=before), replace(release("2"), spec=after)
    for group in (
        swap_group(Swap(stable, candidate, "blue"), step(percent), None),
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


# ---- A project


def test_the_sum_over_a_project_is_held_to_its_caps() -> None:
    policy = Policy(
        max_project_instances=20, max_project_accelerators=4, max_project_cost_per_hour=10
    )
    found = quota_violations(policy, Usage(), Usage(9, 3, 4.5), Usage(12, 2, 6.0))
    assert found == (
        (
            "scaling.max: policy allows 20 instances in the project; got 21, of which other models"
            " may use 12"
        ),
        (
            "machine.accelerator: policy allows 4 accelerators in the project; got 5, of which"
            " other models may use 2"
        ),
        (
            "machine: policy allows 10 USD an hour in the project; got 10.50, of which other models"
            " may use 6"
        ),
    )


def test_what_does_not_grow_passes_also_where_the_project_is_too_large_already() -> None:
    policy = Policy(max_project_instances=20)
    assert quota_violations(policy, Usage(9), Usage(9), Usage(30)) == ()
    assert quota_violations(policy, Usage(9), Usage(10), Usage(30)) != ()


def test_an_unpriced_machine_of_another_model_leaves_no_room_under_a_cost_cap() -> None:
    policy = Policy(max_project_cost_per_hour=1000, prices=PRICES)
    others = max_usage(PRICES, (spec(kind="e2-standard-2"),))
    assert quota_violations(policy, Usage(), Usage(1, 0, 0.1), others) == (
        (
            "machine: policy allows 1000 USD an hour in the project; got more than settings/prices"
            " can tell, of which other models may use more than settings/prices can tell"
        ),
    )


def test_a_model_may_use_the_widest_and_dearest_of_what_is_in_play() -> None:
    stable, candidate, wanted, back = (
        replace(release(version), spec=made)
        for version, made in zip(
            "1234",
            (spec(most=6), spec(most=4), spec(most=3, kind="g2-standard-12"), spec(most=8)),
            strict=True,
        )
    )
    rollout = Rollout(Stepping(0, NOON), stable, candidate)
    desired = Desired("tiny", wanted, commands=(Command("rollback", "e", NOON, release=back),))
    found = live_releases(rollout, desired)
    assert found == (stable, candidate, wanted, back)
    assert max_usage(PRICES, (each.spec for each in found)) == Usage(11, 11, 11.0)


def test_of_two_on_their_way_only_the_one_published_first_counts_against_the_other() -> None:
    first = replace(release("1"), released_at=NOON)
    later = replace(release("2"), released_at=NOON + timedelta(seconds=1))
    one, other = (Rollout(Baking(NOON), None, each) for each in (first, later))
    assert competing(one, Desired("a", first), (later.released_at, "b")) == (first.spec, first.spec)
    assert competing(other, Desired("b", later), (first.released_at, "a")) == ()


def test_what_serves_counts_whenever_it_was_published() -> None:
    later = replace(release("2"), released_at=NOON + timedelta(days=1))
    assert competing(Rollout(stable=later), Desired("b", later), (NOON, "a"))


# ---- Documents


def test_a_policy_is_read_from_its_document_and_prices_only_when_a_cost_is_capped() -> None:
    def never() -> Prices:
        raise AssertionError("nobody asked for prices")

    assert load_policy(None, never) == Policy()
    assert load_policy({"max_instances": 5.0, "regions": ["us-central1"]}, never) == Policy(
        max_instances=5, regions=("us-central1",)
    )
    assert load_policy({"max_project_cost_per_hour": 5}, lambda: PRICES) == Policy(
        max_project_cost_per_hour=5, prices=PRICES
    )


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"max_instance": 5}, "unknown fields max_instance"),
        ({"prices": {}}, "unknown fields prices"),
        ({"max_instances": "5"}, "max_instances must be a whole number from 0 on, got '5'"),
        ({"max_instances": True}, "max_instances must be a whole number"),
        ({"max_instances": -1}, "max_instances must be a whole number"),
        ({"max_instances": 5.5}, "max_instances must be a whole number"),
        ({"max_instances": [5]}, "max_instances must be a whole number"),
        ({"max_cost_per_hour": float("nan")}, "max_cost_per_hour must be a number"),
        ({"max_cost_per_hour": float("inf")}, "max_cost_per_hour must be a number"),
        ({"regions": "us-central1"}, "regions must be a list of names, got 'us-central1'"),
        ({"signers": "ann"}, "signers must be a list of names, got 'ann'"),
        ({"images": [""]}, "images must be a list of names"),
        ({"images": [None]}, "images must be a list of names"),
    ],
)
def test_a_policy_that_is_none_is_an_error_and_not_no_cap(
    document: dict[str, Any], why: str
) -> None:
    with pytest.raises(ValueError, match="settings/policy") as refused:
        load_policy(document)
    assert why in str(refused.value)


def test_prices_of_ones_own_go_before_those_that_come_along() -> None:
    own = load_prices(
        PRICES, {"per_vcpu": {"n1-standard": 0.01}, "currency": "EUR", "as_of": "today"}
    )
    policy = Policy(max_cost_per_hour=0.1, prices=own)
    assert violations(policy, spec()) == (
        "machine: policy allows 0.10 EUR an hour with the surge of a swap; got 0.18",
    )
    assert own.machine_types == PRICES.machine_types
