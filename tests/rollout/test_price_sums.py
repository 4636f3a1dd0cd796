"""What an hour costs, to the cent, from a small table in which every factor is another number."""

from __future__ import annotations

import math
from typing import Any

import pytest

from rollout.policy.prices import HOURS_A_MONTH, Prices, cost_per_hour, load_prices, missing_price
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
def test_an_hour_is_the_machine_its_accelerators_and_its_disk_by_the_regions_factor(
    given: Spec, cost: float
) -> None:
    assert cost_per_hour(TABLE, given) == pytest.approx(cost)
    assert missing_price(TABLE, given) == ""


def test_a_month_has_730_hours() -> None:
    assert HOURS_A_MONTH == 730


@pytest.mark.parametrize(
    ("given", "lacking"),
    [
        (spec(type="n2-standard-4"), "machine type n2-standard-4"),
        (spec(type="n1-standard-x4"), "machine type n1-standard-x4"),
        (spec(type="g2-standard-24"), "machine type g2-standard-24"),
        (spec(accelerator={"type": "nvidia-tesla-p4", "count": 1}), "accelerator nvidia-tesla-p4"),
        (spec(disk="pd-extreme"), "disk type pd-extreme"),
        (spec("us-west1", disk="pd-extreme"), "disk type pd-extreme"),
    ],
)
def test_what_the_table_lacks_is_named_and_costs_more_than_anything(
    given: Spec, lacking: str
) -> None:
    assert missing_price(TABLE, given) == lacking
    assert math.isinf(cost_per_hour(TABLE, given))


def test_a_document_goes_before_the_table_name_by_name_and_its_notes_are_no_prices() -> None:
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
    ("document", "told"),
    [
        (
            {"disk": {}},
            (
                "settings/prices has an unknown field disk; known are machine_types, per_vcpu,"
                " accelerators, disks, regions, elsewhere, spot, currency"
            ),
        ),
        ({"currency": 5}, "settings/prices: currency must be a text, got 5"),
        ({"currency": ""}, "settings/prices: currency must be a text, got ''"),
        ({"disks": [1]}, "settings/prices: disks must map names to prices, got [1]"),
        (
            {"disks": {"pd-ssd": "1"}},
            "settings/prices: disks.pd-ssd must be a number from 0 on, got '1'",
        ),
        ({"elsewhere": -0.5}, "settings/prices: elsewhere must be a number from 0 on, got -0.5"),
        ({"spot": True}, "settings/prices: spot must be a number from 0 on, got True"),
        (
            {"regions": {"us-east1": math.inf}},
            "settings/prices: regions.us-east1 must be a number from 0 on, got inf",
        ),
    ],
)
def test_what_is_no_price_is_told_by_its_place(document: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match="settings/prices") as refused:
        load_prices(TABLE, document)
    assert str(refused.value) == told
