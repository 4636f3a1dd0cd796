"""What an instance costs an hour: by a small table in which every factor differs, and by the table
that ships with Slipway.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

from infra.settings import default_prices
from rollout.policy.prices import HOURS_A_MONTH, Prices, cost_per_hour, load_prices, missing_price
from rollout.spec.machines import CHOSEN, is_uncountable
from rollout.spec.model import Spec
from tests.rollout.build import release

TABLE = Prices(
    machine_types={"g2-standard-12": 7.0, "n1-highmem-8": 0.25},
    per_vcpu={"n1-standard": 0.5, "n1-highmem": 9.0},
    accelerators={"nvidia-tesla-t4": 3.0},
    disks={"pd-balanced": 7.3, "pd-ssd": 73.0},
    regions={"us-east1": 2.0, "us-west1": 0.0},
    elsewhere=1.5,
    spot=0.1,
    currency="EUR",
)


def spec(
    region: str = "us-east1", gigabytes: int = 100, disk: str = "pd-balanced", **machine: Any
) -> Spec:
    given = {"type": "n1-standard-4", "disk": {"size_gb": gigabytes, "type": disk}} | machine
    return release("1", machine=given, placement={"region": region}).spec


@pytest.mark.parametrize(
    ("given", "cost"),
    [
        (spec(), (4 * 0.5 + 1) * 2),
        (spec(gigabytes=200), (4 * 0.5 + 2) * 2),
        (spec(disk="pd-ssd"), (4 * 0.5 + 10) * 2),
        (spec(type="n1-standard-8"), (8 * 0.5 + 1) * 2),
        (spec(type="n1-highmem-8"), (0.25 + 1) * 2),
        (spec(type="g2-standard-12"), (7 + 1) * 2),
        (spec(accelerator={"type": "nvidia-tesla-t4", "count": 4}), (4 * 0.5 + 4 * 3 + 1) * 2),
        (spec(spot=True), (4 * 0.5 * 0.1 + 1) * 2),
        (
            spec(spot=True, accelerator={"type": "nvidia-tesla-t4", "count": 4}),
            ((4 * 0.5 + 4 * 3) * 0.1 + 1) * 2,
        ),
        (spec("us-central1"), (4 * 0.5 + 1) * 1.5),
        (spec("us-west1"), 0),
    ],
)
def test_an_hour_costs_machine_accelerators_and_disk_times_the_regions_factor(
    given: Spec, cost: float
) -> None:
    assert cost_per_hour(TABLE, given) == pytest.approx(cost)
    assert missing_price(TABLE, given) == ""


def test_a_month_has_730_hours() -> None:
    assert HOURS_A_MONTH == 730


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        (spec(type="n2-standard-4"), "machine type n2-standard-4"),
        (spec(type="n1-standard-x4"), "machine type n1-standard-x4"),
        (spec(type="g2-standard-24"), "machine type g2-standard-24"),
        (spec(accelerator={"type": "nvidia-tesla-p4", "count": 1}), "accelerator nvidia-tesla-p4"),
        (spec(disk="pd-extreme"), "disk type pd-extreme"),
        (spec("us-west1", disk="pd-extreme"), "disk type pd-extreme"),
    ],
)
def test_a_part_without_a_price_is_named_and_costs_more_than_any_cap(
    given: Spec, missing: str
) -> None:
    assert missing_price(TABLE, given) == missing
    assert math.isinf(cost_per_hour(TABLE, given))


def test_a_document_overrides_the_table_name_by_name_and_its_notes_are_ignored() -> None:
    document = {
        "about": "ours",
        "as_of": "today",
        "disks": {"pd-ssd": 1, "new": 2},
        "spot": 0,
        "elsewhere": 3,
        "currency": "CHF",
    }
    assert load_prices(TABLE, document) == Prices(
        machine_types=TABLE.machine_types,
        per_vcpu=TABLE.per_vcpu,
        accelerators=TABLE.accelerators,
        disks={"pd-balanced": 7.3, "pd-ssd": 1.0, "new": 2.0},
        regions=TABLE.regions,
        elsewhere=3.0,
        spot=0.0,
        currency="CHF",
    )
    assert load_prices(TABLE, None) == load_prices(TABLE, {}) == TABLE
    assert isinstance(load_prices(TABLE, {"spot": 1}).spot, float)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"disk": {}},
            (
                "settings/prices has an unknown field disk; known fields are machine_types,"
                " per_vcpu, accelerators, disks, regions, elsewhere, spot, currency"
            ),
        ),
        ({"currency": 5}, "settings/prices: currency must be a string, got 5"),
        ({"currency": ""}, "settings/prices: currency must be a string, got ''"),
        ({"disks": [1]}, "settings/prices: disks must map names to prices, got [1]"),
        (
            {"disks": {"pd-ssd": "1"}},
            "settings/prices: disks.pd-ssd must be a non-negative number, got '1'",
        ),
        ({"elsewhere": -0.5}, "settings/prices: elsewhere must be a non-negative number, got -0.5"),
        (
            {"machine_type": {}},
            (
                "settings/prices has an unknown field machine_type; known fields are machine_types,"
                " per_vcpu, accelerators, disks, regions, elsewhere, spot, currency"
            ),
        ),
        (
            {"machine_types": {"n1-standard-1": -1}},
            "settings/prices: machine_types.n1-standard-1 must be a non-negative number, got -1",
        ),
        (
            {"machine_types": {"n1-standard-1": math.nan}},
            "settings/prices: machine_types.n1-standard-1 must be a non-negative number, got nan",
        ),
        ({"spot": None}, "settings/prices: spot must be a non-negative number, got None"),
        ({"spot": True}, "settings/prices: spot must be a non-negative number, got True"),
        (
            {"regions": {"us-east1": math.inf}},
            "settings/prices: regions.us-east1 must be a non-negative number, got inf",
        ),
    ],
)
def test_an_invalid_price_is_an_error_that_names_its_place(
    document: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match="settings/prices") as refused:
        load_prices(TABLE, document)
    assert str(refused.value) == message


# ---- The table that ships with Slipway


def shipped(region: str = "us-central1", **machine: Any) -> Spec:
    return release("1", machine=machine, placement={"region": region}).spec


def cost(**given: Any) -> float:
    return round(cost_per_hour(default_prices(), shipped(**given)), 2)


def test_a_machine_costs_its_cpus_its_gpus_and_its_disk() -> None:
    t4 = {"type": "nvidia-tesla-t4", "count": 2}
    assert cost(type="n1-standard-4", accelerator=t4) == 0.90
    assert cost(type="n1-standard-4", disk={"size_gb": 7300, "type": "pd-ssd"}) == 0.19 + 1.70


def test_the_price_of_a_machine_includes_its_built_in_gpus() -> None:
    assert (
        cost(type="g2-standard-12")
        == cost(type="g2-standard-12", accelerator={"type": "nvidia-l4"})
        == 1.01
    )


def test_spot_costs_less_and_an_unlisted_region_costs_more() -> None:
    assert cost(type="a2-highgpu-1g", spot=True) < cost(type="a2-highgpu-1g") / 2
    assert cost(type="e2-standard-4", region="mars-north1") > 1.5 * cost(type="e2-standard-4")


@pytest.mark.parametrize(
    ("machine", "missing"),
    [
        ({"type": "z9-standard-4"}, "machine type z9-standard-4"),
        ({"type": "n1-custom-4-16384"}, "machine type n1-custom-4-16384"),
        ({"type": "a4x-highgpu-4g"}, "machine type a4x-highgpu-4g"),
        ({"type": "e2-standard-4"}, ""),
    ],
)
def test_a_machine_without_a_price_costs_more_than_any_cap(
    machine: dict[str, Any], missing: str
) -> None:
    assert missing_price(default_prices(), shipped(**machine)) == missing
    assert math.isinf(cost_per_hour(default_prices(), shipped(**machine))) == bool(missing)


@pytest.mark.parametrize("factor", ["spot", "elsewhere"])
def test_a_factor_of_zero_does_not_make_an_unpriced_machine_free(factor: str) -> None:
    """Infinity times zero is NaN, and NaN exceeds no cap."""
    prices = load_prices(default_prices(), {factor: 0})
    assert (
        cost_per_hour(prices, shipped(type="z9-standard-4", spot=True, region="mars-north1"))
        == math.inf
    )


def test_an_empty_table_has_no_price_for_anything() -> None:
    assert missing_price(Prices(), shipped()) == "machine type n1-standard-1"
    assert missing_price(Prices(per_vcpu={"n1-standard": 1}), shipped()) == "disk type pd-balanced"
    with_gpu = shipped(accelerator={"type": "nvidia-tesla-t4"})
    assert (
        missing_price(Prices(per_vcpu={"n1-standard": 1}), with_gpu)
        == "accelerator nvidia-tesla-t4"
    )


def test_the_shipped_table_has_every_disk_and_every_accelerator_of_n1() -> None:
    prices = default_prices()
    assert set(prices.accelerators) == set(CHOSEN)
    for kind in ("pd-standard", "pd-balanced", "pd-ssd", "pd-extreme", "hyperdisk-balanced"):
        assert prices.disks[kind] > 0


def test_each_machine_with_a_price_is_of_a_known_series() -> None:
    """Otherwise a cap on accelerators would refuse a machine whose price is known."""
    prices = default_prices()
    assert [
        name for name in (*prices.machine_types, *prices.per_vcpu) if is_uncountable(name)
    ] == []
    assert is_uncountable("ct5lp-hightpu-4t")
