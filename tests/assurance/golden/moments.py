"""The moments that have a golden history: each phase, each step, and each thing that may be pending
in a model's document.

A moment is a function that brings a `Scenario` (tests/scenario.py) to that point; `make golden`
runs each one and saves the state that it leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.scenario import APPROVALS, IMAGE, Scenario

Moment = Callable[[Scenario], None]
MOMENTS: dict[str, Moment] = {}
SLOW = {"bake_seconds": 300, "progress_deadline_seconds": 600}


class Crash(BaseException):
    """Not an `Exception`: no handler survives it."""


def moment(name: str) -> Callable[[Moment], Moment]:
    def register(play: Moment) -> Moment:
        MOMENTS[name] = play
        return play

    return register


def settle(scenario: Scenario, *versions: str, **sections: Any) -> None:
    for version in versions:
        scenario.given_serving(version, **sections)
        sections = {}


def only_accept(scenario: Scenario, play: Callable[[], None]) -> None:
    """Lets only the intake handle what is published meanwhile; no pass takes place."""
    handled = 0

    def handle_first(handle: Callable[[], None]) -> None:
        nonlocal handled
        handled += 1
        if handled == 1:
            handle()

    scenario.run_handler = handle_first
    play()
    scenario.run_handler = lambda work: work()


def crash_at_write(scenario: Scenario, at: int, after: bool, play: Callable[[], None]) -> None:
    """Crashes the worker before or right after its nth external write; no worker replaces it."""
    count = 0

    def around(write: Callable[[], Any]) -> Any:
        nonlocal count
        count += 1
        if count > at or (count == at and not after):
            raise Crash
        answer = write()
        if count == at:
            raise Crash
        return answer

    scenario.given_crashing_workers(around, Crash)
    play()
    scenario.run_handler = lambda work: work()
    scenario.world = scenario.new_worker()


def crash_at_phase(phase: str, scenario: Scenario, play: Callable[[], None]) -> None:
    """Crashes the worker as soon as the model's log has this phase, before it acts on it."""

    def has_entered() -> bool:
        return bool(scenario.log()) and scenario.log()[-1]["to"] == phase

    def around(write: Callable[[], Any]) -> Any:
        answer = write()
        if has_entered():
            raise Crash
        return answer

    scenario.given_crashing_workers(around, Crash)
    play()
    for _ in range(1000):
        if has_entered():
            break
        scenario.when_seconds_pass(5)
    assert has_entered(), scenario.history()
    scenario.run_handler = lambda work: work()
    scenario.world = scenario.new_worker()


@moment("settled")
def _(scenario: Scenario) -> None:
    settle(scenario, "1")


@moment("settled-with-previous")
def _(scenario: Scenario) -> None:
    settle(scenario, "1", "2")


@moment("settled-after-failed-release")
def _(scenario: Scenario) -> None:
    settle(scenario, "1")
    scenario.given_behaviour("2", never_ready=True)
    scenario.when_released("2")
    scenario.when_settled()


@moment("settled-full-spec")
def _(scenario: Scenario) -> None:
    schedule = {
        "cron": "0 8 * * *",
        "timezone": "Europe/Berlin",
        "duration_seconds": 3600,
        "min": 4,
    }
    metric = {
        "name": "custom.googleapis.com/queue",
        "per_instance": 5,
        "filter": "metric.labels.q = a",
    }
    settle(
        scenario,
        "1",
        artifact={
            "image": f"{IMAGE}:1",
            "args": ["--a", ""],
            "env": {"A": "b"},
            "secrets": {"T": "t@3"},
            "weights": "gs://bucket/w",
        },
        machine={
            "type": "n1-standard-8",
            "accelerator": {"type": "nvidia-tesla-t4", "count": 2},
            "labels": {"team": "a"},
        },
        placement={"zones": ["us-central1-a", "us-central1-b"]},
        scaling={
            "min": 2,
            "max": 6,
            "cpu": {"target": 0.5},
            "metrics": [metric],
            "schedules": {"day": schedule},
        },
        traffic={"host": "a.example.com", "path": "/a", "draining_seconds": 30},
        rollout={"surge": 2, "steps": [50, 100]},
    )


