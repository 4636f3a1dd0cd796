"""How a policy is read from its document."""

from __future__ import annotations

from typing import Any

import pytest

from rollout.policy.caps import violations
from rollout.policy.policy import NO_LIMIT_IF_ABSENT, Policy, load_policy
from rollout.policy.prices import Prices, load_prices
from tests.rollout.policies import PRICES, spec

KNOWN = (
    "accelerator_types, approvers, boot_images, exposure, external_ip, freezes, gate_hosts,"
    " gateways, hosts, images, machine_types, max_accelerators, max_cost_per_hour, max_instances,"
    " max_project_accelerators, max_project_cost_per_hour, max_project_instances, networks,"
    " regions, registries, require_digest, reservations, secrets, service_accounts, signers, stop,"
    " tags"
)


def test_prices_are_read_only_if_a_cost_is_capped() -> None:
    def unread() -> Prices:
        raise AssertionError("prices were read")

    assert load_policy(None, unread) == Policy()
    assert load_policy({"max_instances": 5.0, "regions": ["us-central1"]}, unread) == Policy(
        max_instances=5, regions=("us-central1",)
    )
    assert load_policy({"max_project_cost_per_hour": 5}, lambda: PRICES) == Policy(
        max_project_cost_per_hour=5, prices=PRICES
    )


def test_prices_are_read_for_either_cost_cap_even_one_of_zero() -> None:
    for cap in ("max_cost_per_hour", "max_project_cost_per_hour"):
        assert load_policy({cap: 0}, lambda: PRICES).prices == PRICES
        assert load_policy({cap: None}, lambda: PRICES).prices == Prices()


def test_counts_are_read_as_integers_and_costs_as_floats() -> None:
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


@pytest.mark.parametrize(
    ("field", "names", "words"),
    [
        ("regions", ("us-*", "US-central1", "us-central1-a"), "whole names, such as us-central1"),
        ("machine_types", ("g2-*", "zones/us-central1-a/machineTypes/g2-standard-12"), "whole"),
        ("accelerator_types", ("nvidia-*", "NVIDIA-L4"), "whole names, such as nvidia-l4"),
        ("images", ("us-docker.pkg.dev/*", "https://us-docker.pkg.dev/p"), "beginnings of names"),
        ("boot_images", ("debian-cloud", "projects/*"), "beginnings of names"),
        ("registries", ("*.pkg.dev", "https://pkg.dev", "pkg.dev/p"), "hosts, or domains"),
        ("gate_hosts", ("*", "eval.example.com/judge"), "hosts, or domains"),
        ("exposure", ("internal", "*"), "external or none"),
        (
            "hosts",
            ("*.example.com", "example.*", "example.com.", ".example.com", "example.com:443"),
            "hosts, or domains with all hosts below them",
        ),
        # Of a model that is named `com`, these would be the hosts of half the world.
        ("hosts", ("{model}", "example.{model}", "{name}.example.com"), "hosts, or domains"),
        ("networks", ("default", "*/default", "https://compute/global/networks/default"), "names"),
        ("service_accounts", ("*@p.iam.gserviceaccount.com", "Slipway", "{name}-x"), "e-mail"),
        ("tags", ("*-web", "Web", "{Model}"), "names such as web"),
        ("secrets", ("token@3", "projects/p/secrets/token", "a*b"), "names such as {model}_token"),
        ("reservations", ("block 7", "*block"), "names such as block-7"),
    ],
)
def test_a_name_that_nothing_can_have_is_an_error(
    field: str, names: tuple[str, ...], words: str
) -> None:
    for name in names:
        with pytest.raises(ValueError, match="settings/policy") as refused:
            load_policy({field: [name]})
        assert str(refused.value).startswith(f"settings/policy: {field} must list {words}")
        assert str(refused.value).endswith(f"; got {name!r}")


