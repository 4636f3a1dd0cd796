"""Policy at its very bounds: one instance, one accelerator, one cent more; whole sentences;
signatures; what still serves."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rollout.model import Command, Desired, Rollout, Target
from rollout.policy.caps import clamp, violations
from rollout.policy.policy import Policy, load_policy
from rollout.policy.prices import Prices
from rollout.policy.usage import (
    Usage,
    competing,
    live_releases,
    max_usage,
    quota_violations,
)
from rollout.spec.model import Spec
from rollout.strategies.rolling import steady_group
from tests.rollout.build import NOON, release

PRICES = Prices(
    {"g2-standard-12": 1.0}, {"n1-standard": 0.05}, {"nvidia-tesla-t4": 0.35}, {"pd-balanced": 0.0}
)
DIGEST = f"eu-docker.pkg.dev/p/r/tiny@sha256:{'0' * 64}"
KNOWN = (
    "accelerator_types, images, machine_types, max_accelerators, max_cost_per_hour, max_instances,"
    " max_project_accelerators, max_project_cost_per_hour, max_project_instances, regions, signers"
)


def spec(most: int = 6, kind: str = "n1-standard-2", **sections: Any) -> Spec:
    return release("1", machine={"type": kind}, scaling={"min": 1, "max": most}, **sections).spec


# ---- Caps of a project


@pytest.mark.parametrize(
    ("policy", "before", "after", "told"),
    [
        (Policy(max_project_instances=20), Usage(1), Usage(8), ""),
        (
            Policy(max_project_instances=20),
            Usage(1),
            Usage(9),
            (
                "scaling.max: policy allows 20 instances in the project; got 21, of which other"
                " models may use 12"
            ),
        ),
        (
            Policy(max_project_instances=0),
            Usage(1),
            Usage(9),
            (
                "scaling.max: policy allows 0 instances in the project; got 21, of which other"
                " models may use 12"
            ),
        ),
        (Policy(max_project_accelerators=4), Usage(0, 1), Usage(0, 2), ""),
        (Policy(max_project_accelerators=4), Usage(0, 3), Usage(0, 3), ""),
        (
            Policy(max_project_accelerators=4),
            Usage(0, 2),
            Usage(0, 3),
            (
                "machine.accelerator: policy allows 4 accelerators in the project; got 5, of which"
                " other models may use 2"
            ),
        ),
        (Policy(max_project_cost_per_hour=10), Usage(), Usage(0, 0, 4.0), ""),
        (
            Policy(max_project_cost_per_hour=10),
            Usage(),
            Usage(0, 0, 4.01),
            (
                "machine: policy allows 10 USD an hour in the project; got 10.01, of which other"
                " models may use 6"
            ),
        ),
    ],
)
def test_a_project_is_full_at_its_cap_and_not_below(
    policy: Policy, before: Usage, after: Usage, told: str
) -> None:
    assert quota_violations(policy, before, after, Usage(12, 2, 6.0)) == ((told,) if told else ())


@pytest.mark.parametrize(
    "cap", ["max_project_instances", "max_project_accelerators", "max_project_cost_per_hour"]
)
def test_a_policy_has_project_caps_with_any_cap_on_it(cap: str) -> None:
    limits: dict[str, Any] = {cap: 0}
    assert Policy(**limits).has_project_caps
    assert not Policy(max_instances=1, max_accelerators=1, max_cost_per_hour=1.0).has_project_caps


# ---- Caps of a model


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
def test_a_release_that_needs_all_that_policy_allows_passes_and_one_more_does_not(
    policy: Policy, given: Spec, is_allowed: bool
) -> None:
    assert (violations(policy, given) == ()) == is_allowed


def test_a_swap_may_come_to_what_the_cap_allows_and_to_what_served_before() -> None:
    many, dear = spec(8), spec(1, "g2-standard-12")
    assert violations(Policy(max_cost_per_hour=11, prices=PRICES), dear, many) == ()
    assert violations(Policy(max_cost_per_hour=10.99, prices=PRICES), dear, many) == (
        (
            "machine: policy allows 10.99 USD an hour with the surge of a swap; got up to 11 while"
            " up to 8 instances are swapped; lower scaling.max in a release of its own first"
        ),
    )
    assert violations(Policy(max_accelerators=11), dear, many) == ()
    assert violations(Policy(max_accelerators=10), dear, many)[0].startswith(
        "machine.accelerator: policy allows 10 accelerators"
    )
    dearer = spec(20, "g2-standard-12")
    assert violations(Policy(max_cost_per_hour=10, prices=PRICES), spec(6), dearer) == ()
    assert violations(Policy(max_instances=10), spec(6), spec(50)) == ()


def test_a_model_uses_as_many_as_its_bounds_and_its_surge_and_the_dearest_of_its_machines() -> None:
    t4 = release(
        "1", machine={"accelerator": {"type": "nvidia-tesla-t4", "count": 2}}, scaling={"max": 2}
    ).spec
    assert max_usage(PRICES, (t4, spec(6))) == Usage(9, 18, 9 * (0.05 + 0.7))
    assert max_usage(PRICES, (spec(1),)) == Usage(4, 0, 4 * 0.1)
    assert max_usage(PRICES, ()) == Usage(0, 0, 0)
    assert (
        max_usage(
            PRICES, (release("1", rollout={"unavailable": 3, "surge": 0}, scaling={"max": 2}).spec,)
        ).instances
        == 2
    )
    assert Usage(1, 2, 3.0) + Usage(10, 20, 30.0) == Usage(11, 22, 33.0)
    assert Usage() == Usage(0, 0, 0)


def test_what_may_come_to_run_is_what_serves_what_is_on_its_way_and_what_is_asked_for() -> None:
    one, two, three = release("1"), release("2"), release("3")
    pause = Command("pause", "e", NOON)
    assert live_releases(Rollout(stable=one), Desired("tiny", None, commands=(pause,))) == (one,)
    assert live_releases(Rollout(candidate=two), Desired("tiny", three)) == (two, three)


@pytest.mark.parametrize(
    ("published", "model", "counts"),
    [(-1, "z", True), (0, "a", True), (0, "b", False), (0, "c", False), (1, "a", False)],
)
def test_of_two_at_the_same_moment_the_first_by_name_counts(
    published: int, model: str, counts: bool
) -> None:
    theirs = replace(release("1"), released_at=NOON + timedelta(seconds=published))
    assert bool(competing(Rollout(candidate=theirs), Desired(model), (NOON, "b"))) == counts


# ---- What still serves


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
def test_a_group_is_held_to_a_cap_that_came_later_but_never_turned_off(
    most: int | None, bounds: tuple[int, int]
) -> None:
    group = steady_group(release("1", scaling={"min": 2, "max": 8}))
    target = Target("tiny", (group,), frozenset({"tiny-1"}))
    assert clamp(Policy(max_instances=most), target) == replace(
        target, groups=(replace(group, min=bounds[0], max=bounds[1]),)
    )


# ---- Lists and signatures


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


def test_a_boot_image_of_ones_own_needs_a_place_on_the_list() -> None:
    given = release("1", machine={"image": "projects/ours/global/images/mine"}).spec
    assert violations(Policy(images=("eu-docker.pkg.dev/p",)), given) == (
        (
            "machine.image: policy allows images that start with eu-docker.pkg.dev/p; got"
            " projects/ours/global/images/mine"
        ),
    )
    assert (
        violations(Policy(images=("eu-docker.pkg.dev/p", "projects/ours/global/images")), given)
        == ()
    )


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
def test_a_machine_of_an_unknown_series_is_not_taken_to_bring_no_accelerators(
    limits: dict[str, Any], is_refused: bool
) -> None:
    told = (
        "machine.type: policy limits accelerators, and it is not known here how many"
        " z9-standard-4 has"
    )
    assert violations(Policy(**limits), spec(kind="z9-standard-4")) == (
        (told,) if is_refused else ()
    )
    assert (
        violations(
            Policy(max_accelerators=99, accelerator_types=("nvidia-l4",)),
            spec(kind="g2-standard-12"),
        )
        == ()
    )


def signed(image: str, signature: str | None = "x" * 88) -> Spec:
    return release("1", artifact={"image": image, "signature": signature}).spec


def test_what_must_be_signed_is_checked_by_its_digest_and_against_all_signers() -> None:
    asked: list[tuple[str, str, tuple[str, ...]]] = []

    def by_the_second(image: str, signature: str, signers: tuple[str, ...]) -> bool:
        asked.append((image, signature, signers))
        return signers[1] == "key two"

    policy = Policy(signers=("key one", "key two"), is_signed=by_the_second)
    assert violations(policy, signed(DIGEST)) == ()
    assert asked == [(DIGEST, "x" * 88, ("key one", "key two"))]
    assert violations(replace(policy, signers=("key one", "key three")), signed(DIGEST)) == (
        f"artifact.signature: policy wants one of {DIGEST} by one of its 2 signers; got another",
    )


def test_what_could_not_be_signed_is_refused_by_what_it_lacks() -> None:
    policy = Policy(signers=("key",), is_signed=lambda *_: True)
    assert violations(policy, signed(DIGEST, None)) == (
        "artifact.signature: policy wants the image to be signed; got no signature",
    )
    tagged = release("1").spec
    assert violations(policy, tagged) == (
        (
            "artifact.image: policy wants the image to be signed, and so by its digest; got"
            " eu-docker.pkg.dev/p/r/tiny:1"
        ),
    )
    script = release("1", artifact={"startup_script": "true"}).spec
    assert violations(policy, script) == (
        "artifact.startup_script: policy wants what runs to be signed, and only an image can be",
    )
    assert violations(Policy(), signed(DIGEST, None)) == violations(Policy(), tagged) == ()


# ---- Documents


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"b": 1, "a": 1}, f"settings/policy has unknown fields a, b; known are {KNOWN}"),
        ({"is_signed": True}, f"settings/policy has unknown fields is_signed; known are {KNOWN}"),
        (
            {"max_instances": "5"},
            "settings/policy: max_instances must be a whole number from 0 on, got '5'",
        ),
        (
            {"max_instances": 0.5},
            "settings/policy: max_instances must be a whole number from 0 on, got 0.5",
        ),
        (
            {"max_cost_per_hour": -0.5},
            "settings/policy: max_cost_per_hour must be a number from 0 on, got -0.5",
        ),
        (
            {"max_project_cost_per_hour": True},
            "settings/policy: max_project_cost_per_hour must be a number from 0 on, got True",
        ),
        (
            {"regions": "us-central1"},
            "settings/policy: regions must be a list of names, got 'us-central1'",
        ),
        (
            {"regions": ["us-central1", 5]},
            "settings/policy: regions must be a list of names, got ['us-central1', 5]",
        ),
    ],
)
def test_what_is_no_policy_is_told_whole(document: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match="settings/policy") as refused:
        load_policy(document)
    assert str(refused.value) == told


def test_numbers_are_read_as_what_they_are() -> None:
    read = load_policy(
        {
            "max_instances": 0,
            "max_accelerators": 3.0,
            "max_cost_per_hour": 0,
            "max_project_instances": None,
        }
    )
    assert (
        read.max_instances,
        read.max_accelerators,
        read.max_cost_per_hour,
        read.max_project_instances,
    ) == (0, 3, 0, None)
    kinds = (type(read.max_instances), type(read.max_accelerators), type(read.max_cost_per_hour))
    assert kinds == (int, int, float)
    assert load_policy({"max_cost_per_hour": 0.5}).max_cost_per_hour == 0.5
    assert load_policy({"images": ("a", "b")}).images == ("a", "b")


def test_prices_are_asked_for_where_either_cost_is_capped_even_at_nothing() -> None:
    for cap in ("max_cost_per_hour", "max_project_cost_per_hour"):
        assert load_policy({cap: 0}, lambda: PRICES).prices == PRICES
        assert load_policy({cap: None}, lambda: PRICES).prices == Prices()


def test_signers_that_are_no_keys_are_an_error_when_the_policy_is_read() -> None:
    def only_keys(image: str, signature: str, signers: tuple[str, ...]) -> bool:
        if (image, signature) == ("", "") and "no key" in signers:
            raise ValueError("settings/policy: no key")
        return True

    with pytest.raises(ValueError, match="no key"):
        load_policy({"signers": ["key", "no key"]}, is_signed=only_keys)
    read = load_policy({"signers": ["key"]}, is_signed=only_keys)
    assert (read.signers, read.is_signed("a", "b", ("key",))) == (("key",), True)
    assert load_policy({}, is_signed=only_keys).is_signed is only_keys