@moment("not-exposed")
def _(scenario: Scenario) -> None:
    settle(scenario, "1", traffic={"exposure": "none"})


@moment("retired")
def _(scenario: Scenario) -> None:
    settle(scenario, "1")
    scenario.when_commanded("retire")
    scenario.when_settled()


@moment("accepted-not-reconciled")
def _(scenario: Scenario) -> None:
    only_accept(scenario, lambda: scenario.when_released("1"))


@moment("update-accepted-not-reconciled")
def _(scenario: Scenario) -> None:
    settle(scenario, "1")
    only_accept(scenario, lambda: scenario.when_released("2"))


@moment("first-release-stepping")
def _(scenario: Scenario) -> None:
    scenario.when_released("1")


@moment("first-release-baking")
def _(scenario: Scenario) -> None:
    scenario.when_released("1")
    scenario.when_phase_reached("baking")


def _rollout(until: str) -> Moment:
    def play(scenario: Scenario) -> None:
        settle(scenario, "1", scaling={"min": 4, "max": 8})
        scenario.when_released("2", rollout=SLOW)
        scenario.when_phase_reached(until)

    return play


for phase in ("step_1", "step_2", "step_3", "baking"):
    MOMENTS[f"rollout-{phase}"] = _rollout(phase)


@moment("rollout-unchanged-template")
def _(scenario: Scenario) -> None:
    settle(scenario, "1")
    scenario.when_released("2", artifact={"image": f"{IMAGE}:1"}, scaling={"max": 7})


@moment("newer-release-queued")
def _(scenario: Scenario) -> None:
    settle(scenario, "1")
    scenario.when_released("2", rollout={"on_newer": "wait"})
    scenario.when_phase_reached("step_2")
    scenario.when_released("3")


@moment("rolling-back-superseded")
def _(scenario: Scenario) -> None:
    settle(scenario, "1")
    scenario.when_released("2")
    scenario.when_phase_reached("step_2")
    crash_at_phase("rolling_back", scenario, lambda: scenario.when_released("3"))


@moment("rolling-back-unhealthy")
def _(scenario: Scenario) -> None:
    settle(scenario, "1")
    scenario.given_behaviour("2", never_ready=True)
    crash_at_phase("rolling_back", scenario, lambda: scenario.when_released("2", rollout=SLOW))


@moment("rolling-back-aborted")
def _(scenario: Scenario) -> None:
    settle(scenario, "1")
    scenario.when_released("2")
    scenario.when_phase_reached("step_2")
    crash_at_phase(
        "rolling_back", scenario, lambda: scenario.when_commanded("abort", reason="second thoughts")
    )


@moment("rolling-back-first-release")
def _(scenario: Scenario) -> None:
    scenario.given_behaviour("1", never_ready=True)
    crash_at_phase("rolling_back", scenario, lambda: scenario.when_released("1", rollout=SLOW))


@moment("retiring")
def _(scenario: Scenario) -> None:
    settle(scenario, "1")
    crash_at_phase("retiring", scenario, lambda: scenario.when_commanded("retire"))


@moment("retiring-mid-rollout")
def _(scenario: Scenario) -> None:
    settle(scenario, "1")
    scenario.when_released("2")
    scenario.when_phase_reached("step_2")
    crash_at_phase("retiring", scenario, lambda: scenario.when_commanded("retire"))


@moment("paused")
def _(scenario: Scenario) -> None:
    settle(scenario, "1")
    scenario.when_released("2")
    scenario.when_phase_reached("step_2")
    scenario.when_commanded("pause", requested_by="somebody")
    scenario.when_minutes_pass(3)


@moment("paused-after-failure")
def _(scenario: Scenario) -> None:
    settle(scenario, "1")
    scenario.given_behaviour("2", never_ready=True)
    scenario.when_released("2", rollout={**SLOW, "on_failure": "pause"})
    scenario.when_phase_reached("paused")


@moment("promoted")
def _(scenario: Scenario) -> None:
    settle(scenario, "1")
    scenario.when_released("2")
    scenario.when_phase_reached("step_2")
    promote = partial(scenario.when_commanded, "promote", full=True)
    crash_at_phase("promoted", scenario, promote)


