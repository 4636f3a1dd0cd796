"""An evaluation job of others judges a release."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from rollout.measurements import ExternalVerdict, NoVerdict, VerdictAnswer, VerdictRequest
from tests.scenario import Scenario

HOST = "evals.example.com"
GATE = {"quality": {"url": f"https://{HOST}/slipway"}}
ANALYSIS = {"warm_up_seconds": 0}


class Job:
    """Answers at once, by `answer`; None is no answer. Keeps its requests."""

    def __init__(self, answer: Callable[[VerdictRequest], str | None]) -> None:
        self.answer = answer
        self.requests: list[VerdictRequest] = []

    def ask(self, request: VerdictRequest, hosts: tuple[str, ...], now: datetime) -> VerdictAnswer:
        assert hosts == (HOST,)
        self.requests.append(request)
        match self.answer(request):
            case "pass" | "fail" | "inconclusive" as verdict:
                return ExternalVerdict(verdict, f"it is a {verdict}", request.until)
            case _:
                return NoVerdict("timeout", "no answer in 5 s")


def given_a_release(job: Job, steps: list[Any], **rollout: Any) -> Scenario:
    story = Scenario()
    story.given_policy(gate_hosts=[HOST])
    story.given_verdicts(job)
    story.given_serving("1")
    story.when_released(
        "2", rollout={"gates": GATE, "analysis": ANALYSIS, "steps": steps} | rollout
    )
    return story


def test_a_job_that_fails_the_release_in_a_later_step_has_it_taken_back() -> None:
    job = Job(lambda request: "fail" if request.phase == "step_2" else "pass")
    steps = [{"percent": percent, "hold_seconds": 120} for percent in (10, 50, 100)]
    story = given_a_release(job, steps)
    story.when_settled()
    assert (story.outcome("2"), story.reason("2")) == ("rolled_back", "gate")
    assert "quality: it is a fail → fail" in story.why("2")
    assert story.healthy_by_version() == {"1": 3}
    first = job.requests[0]
    assert (first.gate, first.model, first.version, first.baseline) == ("quality", "tiny", "2", "1")
    assert len(set(job.requests)) == len({each.key for each in job.requests})


def test_without_a_verdict_the_step_does_not_end_and_a_person_is_asked() -> None:
    job = Job(lambda request: None)
    story = given_a_release(job, [{"percent": 10, "hold_seconds": 60}, 100])
    story.when_minutes_pass(8)
    assert story.healthy_by_version() == {"1": 2, "2": 1}
    assert "quality: no answer in 5 s → error" in story.state().waiting_for
    story.when_minutes_pass(10)
    paused = story.state().rollout.paused
    assert paused
    assert "quality: no answer in 5 s → error, for" in paused.why
    job.answer = lambda request: "pass"
    story.when_commanded("resume")
    story.when_settled()
    assert story.outcome("2") == "succeeded"


def test_a_release_whose_job_may_not_be_asked_is_refused_or_goes_no_further() -> None:
    job = Job(lambda request: "pass")
    story = given_a_release(job, [{"percent": 10, "hold_seconds": 600}, 100])
    story.when_minutes_pass(5)
    assert job.requests
    story.given_policy(gate_hosts=["other.example.com"])
    before = len(job.requests)
    story.when_settled()
    assert (story.outcome("2"), story.reason("2")) == ("rolled_back", "policy")
    assert len(job.requests) == before
    story.when_released("3", rollout={"gates": GATE})
    story.given_policy(gate_hosts=[HOST])
    story.given_verdicts(None)
    story.when_released("4", rollout={"gates": GATE})
    whys = [each["why"] for each in story.quarantine()]
    assert whys[0].startswith("rollout.gates.quality.url: policy allows gates on other.example.com")
    assert "no secret for evaluation jobs is configured; set SLIPWAY_GATE_SECRET" in whys[1]
