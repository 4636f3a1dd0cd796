"""The committed results of the benchmarks are complete and consistent. Measures nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bench.gates.measure import SETTINGS
from bench.provision import critical_length
from bench.results import FILE, KEYS, Key, merged, row, to_text
from infra.fleet.model import Action, Plan
from infra.fleet.model import Key as Resource

NAMES = [
    *(
        "cold_start_ratio",
        "cold_start_intake_ratio",
        "memory_mib",
        "provision_over_critical_path",
        "swap_mutations_per_step",
        "swap_function_calls",
    ),
    *("settled_pass_writes", "settled_pass_cpu_ms"),
    *("url_map_writes_for_51_routes", "rollback_in_url_map_s"),
    *("healthy_condemned_percent", "crash_loops_succeeded"),
    *("gates_bad_promoted", "gates_good_rolled_back_percent", "gates_good_promoted_percent"),
    "gates_function_calls_per_pass",
    *("canary_failed_requests", "blue_green_failed_requests", "rollback_failed_requests"),
    *("bad_canary_failed_over_share", "roll_back_over_promised"),
    *("provision_vs_gcloud", "swap_vs_gcloud"),
    *("status_1000_models_cpu_s", "plan_cpu_s", "page_1000_models_ms"),
    "page_firestore_cpu_ms",
    "scale_swap_calls",
    "scale_swap_over_group",
    "scale_quick_swap_over_group",
    "scale_first_releases_min",
    "scale_first_release_cpu_ms",
    "scale_url_map_conflicts",
    "scale_quota_min",
    "scale_quota_calls",
    "scale_dead_events",
    *("scale_fresh_first_pass_s", "scale_baking_late_s", "scale_good_rolled_back"),
    *("scale_drift_scan_cpu_s", "scale_drift_scan_mib"),
    *("scale_admission_cpu_ms", "scale_admissions_at_once_lost"),
    "scale_gateway_models",
    "scale_gateway_refused_late",
    "scale_gateway_write_cpu_ms",
    *(
        "emulator_rolling_update_cpu_ms",
        "emulator_swap_function_calls",
        "emulator_list_5000_groups_s",
        "emulator_memory_per_group_kib",
    ),
    "emulator_requests_per_second",
    "emulator_first_answer_s",
]


@pytest.fixture(scope="module")
def committed() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return found


def test_the_results_have_every_key_in_order(committed: dict[str, Any]) -> None:
    assert [key.name for key in KEYS] == NAMES
    assert list(committed["results"]) == NAMES


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_each_result_says_its_value_unit_target_and_how_it_was_measured(
    committed: dict[str, Any], key: Key
) -> None:
    result = committed["results"][key.name]
    assert set(result) == {"value", "unit", "target", "met", "how", "detail"}
    assert (result["unit"], result["target"]) == (key.unit, key.target)
    assert len(result["how"]) > 20
    if result["value"] is None:
        assert result["how"].startswith("not measured: ")


def test_each_row_of_many_models_says_whether_project_caps_are_on(
    committed: dict[str, Any],
) -> None:
    found = {name: row["how"] for name, row in committed["results"].items() if "scale_" in name}
    assert {name for name, how in found.items() if "project caps" not in how} == set()


def test_releases_were_rolled_out_by_each_rule(committed: dict[str, Any]) -> None:
    found = committed["results"]["gates_bad_promoted"]["detail"]["rules"]
    assert list(found) == list(SETTINGS)
    for name, setting in SETTINGS.items():
        for kind in ("good", "bad"):
            assert sum(found[name][kind].values()) == setting.releases


def test_met_follows_from_value_and_target(committed: dict[str, Any]) -> None:
    for key in KEYS:
        result = committed["results"][key.name]
        assert result["met"] == key.met(result["value"]), key.name


def test_the_results_describe_the_machine(committed: dict[str, Any]) -> None:
    assert {"at", "system", "processor", "cores", "memory_gib", "load_before", "python"} <= set(
        committed["machine"]
    )


def test_a_value_above_its_target_is_missed() -> None:
    results = json.loads(
        to_text([row("memory_mib", 161, "weighed"), row("settled_pass_writes", 0, "counted")], {})
    )
    assert [result["met"] for result in results["results"].values()] == [False, True]
    assert results["results"]["settled_pass_writes"]["target"] == "= 0"


@pytest.mark.parametrize(("value", "met"), [(999.0, False), (1000.0, True), (None, None)])
def test_a_target_may_be_a_minimum(value: float | None, met: bool | None) -> None:
    found = row("emulator_requests_per_second", value, "counted")
    assert (found.key.target, found.met) == (">= 1000", met)


def test_a_new_measurement_replaces_only_its_rows(
    committed: dict[str, Any],
) -> None:
    new = row("memory_mib", 12, "weighed new", pages=3)
    results = json.loads(merged(committed, [new], {"at": "now", "load_before": 0.1, "cores": 64}))
    assert results["results"]["memory_mib"]["value"] == 12
    assert results["results"]["memory_mib"]["detail"] == {
        "pages": 3,
        "measured": {"at": "now", "load_before": 0.1},
    }
    results["results"]["memory_mib"] = committed["results"]["memory_mib"]
    assert results == committed
    assert list(results["results"]) == list(committed["results"])


def test_the_critical_path_is_the_longest_chain_of_dependent_actions() -> None:
    first, second, third = (Resource("healthChecks", "global", name) for name in "abc")
    plan = Plan(
        (
            Action(first, "insert", {}, "it is missing"),
            Action(second, "insert", {}, "it is missing"),
            Action(third, "insert", {}, "it is missing", after=(first,)),
            Action(third, "update", {}, "it differs"),
        )
    )
    assert critical_length(plan) == 3
    assert critical_length(Plan()) == 0