def _pending(command: str, **fields: Any) -> Moment:
    def play(scenario: Scenario) -> None:
        settle(scenario, "1", "2")
        scenario.when_released("3")
        scenario.when_phase_reached("step_2")
        only_accept(scenario, lambda: scenario.when_commanded(command, reason="to see", **fields))

    return play


for verb in ("pause", "promote", "abort", "rollback", "retire"):
    MOMENTS[f"pending-{verb}"] = _pending(verb)
MOMENTS["pending-rollback-to-a-version"] = _pending("rollback", version="1")


@moment("pending-resume")
def _(scenario: Scenario) -> None:
    settle(scenario, "1")
    scenario.when_released("2")
    scenario.when_phase_reached("step_2")
    scenario.when_commanded("pause")
    only_accept(scenario, lambda: scenario.when_commanded("resume"))


def _decided(command: str) -> Moment:
    def play(scenario: Scenario) -> None:
        settle(scenario, "1")
        approve = {"approve": {"by": APPROVALS}, "hold_seconds": 0}
        scenario.when_released("2", rollout={"steps": [10, approve, 100]})
        scenario.when_phase_reached("step_2")
        only_accept(scenario, lambda: scenario.when_decided(command, requested_by="ann"))

    return play


for verb in ("approve", "reject"):
    MOMENTS[f"pending-{verb}"] = _decided(verb)


@moment("pending-retry")
def _(scenario: Scenario) -> None:
    settle(scenario, "1")
    scenario.when_released("2")
    scenario.when_phase_reached("step_2")
    scenario.when_commanded("abort")
    scenario.when_settled()
    only_accept(scenario, lambda: scenario.when_commanded("retry"))


@moment("pending-two-commands")
def _(scenario: Scenario) -> None:
    settle(scenario, "1", "2")
    only_accept(scenario, lambda: scenario.when_commanded("rollback"))
    only_accept(scenario, lambda: scenario.when_commanded("pause"))


@moment("rolled-back-by-command")
def _(scenario: Scenario) -> None:
    settle(scenario, "1", "2")
    crash_at_phase("baking", scenario, lambda: scenario.when_commanded("rollback"))


def _crashed(at: int, after: bool) -> Moment:
    """A rollout whose worker crashed: its lease is left, and perhaps a message never sent."""

    def play(scenario: Scenario) -> None:
        settle(scenario, "1")
        only_accept(scenario, lambda: scenario.when_released("2"))
        crash_at_write(scenario, at, after, lambda: scenario.when_woken())

    return play


for at in (1, 2, 3, 4, 6, 8):
    for after in (False, True):
        MOMENTS[f"worker-crashed-{'after' if after else 'before'}-write-{at}"] = _crashed(at, after)


def _crashed_rolling_back(at: int) -> Moment:
    def play(scenario: Scenario) -> None:
        settle(scenario, "1")
        scenario.when_released("2", rollout=SLOW)
        scenario.when_phase_reached("step_2")
        only_accept(scenario, lambda: scenario.when_commanded("abort"))
        crash_at_write(scenario, at, True, lambda: scenario.when_woken())

    return play


@moment("lease-expired")
def _(scenario: Scenario) -> None:
    _crashed(4, True)(scenario)
    scenario.clock.sleep(3600)


@moment("drifted")
def _(scenario: Scenario) -> None:
    settle(scenario, "1")
    scenario.autoscaler()["maxNumReplicas"] = 50
    scenario.when_minutes_pass(4)


# ---- Other specs and failures


def _five_steps(until: str) -> Moment:
    """A large fleet with five steps, each of which leaves instances of both releases."""

    def play(scenario: Scenario) -> None:
        settle(scenario, "1", scaling={"min": 10, "max": 20})
        scenario.when_released("2", rollout={**SLOW, "steps": [5, 20, 40, 80, 100], "surge": 6})
        scenario.when_phase_reached(until)

    return play


for step in (2, 3, 4, 5):
    MOMENTS[f"five-steps-step_{step}"] = _five_steps(f"step_{step}")


@moment("rollout-without-surge")
def _(scenario: Scenario) -> None:
    settle(scenario, "1", scaling={"min": 6, "max": 9})
    scenario.when_released("2", rollout={**SLOW, "surge": 0, "unavailable": 3})
    scenario.when_phase_reached("step_2")


