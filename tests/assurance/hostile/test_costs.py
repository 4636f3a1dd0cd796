"""Releases that would cost a fortune: huge numbers, expensive machines, many models, many releases.

A policy prevents all of them: they are refused on arrival, and the sum over the project stays
within its caps.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.store.port import Put
from tests.assurance.hostile.intake import FULL_POLICY, Intake, scaled
from tests.assurance.hostile.shapes import with_value
from tests.open_policy import OPEN
from tests.scenario import IMAGE, Scenario

NUMBERS: dict[tuple[str | int, ...], list[Any]] = {
    ("scaling", "max"): [
        10,
        100,
        2000,
        2001,
        10_000,
        2**31,
        2**63,
        10**17,
        1e17,
        1e308,
        -1,
        0,
        0.5,
        "9",
        [9],
        True,
    ],
    ("scaling", "min"): [10, 2000, 10_000, 2**63, -1, 1e308, "1"],
    ("rollout", "surge"): [3, 100, 2000, 2001, 2**31, -1, 1e17],
    ("machine", "accelerator", "count"): [4, 16, 17, 0, -1, 2**31, 1e17, "2"],
    ("machine", "disk", "size_gb"): [30_000, 65_536, 65_537, 2**31, 0, -1, 1e17],
    ("scaling", "schedules", "day", "min"): [10, 2000, 2001, 2**31, -1],
    ("scaling", "metrics", 0, "target"): [0, -1, 0.0, "5"],
}
EXPENSIVE = [
    *(
        "a2-megagpu-16g",
        "a2-ultragpu-8g",
        "a3-highgpu-8g",
        "a3-megagpu-8g",
        "a3-ultragpu-8g",
        "a4-highgpu-8g",
        "a4x-highgpu-4g",
    ),
    *(
        "g2-standard-96",
        "g4-standard-384",
        "m3-ultramem-128",
        "x4-megamem-1920-metal",
        "n2-highmem-128",
        "c3-highmem-176",
    ),
]
# As bytes, since no JSON library writes them.
NUMERALS = [
    b"1e309",
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"9" * 5_000,
    b"0x10",
    b"1_000",
    b"+5",
    b"05",
    b"1e400",
    b"5.0e2",
    b"0b1",
]


@pytest.mark.parametrize(
    ("path", "value"),
    [(path, value) for path, values in NUMBERS.items() for value in values],
    ids=str,
)
def test_a_number_beyond_the_policy_is_refused(path: tuple[str | int, ...], value: Any) -> None:
    assert _intake_with_policy().deliver(with_value(path, value)).why


@pytest.mark.parametrize("spelled", NUMERALS, ids=lambda spelled: spelled[:20].decode())
def test_an_unusual_numeral_is_refused(spelled: bytes) -> None:
    body = (
        json.dumps(with_value(("scaling", "max"), 77))
        .encode()
        .replace(b'"max": 77', b'"max": ' + spelled)
    )
    assert spelled in body
    assert _intake_with_policy().deliver(body).why


@pytest.mark.parametrize("kind", EXPENSIVE)
@pytest.mark.parametrize("spot", [False, True])
def test_an_expensive_machine_is_refused_even_as_spot(kind: str, spot: bool) -> None:
    message = {
        "model": "tiny",
        "version": "1",
        "artifact": {"image": "host/app:1"},
        "machine": {"type": kind, "spot": spot},
    }
    assert "machine" in _intake_with_policy().deliver(message).why


def test_the_policy_accepts_an_ordinary_release() -> None:
    assert _intake_with_policy().deliver(with_value(("reason",), "sensible")).model == "tiny"


def test_many_models_at_once_stay_within_the_project_s_caps() -> None:
    """Each model is small; all of them together are not."""
    scenario = Scenario()
    scenario.given_policy(max_project_instances=30, max_project_cost_per_hour=3)
    for number in range(scaled(12, 200)):
        scenario.bus.publish("model-releases", _small(f"m{number}"))
    scenario.bus.pump()
    most = _max_instances_during(scenario, 15)
    assert most <= 30
    assert 0 < len(scenario.store.list("models", 1000)) <= 5
    assert all("in the project; got" in refused["why"] for refused in scenario.quarantine())


def test_a_flapping_spec_never_uses_more_than_one_rollout_s_machines() -> None:
    scenario = Scenario()
    scenario.given_policy(max_instances=9, max_cost_per_hour=3)
    scenario.given_serving("0", scaling={"min": 3, "max": 6})
    most = 0
    for number in range(1, scaled(20, 200)):
        scenario.when_released(
            str(number), machine={"type": ("e2-standard-2", "e2-standard-4")[number % 2]}
        )
        most = max(most, _max_instances_during(scenario, 1))
    scenario.when_settled()
    assert most <= 9
    assert sum(scenario.healthy_by_version().values()) >= 3


def test_repeated_forced_releases_cost_nothing_more() -> None:
    scenario = Scenario()
    scenario.given_serving("1")
    for _ in range(scaled(20, 100)):
        scenario.when_released("1", force=True)
    scenario.when_settled()
    assert scenario.healthy_by_version() == {"1": 3}
    assert len(scenario.templates()) == 1


def _intake_with_policy() -> Intake:
    intake = Intake()
    intake.settings.commit(Put("settings/policy", OPEN | FULL_POLICY))
    return intake


def _small(model: str) -> bytes:
    body = {
        "model": model,
        "version": "1",
        "artifact": {"image": f"{IMAGE}:1"},
        "scaling": {"min": 3, "max": 3},
    }
    return json.dumps(body | {"traffic": {"path": f"/{model}"}}).encode()


def _max_instances_during(scenario: Scenario, minutes: int) -> int:
    """The most instances of all models at the end of any of these minutes."""
    most = 0
    for _ in range(minutes):
        scenario.when_minutes_pass(1)
        most = max(
            most,
            sum(
                1
                for record in scenario.emulator.instances()
                if record["action"] != "DELETING" and record["status"]
            ),
        )
    return most
