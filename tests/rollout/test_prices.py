"""What an instance costs an hour, roughly."""

from __future__ import annotations

import math
from typing import Any

import pytest

from infra.settings import default_prices
from rollout.policy.prices import Prices, cost_per_hour, load_prices, missing_price
from rollout.spec.machines import CHOSEN, is_of_unknown_series
from rollout.spec.model import Spec
from tests.rollout.build import release


def spec(**machine: Any) -> Spec:
    region = machine.pop("region", "us-central1")
    return release("1", machine=machine, placement={"region": region}).spec


def cost(**machine: Any) -> float:
    return round(cost_per_hour(default_prices(), spec(**machine)), 2)


def test_a_machine_costs_its_cpus_its_gpus_and_its_disk() -> None:
    t4 = {"type": "nvidia-tesla-t4", "count": 2}
    assert cost(type="n1-standard-4", accelerator=t4) == 0.90
    assert cost(type="n1-standard-4", disk={"size_gb": 7300, "type": "pd-ssd"}) == 0.19 + 1.70


def test_gpus_that_come_with_a_machine_are_in_its_own_price() -> None:
    assert (
        cost(type="g2-standard-12")
        == cost(type="g2-standard-12", accelerator={"type": "nvidia-l4"})
        == 1.01
    )


def test_spot_is_cheaper_and_far_away_is_dearer() -> None:
    assert cost(type="a2-highgpu-1g", spot=True) < cost(type="a2-highgpu-1g") / 2
    assert cost(type="e2-standard-4", region="mars-north1") > 1.5 * cost(type="e2-standard-4")


@pytest.mark.parametrize(
    ("machine", "lacking"),
    [
        ({"type": "z9-standard-4"}, "machine type z9-standard-4"),
        ({"type": "n1-custom-4-16384"}, "machine type n1-custom-4-16384"),
        ({"type": "a4x-highgpu-4g"}, "machine type a4x-highgpu-4g"),
        ({"type": "e2-standard-4"}, ""),
    ],
)
def test_what_has_no_price_costs_more_than_any_cap(machine: dict[str, Any], lacking: str) -> None:
    assert missing_price(default_prices(), spec(**machine)) == lacking
    assert math.isinf(cost_per_hour(default_prices(), spec(**machine))) == bool(lacking)


@pytest.mark.parametrize("factor", ["spot", "elsewhere"])
def test_a_factor_of_nothing_makes_nothing_of_what_has_no_price(factor: str) -> None:
    """Infinity times nothing is no number, and a number that is none breaks no cap."""
    prices = load_prices(default_prices(), {factor: 0})
    assert (
        cost_per_hour(prices, spec(type="z9-standard-4", spot=True, region="mars-north1"))
        == math.inf
    )


def test_an_empty_table_has_no_price_for_anything() -> None:
    assert missing_price(Prices(), spec()) == "machine type n1-standard-1"
    assert missing_price(Prices(per_vcpu={"n1-standard": 1}), spec()) == "disk type pd-balanced"
    with_gpu = spec(accelerator={"type": "nvidia-tesla-t4"})
    assert (
        missing_price(Prices(per_vcpu={"n1-standard": 1}), with_gpu)
        == "accelerator nvidia-tesla-t4"
    )


def test_the_table_that_comes_along_has_every_disk_and_every_accelerator_of_n1() -> None:
    prices = default_prices()
    assert set(prices.accelerators) == set(CHOSEN)
    for kind in ("pd-standard", "pd-balanced", "pd-ssd", "pd-extreme", "hyperdisk-balanced"):
        assert prices.disks[kind] > 0


@pytest.mark.parametrize(
    "document",
    [
        {"machine_type": {}},
        {"machine_types": []},
        {"machine_types": {"n1-standard-1": "cheap"}},
        {"machine_types": {"n1-standard-1": -1}},
        {"machine_types": {"n1-standard-1": True}},
        {"machine_types": {"n1-standard-1": float("nan")}},
        {"spot": None},
        {"currency": 5},
    ],
)
def test_a_table_with_something_else_than_prices_is_an_error(document: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="settings/prices"):
        load_prices(default_prices(), document)


def test_each_machine_that_has_a_price_is_of_a_series_that_is_known() -> None:
    """Else a cap on accelerators would refuse what costs are known of."""
    prices = default_prices()
    assert [
        name for name in (*prices.machine_types, *prices.per_vcpu) if is_of_unknown_series(name)
    ] == []
    assert is_of_unknown_series("ct5lp-hightpu-4t")