@moment("rollout-spot-script")
def _(scenario: Scenario) -> None:
    script = {"image": None, "startup_script": "#!/bin/sh\nserve\n"}
    settle(
        scenario,
        "1",
        artifact={"startup_script": "#!/bin/sh\nserve --old\n"},
        machine={"spot": True, "type": "e2-standard-2"},
    )
    scenario.when_released("2", artifact=script, rollout=SLOW)
    scenario.when_phase_reached("step_2")


@moment("rollout-signed-image-policy")
def _(scenario: Scenario) -> None:
    scenario.given_policy(
        max_instances=12, regions=["us-central1"], images=[f"{IMAGE}"], max_project_instances=20
    )
    settle(scenario, "1", artifact={"image": f"{IMAGE}@sha256:{'1' * 64}", "signature": "A" * 88})
    scenario.when_released(
        "2", artifact={"image": f"{IMAGE}@sha256:{'2' * 64}", "signature": "B" * 88}, rollout=SLOW
    )
    scenario.when_phase_reached("step_2")


@moment("rollout-https")
def _(scenario: Scenario) -> None:
    scenario.given_certificate("models-example-com")
    settle(
        scenario,
        "1",
        traffic={
            "certificate": "models-example-com",
            "host": "models.example.com",
            "draining_seconds": 0,
        },
    )
    scenario.when_released("2", rollout=SLOW)
    scenario.when_phase_reached("step_2")


@moment("rolling-back-policy")
def _(scenario: Scenario) -> None:
    settle(scenario, "1")
    scenario.when_released("2", rollout=SLOW)
    scenario.when_phase_reached("step_2")
    scenario.given_policy(machine_types=["e2-standard-2"])
    crash_at_phase("rolling_back", scenario, lambda: scenario.when_woken())


@moment("rolling-back-stock-out")
def _(scenario: Scenario) -> None:
    settle(scenario, "1")
    scenario.given_stock_out("us-central1")
    crash_at_phase(
        "rolling_back",
        scenario,
        lambda: scenario.when_released("2", rollout={"progress_deadline_seconds": 300}),
    )
    scenario.given_no_stock_out()


@moment("stepping-without-capacity")
def _(scenario: Scenario) -> None:
    settle(scenario, "1")
    scenario.given_stock_out("us-central1")
    scenario.when_released("2", rollout={**SLOW, "progress_deadline_seconds": 7200})
    scenario.when_minutes_pass(3)
    scenario.given_no_stock_out()


@moment("stepping-not-observed")
def _(scenario: Scenario) -> None:
    settle(scenario, "1")
    scenario.when_released("2", rollout=SLOW)
    scenario.when_phase_reached("step_2")
    scenario.given_fault("error", status=503)
    scenario.when_minutes_pass(5)
    scenario.given_no_faults()


@moment("baking-newer-queued")
def _(scenario: Scenario) -> None:
    settle(scenario, "1")
    scenario.when_released("2", rollout={**SLOW, "on_newer": "wait"})
    scenario.when_phase_reached("baking")
    only_accept(scenario, lambda: scenario.when_released("3"))


@moment("first-release-superseded")
def _(scenario: Scenario) -> None:
    scenario.when_released("1")
    scenario.when_phase_reached("baking")
    scenario.when_released("2")


@moment("released-after-retirement")
def _(scenario: Scenario) -> None:
    settle(scenario, "1")
    scenario.when_commanded("retire")
    scenario.when_settled()
    scenario.when_released(
        "2", scaling={"min": 2, "max": 4}, traffic={"path": "/again", "draining_seconds": 0}
    )
    scenario.when_phase_reached("baking")


@moment("forced-again")
def _(scenario: Scenario) -> None:
    settle(scenario, "1")
    scenario.given_behaviour("2", never_ready=True)
    scenario.when_released("2", rollout={**SLOW, "progress_deadline_seconds": 120})
    scenario.when_settled()
    scenario.given_default_behaviour()
    scenario.when_released("2", rollout={**SLOW, "progress_deadline_seconds": 120}, force=True)
    scenario.when_phase_reached("step_2")


for at in (3, 5):
    MOMENTS[f"worker-crashed-rolling-back-after-write-{at}"] = _crashed_rolling_back(at)
