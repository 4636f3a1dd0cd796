"""A canary by what its requests say: a minimum of them in a step, and a size by the demand."""

from __future__ import annotations

from typing import Any

import pytest

from rollout.measurements import Unmeasured
from rollout.model import Stepping
from tests.requests_sent import SentRequests
from tests.scenario import Scenario

pytestmark = pytest.mark.wide

SILENT = Unmeasured("timeout", "prometheus:9090 did not answer within 5 s")


def canary(*steps: dict[str, Any], **rollout: Any) -> dict[str, Any]:
    quick = {"bake_seconds": 0, "watch_seconds": 0, "keep_old_seconds": 0}
    return {"strategy": "canary", "steps": [*steps, {"weight": 100, "hold_seconds": 0}]} | (
        quick | rollout
    )


MINIMUM = canary({"weight": 10, "hold_seconds": 60, "min_requests": 200})


def step_seconds(story: Scenario) -> float:
    """From when the candidate got its first weight until the next step began."""
    log = [entry for entry in story.log() if entry["release"] == "2"]
    granted = next(entry["at"] for entry in log if "it gets 10 %" in entry["why"])
    left = next(entry["at"] for entry in log if entry["to"] == "step_2")
    return float((left - granted).total_seconds())


@pytest.mark.parametrize(("per_second", "least"), [(1, 2000), (50, 0)])
def test_a_step_ends_when_the_candidate_has_got_its_requests(
    per_second: float, least: float
) -> None:
    story = Scenario()
    sent = SentRequests(story, per_second)
    story.given_serving("1")
    assert sent.questions == 0
    story.when_released("2", rollout=MINIMUM)
    story.when_settled()
    assert story.outcome("2") == "succeeded"
    # 120 s of propagation count nothing; then 10 % of the requests are the candidate's.
    expected = 120 + max(60, 200 / (per_second / 10))
    assert expected <= step_seconds(story) <= expected + 30
    assert step_seconds(story) >= least
    assert any("of 200 requests have reached the candidate" in each["why"] for each in story.log())


def test_a_rollout_without_a_minimum_asks_nothing() -> None:
    story = Scenario()
    sent = SentRequests(story, 10)
    story.given_serving("1")
    story.when_released("2", rollout=canary({"weight": 10, "hold_seconds": 60}))
    story.when_settled()
    assert story.outcome("2") == "succeeded"
    assert sent.questions == 0


def test_a_source_that_fails_pauses_the_step_and_passes_nothing() -> None:
    story = Scenario()
    sent = SentRequests(story, 20)
    story.given_serving("1")
    story.when_released("2", rollout=MINIMUM)
    sent.lack = SILENT
    story.when_minutes_pass(10)
    assert story.state().waiting_for == f"requests cannot be counted: {SILENT.why}"
    story.when_phase_reached("paused")
    phase = story.state().rollout.phase
    assert isinstance(phase, Stepping)
    assert phase.step == 0
    assert story.log()[-1]["why"] == f"requests could not be counted for 15 min: {SILENT.why}"
    questions = sent.questions
    story.when_minutes_pass(60)
    assert sent.questions == questions  # nobody asks while a person thinks
    sent.lack = None
    story.when_commanded("resume")
    story.when_settled()
    assert story.outcome("2") == "succeeded"


def test_a_source_that_fails_for_a_while_only_delays() -> None:
    story = Scenario()
    sent = SentRequests(story, 20)
    story.given_serving("1")
    story.when_released("2", rollout=MINIMUM)
    for _ in range(4):
        sent.lack = SILENT
        story.when_minutes_pass(8)
        sent.lack = None
        sent.per_second = 0.0 if _ < 3 else 20.0
        story.when_minutes_pass(1)
    story.when_settled()
    assert story.outcome("2") == "succeeded"
    assert "paused" not in [entry["to"] for entry in story.log()]


def test_a_person_ends_the_wait_for_requests() -> None:
    story = Scenario()
    SentRequests(story, 0.001)
    story.given_serving("1")
    story.when_released("2", rollout=MINIMUM)
    story.when_minutes_pass(120)
    assert story.outcome("2") is None
    story.when_commanded("promote")
    story.when_settled()
    assert story.outcome("2") == "succeeded"


def refusal(story: Scenario) -> str:
    return str(story.quarantine()[-1]["why"])


def test_without_a_source_a_minimum_is_refused_also_an_inherited_one() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2", rollout=MINIMUM)
    assert "rollout.steps[0].min_requests: must be left out: no source of metrics" in refusal(story)
    assert "PROMETHEUS_URL" in refusal(story)
    SentRequests(story, 20)
    story.when_released("3", rollout=MINIMUM)
    story.when_settled()
    assert story.outcome("3") == "succeeded"
    story.given_metrics(None)
    story.when_released("4")
    assert "inherited from release 3" in refusal(story)
    assert story.outcome("4") is None


def test_a_gate_that_nobody_can_answer_is_refused() -> None:
    story = Scenario()
    story.given_serving("1")
    gates: dict[str, Any] = {"strategy": "canary", "gates": {"http_errors": {}}}
    story.when_released("2", rollout=gates)
    assert "rollout.gates.http_errors: must be left out: no source of metrics" in refusal(story)
    SentRequests(story, 20)
    story.when_released("3", rollout={**gates, "strategy": "rolling"})
    assert "rollout.gates.http_errors: must not count at the load balancer" in refusal(story)
    story.when_released("4", rollout=gates)
    accepted = story.state().desired.release
    assert accepted
    assert accepted.version == "4"


def test_the_default_canary_needs_requests_where_they_are_counted() -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_metrics(SentRequests(story, 0))
    story.when_released("2", rollout={"strategy": "canary", "steps": None})
    candidate = story.state().rollout.candidate
    assert candidate
    steps = candidate.spec.rollout.steps or ()
    assert [each.min_requests for each in steps] == [200, None, None, None, None]


# ---- The size of a candidate

LARGE: dict[str, Any] = {"machine": {"type": "n2-standard-8"}}


def test_a_candidate_on_another_machine_is_sized_by_measured_requests() -> None:
    story = Scenario()
    SentRequests(story, 84)
    story.given_serving("1")
    story.when_released("2", rollout=canary({"weight": 50}), **LARGE)
    assert "serving.requests_per_second: is required, since the machine changes" in refusal(story)
    rate = {"requests_per_second": 12}
    scaling = {"min": 1, "max": 20}
    story.when_released("3", rollout=canary({"weight": 50}), serving=rate, scaling=scaling, **LARGE)
    story.when_settled()
    assert story.outcome("3") == "succeeded"
    granted = [each["why"] for each in story.log() if "it gets" in each["why"]]
    sized = "sized from 84 requests/s and declared 12 requests/s an instance"
    assert [sized in why for why in granted] == [True, True]
    assert [why.partition(" of")[0] for why in granted] == ["4", "8"]  # 84 / 12 x 1.1


def test_a_candidate_of_unknown_size_gets_no_requests_and_a_person_must_pass() -> None:
    story = Scenario()
    sent = SentRequests(story, 84)
    story.given_serving("1")
    sent.lack = SILENT
    rate = {"requests_per_second": 12}
    story.when_released("2", rollout=canary({"weight": 50}), serving=rate, **LARGE)
    story.when_phase_reached("paused")
    assert "the demand could not be measured for 15 min" in story.log()[-1]["why"]
    phase = story.state().rollout.phase
    assert isinstance(phase, Stepping)
    assert phase.weight == 0
    sent.lack = None
    story.when_commanded("resume")
    story.when_settled()
    assert story.outcome("2") == "succeeded"
