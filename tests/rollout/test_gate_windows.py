"""One gate, window by window: what it says, and what never changes what it says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rollout.gates.record import GateRecord
from rollout.gates.windows import Question, judge_answer, judge_verdict
from rollout.measurements import (
    Counts,
    Delayed,
    ExternalVerdict,
    Lack,
    NoVerdict,
    Unmeasured,
    WindowMeasured,
    Windows,
)
from rollout.spec.gates import Analysis, Gate
from tests.rollout.build import at

NEW = GateRecord("errors")


def question(step: int = 0, since: float = 0, **gate: Any) -> Question:
    """A step with weight 25, whose next one sends half of the requests."""
    return Question(Gate(**gate), Analysis(), step, at(since), 0.01, 0.01, 3.0, 0.002, "4")


def window(
    minute: int, candidate: tuple[float, float], baseline: tuple[float, float] = (10, 1000)
) -> WindowMeasured:
    return WindowMeasured(
        at(60 * minute), at(60 * minute + 60), Counts(*candidate), Counts(*baseline)
    )


def lacking(minute: int, kind: Lack) -> WindowMeasured:
    lack = Unmeasured(kind, f"no numbers of minute {minute}")
    return WindowMeasured(at(60 * minute), at(60 * minute + 60), lack, Counts(10, 1000))


def answer(*windows: WindowMeasured, is_estimate: bool = False) -> Windows:
    return Windows(windows, "requests_total", is_estimate)


def judge(record: GateRecord, *windows: WindowMeasured, at_step: int = 0) -> GateRecord:
    return judge_answer(record, question(at_step), answer(*windows), at(0))


# ---- Counts


def test_harm_fails_with_a_sentence_that_has_all_numbers() -> None:
    record = judge(NEW, *(window(minute, (50, 1000)) for minute in range(4)))
    assert (record.verdict, record.threshold) == ("fail", 100)
    assert record.evidence is not None
    assert record.evidence >= 100
    assert record.why.startswith("errors: ")
    assert record.why.endswith(":1 against) → fail")
    assert "against 30 of 3,000 on release 4 (ratio 5, evidence " in record.why
    assert record.query == "requests_total"


def test_a_release_like_the_stable_one_passes() -> None:
    record = judge(NEW, *(window(minute, (10, 1000)) for minute in range(9)))
    assert (record.verdict, record.threshold) == ("pass", 100)
    assert record.why == (
        "errors: 90 of 9,000 against 90 of 9,000 on release 4 (ratio 1, evidence"
        f" {record.evidence:,.3g}:1 that it is not harmful, of 100:1 needed) → pass"
    )


def test_a_release_without_errors_passes_beside_one_without_errors() -> None:
    windows = [window(minute, (0, 2000), (0, 9000)) for minute in range(12)]
    record = judge(NEW, *windows)
    assert record.verdict == "pass"
    assert "0 of 24,000 against 0 of 108,000 on release 4 (evidence" in record.why
    first = judge_answer(NEW, replace(question(), baseline=""), answer(*windows), at(0))
    assert "0 of 24,000 (evidence" in first.why


def test_estimates_are_labelled() -> None:
    record = judge_answer(NEW, question(), answer(window(0, (1, 90)), is_estimate=True), at(60))
    assert "errors: about 1 of 90" in record.why


@pytest.mark.parametrize(("windows", "candidate"), [(2, (40, 1000)), (3, (4, 1000)), (3, (15, 29))])
def test_no_verdict_before_the_minimum_of_windows_requests_and_bad_ones(
    windows: int, candidate: tuple[float, float]
) -> None:
    """Each of these has evidence enough, or almost."""
    each = (candidate[0] / windows, candidate[1] / windows)
    record = judge(NEW, *(window(minute, each, (0, 90_000)) for minute in range(windows)))
    assert record.verdict == "inconclusive"
    assert ("; needs 3 windows)" in record.why) == (windows < 3)
    assert ("; needs 30 requests)" in record.why) == (candidate[1] < 30)


# ---- Once, and in order


def test_a_window_that_is_answered_again_counts_once() -> None:
    windows = [window(minute, (11, 1000)) for minute in range(3)]
    once = judge(NEW, *windows)
    assert judge(once, *windows) == once
    assert judge(judge(NEW, windows[0]), *windows) == once
    assert once.evaluated_until == at(180)


def test_a_fail_stays() -> None:
    failed = judge(NEW, *(window(minute, (50, 1000)) for minute in range(4)))
    good = [window(minute, (0, 9000)) for minute in range(4, 60)]
    assert judge(failed, *good) == failed
    source_down = Unmeasured("timeout", "no answer")
    assert judge_answer(failed, question(), source_down, at(900)) == failed


def test_a_step_asks_anew_from_when_it_is_in_effect() -> None:
    """Until then windows count for the step before, and a fail in them counts as well."""
    passed = judge(NEW, *(window(minute, (10, 1000)) for minute in range(6)))
    later = question(1, since=480)
    waiting = judge_answer(passed, later, answer(window(6, (10, 1000))), at(480))
    assert (waiting.step, waiting.tally.windows) == (0, 7)
    begun = judge_answer(waiting, later, answer(window(8, (10, 1000))), at(600))
    assert (begun.step, begun.tally.windows, begun.verdict) == (1, 1, "inconclusive")
    assert begun.dispersion.degrees > 0
    bad = [window(minute, (80, 1000)) for minute in range(6, 12)]
    assert judge_answer(passed, replace(later, since=at(9e9)), answer(*bad), at(540)).verdict == (
        "fail"
    )


# ---- What is missing


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        ("no-series", "inconclusive"),
        ("reset", "inconclusive"),
        ("partial", "inconclusive"),
        ("timeout", "error"),
        ("http", "error"),
        ("unreadable", "error"),
        ("not-finite", "error"),
        ("labels", "error"),
        ("edge", "error"),
        ("no-source", "error"),
    ],
)
def test_a_window_without_numbers_is_never_a_pass(kind: Lack, verdict: str) -> None:
    passed = judge(NEW, *(window(minute, (10, 1000)) for minute in range(6)))
    lacks = judge(passed, lacking(6, kind))
    assert (lacks.verdict, lacks.lacking_since) == (verdict, at(0))
    assert lacks.why == f"errors: no numbers of minute 6 → {verdict}"
    assert lacks.evaluated_until == at(420)
    again = judge(lacks, window(7, (10, 1000)))
    assert (again.verdict, again.lacking_since) == ("pass", None)
    assert again.tally.windows == 7


def test_a_source_that_does_not_answer_loses_no_window() -> None:
    first = judge(NEW, window(0, (10, 1000)))
    down = judge_answer(first, question(), Unmeasured("timeout", "no answer"), at(120))
    assert (down.verdict, down.evaluated_until) == ("error", at(60))
    assert judge(down, *(window(minute, (10, 1000)) for minute in (0, 1))).tally.windows == 2


def test_data_that_cannot_have_arrived_are_no_lack() -> None:
    delayed = Delayed(at(330), "load-balancer metrics arrive by 12:05:30Z")
    assert judge_answer(NEW, question(), delayed, at(60)).lacking_since is None
    first = judge(NEW, window(0, (10, 1000)))
    assert judge_answer(first, question(), delayed, at(120)) == first


# ---- Latency


def test_both_histograms_are_a_second_opinion() -> None:
    def slow(minute: int) -> WindowMeasured:
        fast = Counts(50, 1000, ((0.5, 900), (1.0, 950), (float("inf"), 1000)))
        slower = Counts(60, 1000, ((0.5, 100), (1.0, 940), (float("inf"), 1000)))
        return WindowMeasured(at(60 * minute), at(60 * minute + 60), slower, fast)

    record = judge(NEW, *(slow(minute) for minute in range(3)))
    assert record.edges == (0.5, 1.0)
    assert record.candidate_below == (300, 2820)
    assert record.second_opinion == "slower than 0.5 s are 90.0% against 10.0%"
    assert record.verdict != "fail"  # by its bound it is not slower


# ---- Limits


def values(*found: float) -> Windows:
    return answer(
        *(
            WindowMeasured(at(60 * minute), at(60 * minute + 60), value)
            for minute, value in enumerate(found)
        )
    )


@pytest.mark.parametrize(
    ("gate", "found", "verdict"),
    [
        ({"max": 0.9}, (0.5, 0.5, 0.5), "pass"),
        ({"max": 0.9}, (0.5, 0.5), "inconclusive"),
        ({"max": 0.9}, (0.95, 0.95), "inconclusive"),
        ({"max": 0.9}, (0.95, 0.95, 0.95), "fail"),
        ({"max": 0.9}, (0.95, 0.95, 0.5, 0.95, 0.95, 0.5), "pass"),
        ({"max": 0.9, "consecutive": 1}, (0.5, 0.95), "fail"),
        ({"max": 0.9, "failures": 2}, (0.95, 0.5, 0.95), "fail"),
        ({"max": 0.9, "failures": 2}, (0.95, 0.5, 0.5), "pass"),
        ({"min": 10}, (3, 3, 3), "fail"),
        ({"min": 10, "max": 20}, (15, 15, 15), "pass"),
        ({"min": 10, "max": 20}, (3, 25, 3), "fail"),
    ],
)
def test_a_limit_fails_by_windows_in_a_row_or_in_all(
    gate: dict[str, Any], found: tuple[float, ...], verdict: str
) -> None:
    of_step = question(query="gpu_utilization", **gate)
    assert judge_answer(NEW, of_step, values(*found), at(0)).verdict == verdict


# ---- Evaluation jobs


def test_an_evaluation_job_decides_and_its_failure_does_not() -> None:
    of_step = question(url="https://jobs.example.com/evaluate")
    passed = judge_verdict(NEW, of_step, ExternalVerdict("pass", "93 of 100", at(60)), at(61))
    assert (passed.verdict, passed.why) == ("pass", "errors: 93 of 100 → pass")
    assert passed.evaluated_until == at(60)
    down = judge_verdict(passed, of_step, NoVerdict("timeout", "no answer"), at(121))
    assert (down.verdict, down.evaluated_until) == ("error", at(60))
    failed = judge_verdict(down, of_step, ExternalVerdict("fail", "12 of 100", at(120)), at(121))
    assert (failed.verdict, failed.lacking_since) == ("fail", None)
    later = ExternalVerdict("pass", "it was a mistake", at(180))
    assert judge_verdict(failed, of_step, later, at(181)) == failed
