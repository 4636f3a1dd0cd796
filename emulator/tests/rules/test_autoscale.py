from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from compute_emulator.rules.autoscale import (
    Decision,
    History,
    Measured,
    Metric,
    Policy,
    decide,
    proportional,
)
from compute_emulator.rules.schedules import Schedule
from compute_emulator.rules.sizes import Size

T0 = datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp()
CPU = Policy(min_size=1, max_size=10)


def idle(serving: int) -> Measured:
    return Measured(serving)


def test_the_documented_example_of_many_signals_needs_fifteen() -> None:
    # Source: Compute documentation, "Using multiple autoscaling signals": 10 VMs; 7, 7, 11, 14 and
    # a schedule of 15.
    policy = Policy(
        1,
        20,
        cpu_target=0.8,
        balancing_target=0.6,
        metrics=(Metric("a", 1000.0), Metric("b", 2000.0)),
        schedules=(Schedule("noon", "0 12 * * *", 3600, required=15),),
    )
    measured = Measured(10, cpu=0.5, balancing=0.4, metrics={"a": 1100.0, "b": 2700.0})
    assert proportional(10, 0.5, 0.8) == 7
    assert proportional(10, 0.4, 0.6) == 7
    assert proportional(10, 1100, 1000) == 11
    assert proportional(10, 2700, 2000) == 14
    assert decide(policy, measured, 10, History(), T0).size == 15
    without = replace(policy, schedules=())
    assert decide(without, measured, 10, History(), T0).size == 14


def test_a_group_metric_is_divided_by_the_work_of_one_vm() -> None:
    policy = Policy(0, 50, cpu_target=None, metrics=(Metric("queue", 5.0, is_per_group=True),))
    assert decide(policy, Measured(3, metrics={"queue": 100.0}), 3, History(), T0).size == 20


def test_scale_out_is_immediate_and_scale_in_waits_for_the_stabilization_window() -> None:
    out = decide(CPU, Measured(3, cpu=0.9), 3, History(), T0)
    assert out.size == 5
    calm = decide(CPU, idle(5), 5, out.history, T0 + 100)
    assert calm.size == 5
    assert calm.recheck_at == T0 + 700
    assert decide(CPU, idle(5), 5, calm.history, T0 + 699).size == 5
    assert decide(CPU, idle(5), 5, calm.history, T0 + 700).size == 1


def test_a_dip_shorter_than_the_window_does_not_scale_in() -> None:
    first = decide(CPU, Measured(5, cpu=0.6), 5, History(), T0)
    dip = decide(CPU, idle(5), 5, first.history, T0 + 10)
    back = decide(CPU, Measured(5, cpu=0.6), 5, dip.history, T0 + 500)
    assert decide(CPU, Measured(5, cpu=0.6), 5, back.history, T0 + 2000).size == 5


def test_the_limits_apply_and_the_cap_is_reported() -> None:
    over = decide(CPU, Measured(10, cpu=1.0), 10, History(), T0)
    assert over.size == 10
    assert [detail.type for detail in over.details] == ["CAPPED_AT_MAX_NUM_REPLICAS"]
    assert decide(replace(CPU, min_size=4), idle(1), 1, History(), T0).size == 4


def test_lowering_the_maximum_takes_effect_at_once() -> None:
    busy = decide(CPU, Measured(8, cpu=0.6), 8, History(), T0)
    assert decide(replace(CPU, max_size=5), Measured(8, cpu=0.6), 8, busy.history, T0 + 1).size == 5


@pytest.mark.parametrize(("mode", "size"), [("ON", 1), ("ONLY_SCALE_OUT", 5), ("OFF", 5)])
def test_modes_change_what_is_applied_not_what_is_recommended(mode: str, size: int) -> None:
    policy = replace(CPU, mode=mode, stabilization_seconds=0)
    decision = decide(policy, idle(5), 5, History(), T0)
    assert (decision.recommended, decision.size) == (1, size)


def test_only_scale_out_scales_out() -> None:
    assert (
        decide(replace(CPU, mode="ONLY_SCALE_OUT"), Measured(3, cpu=0.9), 3, History(), T0).size
        == 5
    )
    assert decide(replace(CPU, mode="OFF"), Measured(3, cpu=0.9), 3, History(), T0).size == 3


def test_scale_in_control_shrinks_the_group_in_steps() -> None:
    policy = replace(
        CPU, stabilization_seconds=0, scale_in_limit=Size(fixed=2), scale_in_seconds=300
    )
    first = decide(policy, idle(9), 9, History(), T0)
    assert (first.size, first.recheck_at) == (7, T0 + 300)
    soon = decide(policy, idle(7), 7, first.history, T0 + 299)
    assert soon.size == 7
    assert decide(policy, idle(7), 7, soon.history, T0 + 300).size == 5


def test_scale_in_control_of_zero_keeps_the_size_and_needs_no_further_decision() -> None:
    policy = replace(
        CPU, stabilization_seconds=0, scale_in_limit=Size(fixed=0), scale_in_seconds=300
    )
    held = decide(policy, idle(9), 9, History(), T0)
    assert (held.size, held.recheck_at) == (9, None)


def test_initializing_vms_give_no_data_and_the_size_is_kept() -> None:
    assert decide(CPU, Measured(0, cpu=1.0), 3, History(), T0).size == 3


def test_a_per_vm_signal_keeps_the_last_vm_and_never_starts_one() -> None:
    policy = Policy(0, 5, stabilization_seconds=0)
    assert decide(policy, idle(2), 2, History(), T0).size == 1
    assert decide(policy, Measured(0, cpu=1.0), 0, History(), T0).size == 0


def test_a_group_metric_scales_to_zero_and_back() -> None:
    policy = Policy(
        0,
        5,
        stabilization_seconds=0,
        cpu_target=None,
        metrics=(Metric("queue", 10.0, is_per_group=True),),
    )
    assert decide(policy, Measured(2, metrics={"queue": 0.0}), 2, History(), T0).size == 0
    assert decide(policy, Measured(0, metrics={"queue": 11.0}), 0, History(), T0).size == 2


def test_a_missing_metric_keeps_the_size_but_other_signals_can_scale_out() -> None:
    policy = replace(CPU, stabilization_seconds=0, metrics=(Metric("latency", 1.0),))
    quiet = decide(policy, idle(4), 4, History(), T0)
    assert quiet.size == 4
    assert [detail.type for detail in quiet.details] == ["MISSING_CUSTOM_METRIC_DATA_POINTS"]
    assert decide(policy, Measured(4, cpu=0.9), 4, History(), T0).size == 6


def test_a_schedule_raises_the_size_and_requests_decisions_at_both_ends() -> None:
    policy = replace(
        CPU,
        stabilization_seconds=0,
        schedules=(Schedule("lunch", "30 12 * * *", 3600, required=4),),
    )
    before = decide(policy, idle(1), 1, History(), T0)
    assert (before.size, before.recheck_at, before.schedules["lunch"].state) == (
        1,
        T0 + 1800,
        "READY",
    )
    during = decide(policy, idle(1), 1, before.history, T0 + 1800)
    assert (during.size, during.recheck_at, during.schedules["lunch"].state) == (
        4,
        T0 + 5400,
        "ACTIVE",
    )
    assert decide(policy, idle(4), 4, during.history, T0 + 5400).size == 1


def test_a_steady_group_needs_no_further_decision() -> None:
    decision: Decision = decide(CPU, Measured(2, cpu=0.55), 2, History(), T0)
    assert (decision.size, decision.recheck_at) == (2, None)