@pytest.mark.parametrize("field", NO_LIMIT_IF_ABSENT)
def test_an_empty_list_is_not_taken_for_no_limit(field: str) -> None:
    """Who removes the last name, or the last key before the new one, means to allow nothing."""
    with pytest.raises(ValueError, match=f"{field} lists nothing; name what is allowed, or leave"):
        load_policy({field: []})


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"b": 1, "a": 1}, f"settings/policy has unknown fields a, b; known fields are {KNOWN}"),
        ({"prices": {}}, f"settings/policy has unknown fields prices; known fields are {KNOWN}"),
        (
            {"is_signed": True},
            f"settings/policy has unknown fields is_signed; known fields are {KNOWN}",
        ),
        (
            {"max_instances": "5"},
            "settings/policy: max_instances must be a non-negative integer, got '5'",
        ),
        (
            {"max_instances": True},
            "settings/policy: max_instances must be a non-negative integer, got True",
        ),
        (
            {"max_instances": -1},
            "settings/policy: max_instances must be a non-negative integer, got -1",
        ),
        (
            {"max_instances": [5]},
            "settings/policy: max_instances must be a non-negative integer, got [5]",
        ),
        (
            {"max_cost_per_hour": float("nan")},
            "settings/policy: max_cost_per_hour must be a non-negative number, got nan",
        ),
        (
            {"max_cost_per_hour": float("inf")},
            "settings/policy: max_cost_per_hour must be a non-negative number, got inf",
        ),
        ({"images": [""]}, "settings/policy: images must be a list of names, got ['']"),
        ({"images": [None]}, "settings/policy: images must be a list of names, got [None]"),
        (
            {"signers": "-----BEGIN PRIVATE KEY-----"},
            "settings/policy: signers must be a list of names, got a string of 27 characters",
        ),
        (
            {"approvers": ["-----BEGIN PRIVATE KEY-----"]},
            "settings/policy: approvers must map names, in visible characters, to keys, got a list"
            " of 1",
        ),
        (
            {"max_instances": 0.5},
            "settings/policy: max_instances must be a non-negative integer, got 0.5",
        ),
        (
            {"max_cost_per_hour": -0.5},
            "settings/policy: max_cost_per_hour must be a non-negative number, got -0.5",
        ),
        (
            {"max_project_cost_per_hour": True},
            "settings/policy: max_project_cost_per_hour must be a non-negative number, got True",
        ),
        (
            {"regions": "us-central1"},
            "settings/policy: regions must be a list of names, got 'us-central1'",
        ),
        ({"external_ip": 1}, "settings/policy: external_ip must be true or false, got 1"),
        (
            {"require_digest": "yes"},
            "settings/policy: require_digest must be true or false, got 'yes'",
        ),
        (
            {"regions": ["us-central1", 5]},
            "settings/policy: regions must be a list of names, got ['us-central1', 5]",
        ),
    ],
)
def test_an_invalid_policy_is_an_error_and_not_an_empty_one(
    document: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match="settings/policy") as refused:
        load_policy(document)
    assert str(refused.value) == message


def test_an_invalid_key_is_an_error_when_the_policy_is_read() -> None:
    def only_keys(image: str, signature: str, signers: tuple[str, ...]) -> bool:
        if (image, signature) == ("", "") and "no key" in signers:
            raise ValueError("settings/policy: no key")
        return True

    with pytest.raises(ValueError, match="no key"):
        load_policy({"signers": ["key", "no key"]}, is_signed=only_keys)
    read = load_policy({"signers": ["key"]}, is_signed=only_keys)
    assert (read.signers, read.is_signed("a", "b", ("key",))) == (("key",), True)
    assert load_policy({}, is_signed=only_keys).is_signed is only_keys


def test_prices_in_the_document_override_the_shipped_ones() -> None:
    own = load_prices(
        PRICES, {"per_vcpu": {"n1-standard": 0.01}, "currency": "EUR", "as_of": "today"}
    )
    policy = Policy(max_cost_per_hour=0.1, prices=own)
    assert violations(policy, spec()) == (
        "machine: policy allows 0.10 EUR an hour, surge included; got 0.18",
    )
    assert own.machine_types == PRICES.machine_types
