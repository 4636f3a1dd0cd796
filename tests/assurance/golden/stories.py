"""The moments that a golden history is kept of: each phase, each step, each thing that may be
pending in a model's document.

A moment is a story told up to there, in the words of tests/scenario.py. `make golden` tells each
and keeps what it left behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.scenario import IMAGE, Scenario

Moment = Callable[[Scenario], None]
MOMENTS: dict[str, Moment] = {}
SLOW = {"bake_seconds": 300, "progress_deadline_seconds": 600}


class Death(BaseException):
    """Not an `Exception`: no handler survives it."""


def moment(name: str) -> Callable[[Moment], Moment]:
    def kept(tell: Moment) -> Moment:
        MOMENTS[name] = tell
        return tell

    return kept


def settled(story: Scenario, *versions: str, **sections: Any) -> None:
    for version in versions:
        story.given_serving(version, **sections)
        sections = {}


def unheard(story: Scenario, tell: Callable[[], None]) -> None:
    """Whatever is published meanwhile reaches the intake, and no turn takes place."""
    handled = 0

    def only_the_intake(handle: Callable[[], None]) -> None:
        nonlocal handled
        handled += 1
        if handled == 1:
            handle()

    story.mortally = only_the_intake
    tell()
    story.mortally = lambda work: work()


def dying(story: Scenario, at: int, after: bool, tell: Callable[[], None]) -> None:
    """The worker ends at its nth write outside, before it or right after it took effect, and nobody
    comes in its place."""
    count = 0

    def around(write: Callable[[], Any]) -> Any:
        nonlocal count
        count += 1
        if count > at or (count == at and not after):
            raise Death
        answer = write()
        if count == at:
            raise Death
        return answer

    story.given_mortal_workers(around, Death)
    tell()
    story.mortally = lambda work: work()
    story.world = story.worker()


def stopping_at(phase: str, story: Scenario, tell: Callable[[], None]) -> None:
    """The worker ends as soon as the model's log says that this phase was entered, before it acts
    on that."""

    def is_there() -> bool:
        return bool(story.log()) and story.log()[-1]["to"] == phase

    def around(write: Callable[[], Any]) -> Any:
        answer = write()
        if is_there():
            raise Death
        return answer

    story.given_mortal_workers(around, Death)
    tell()
    for _ in range(1000):
        if is_there():
            break
        story.when_seconds_pass(5)
    assert is_there(), story.story()
    story.mortally = lambda work: work()
    story.world = story.worker()


@moment("settled")
def _(story: Scenario) -> None:
    settled(story, "1")


@moment("settled-with-one-before")
def _(story: Scenario) -> None:
    settled(story, "1", "2")


@moment("settled-with-a-failure-behind-it")
def _(story: Scenario) -> None:
    settled(story, "1")
    story.given_behaviour("2", never_ready=True)
    story.when_released("2")
    story.when_settled()


@moment("settled-on-a-spec-with-everything")
def _(story: Scenario) -> None:
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
    settled(
        story,
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
def _(story: Scenario) -> None:
    settled(story, "1", traffic={"exposure": "none"})


@moment("retired")
def _(story: Scenario) -> None:
    settled(story, "1")
    story.when_commanded("retire")
    story.when_settled()


@moment("accepted-and-no-turn-yet")
def _(story: Scenario) -> None:
    unheard(story, lambda: story.when_released("1"))


@moment("next-accepted-and-no-turn-yet")
def _(story: Scenario) -> None:
    settled(story, "1")
    unheard(story, lambda: story.when_released("2"))


@moment("first-release-stepping")
def _(story: Scenario) -> None:
    story.when_released("1")


@moment("first-release-baking")
def _(story: Scenario) -> None:
    story.when_released("1")
    story.when_until("baking")


def _swapping(until: str) -> Moment:
    def tell(story: Scenario) -> None:
        settled(story, "1", scaling={"min": 4, "max": 8})
        story.when_released("2", rollout=SLOW)
        story.when_until(until)

    return tell


for phase in ("step_1", "step_2", "step_3", "baking"):
    MOMENTS[f"swapping-{phase}"] = _swapping(phase)


@moment("swapping-unchanged-template")
def _(story: Scenario) -> None:
    settled(story, "1")
    story.when_released("2", artifact={"image": f"{IMAGE}:1"}, scaling={"max": 7})


@moment("newer-waits-for-this-one-to-finish")
def _(story: Scenario) -> None:
    settled(story, "1")
    story.when_released("2", rollout={"on_newer": "wait"})
    story.when_until("step_2")
    story.when_released("3")


@moment("going-back-superseded")
def _(story: Scenario) -> None:
    settled(story, "1")
    story.when_released("2")
    story.when_until("step_2")
    stopping_at("rolling_back", story, lambda: story.when_released("3"))


@moment("going-back-unhealthy")
def _(story: Scenario) -> None:
    settled(story, "1")
    story.given_behaviour("2", never_ready=True)
    stopping_at("rolling_back", story, lambda: story.when_released("2", rollout=SLOW))


@moment("going-back-aborted")
def _(story: Scenario) -> None:
    settled(story, "1")
    story.when_released("2")
    story.when_until("step_2")
    stopping_at(
        "rolling_back", story, lambda: story.when_commanded("abort", reason="second thoughts")
    )


@moment("going-back-to-nothing")
def _(story: Scenario) -> None:
    story.given_behaviour("1", never_ready=True)
    stopping_at("rolling_back", story, lambda: story.when_released("1", rollout=SLOW))


@moment("retiring")
def _(story: Scenario) -> None:
    settled(story, "1")
    stopping_at("retiring", story, lambda: story.when_commanded("retire"))


@moment("retiring-in-mid-rollout")
def _(story: Scenario) -> None:
    settled(story, "1")
    story.when_released("2")
    story.when_until("step_2")
    stopping_at("retiring", story, lambda: story.when_commanded("retire"))


@moment("paused")
def _(story: Scenario) -> None:
    settled(story, "1")
    story.when_released("2")
    story.when_until("step_2")
    story.when_commanded("pause", requested_by="somebody")
    story.when_minutes_pass(3)


@moment("paused-after-a-failure")
def _(story: Scenario) -> None:
    settled(story, "1")
    story.given_behaviour("2", never_ready=True)
    story.when_released("2", rollout={**SLOW, "on_failure": "pause"})
    story.when_until("paused")


@moment("promoted")
def _(story: Scenario) -> None:
    settled(story, "1")
    story.when_released("2")
    story.when_until("step_2")
    stopping_at("promoted", story, lambda: story.when_commanded("promote"))


def _pending(command: str, **fields: Any) -> Moment:
    def tell(story: Scenario) -> None:
        settled(story, "1", "2")
        story.when_released("3")
        story.when_until("step_2")
        unheard(story, lambda: story.when_commanded(command, reason="to see", **fields))

    return tell


for verb in ("pause", "promote", "abort", "rollback", "retire"):
    MOMENTS[f"pending-{verb}"] = _pending(verb)
MOMENTS["pending-rollback-to-a-version"] = _pending("rollback", version="1")


@moment("pending-resume")
def _(story: Scenario) -> None:
    settled(story, "1")
    story.when_released("2")
    story.when_until("step_2")
    story.when_commanded("pause")
    unheard(story, lambda: story.when_commanded("resume"))


@moment("pending-two-commands")
def _(story: Scenario) -> None:
    settled(story, "1", "2")
    unheard(story, lambda: story.when_commanded("rollback"))
    unheard(story, lambda: story.when_commanded("pause"))


@moment("rolled-back-by-command")
def _(story: Scenario) -> None:
    settled(story, "1", "2")
    stopping_at("baking", story, lambda: story.when_commanded("rollback"))


def _dead(at: int, after: bool) -> Moment:
    """A swap whose worker died: its claim is there, and perhaps a message that was never sent."""

    def tell(story: Scenario) -> None:
        settled(story, "1")
        unheard(story, lambda: story.when_released("2"))
        dying(story, at, after, lambda: story.when_woken())

    return tell


for at in (1, 2, 3, 4, 6, 8):
    for after in (False, True):
        MOMENTS[f"worker-died-{'after' if after else 'before'}-its-write-{at}"] = _dead(at, after)


def _dead_on_the_way_back(at: int) -> Moment:
    def tell(story: Scenario) -> None:
        settled(story, "1")
        story.when_released("2", rollout=SLOW)
        story.when_until("step_2")
        unheard(story, lambda: story.when_commanded("abort"))
        dying(story, at, True, lambda: story.when_woken())

    return tell


@moment("claim-long-expired")
def _(story: Scenario) -> None:
    _dead(4, True)(story)
    story.clock.sleep(3600)


@moment("drift-found")
def _(story: Scenario) -> None:
    settled(story, "1")
    story.autoscaler()["maxNumReplicas"] = 50
    story.when_minutes_pass(4)


# ---- Other specs, other troubles


def _at_each_step(until: str) -> Moment:
    """A large fleet on five steps, which leave both releases instances of their own all along."""

    def tell(story: Scenario) -> None:
        settled(story, "1", scaling={"min": 10, "max": 20})
        story.when_released("2", rollout={**SLOW, "steps": [5, 20, 40, 80, 100], "surge": 6})
        story.when_until(until)

    return tell


for step in (2, 3, 4, 5):
    MOMENTS[f"large-step_{step}-of-5"] = _at_each_step(f"step_{step}")


@moment("swapping-by-what-may-be-missing")
def _(story: Scenario) -> None:
    settled(story, "1", scaling={"min": 6, "max": 9})
    story.when_released("2", rollout={**SLOW, "surge": 0, "unavailable": 3})
    story.when_until("step_2")


@moment("swapping-on-spot-with-a-script")
def _(story: Scenario) -> None:
    script = {"image": None, "startup_script": "#!/bin/sh\nserve\n"}
    settled(
        story,
        "1",
        artifact={"startup_script": "#!/bin/sh\nserve --old\n"},
        machine={"spot": True, "type": "e2-standard-2"},
    )
    story.when_released("2", artifact=script, rollout=SLOW)
    story.when_until("step_2")


@moment("swapping-a-signed-image-under-a-policy")
def _(story: Scenario) -> None:
    story.given_policy(
        max_instances=12, regions=["us-central1"], images=[f"{IMAGE}"], max_project_instances=20
    )
    settled(story, "1", artifact={"image": f"{IMAGE}@sha256:{'1' * 64}", "signature": "A" * 88})
    story.when_released(
        "2", artifact={"image": f"{IMAGE}@sha256:{'2' * 64}", "signature": "B" * 88}, rollout=SLOW
    )
    story.when_until("step_2")


@moment("swapping-behind-https")
def _(story: Scenario) -> None:
    story.given_certificate("models-example-com")
    settled(
        story,
        "1",
        traffic={
            "certificate": "models-example-com",
            "host": "models.example.com",
            "draining_seconds": 0,
        },
    )
    story.when_released("2", rollout=SLOW)
    story.when_until("step_2")


@moment("going-back-policy")
def _(story: Scenario) -> None:
    settled(story, "1")
    story.when_released("2", rollout=SLOW)
    story.when_until("step_2")
    story.given_policy(machine_types=["e2-standard-2"])
    stopping_at("rolling_back", story, lambda: story.when_woken())


@moment("going-back-stock-out")
def _(story: Scenario) -> None:
    settled(story, "1")
    story.given_stock_out("us-central1")
    stopping_at(
        "rolling_back",
        story,
        lambda: story.when_released("2", rollout={"progress_deadline_seconds": 300}),
    )
    story.given_no_stock_out()


@moment("stepping-without-capacity")
def _(story: Scenario) -> None:
    settled(story, "1")
    story.given_stock_out("us-central1")
    story.when_released("2", rollout={**SLOW, "progress_deadline_seconds": 7200})
    story.when_minutes_pass(3)
    story.given_no_stock_out()


@moment("stepping-and-nobody-can-look")
def _(story: Scenario) -> None:
    settled(story, "1")
    story.when_released("2", rollout=SLOW)
    story.when_until("step_2")
    story.given_fault("error", status=503)
    story.when_minutes_pass(5)
    story.given_no_faults()


@moment("baking-with-a-newer-one-that-waits")
def _(story: Scenario) -> None:
    settled(story, "1")
    story.when_released("2", rollout={**SLOW, "on_newer": "wait"})
    story.when_until("baking")
    unheard(story, lambda: story.when_released("3"))


@moment("first-release-superseded")
def _(story: Scenario) -> None:
    story.when_released("1")
    story.when_until("baking")
    story.when_released("2")


@moment("released-again-after-retirement")
def _(story: Scenario) -> None:
    settled(story, "1")
    story.when_commanded("retire")
    story.when_settled()
    story.when_released(
        "2", scaling={"min": 2, "max": 4}, traffic={"path": "/again", "draining_seconds": 0}
    )
    story.when_until("baking")


@moment("forced-once-more")
def _(story: Scenario) -> None:
    settled(story, "1")
    story.given_behaviour("2", never_ready=True)
    story.when_released("2", rollout={**SLOW, "progress_deadline_seconds": 120})
    story.when_settled()
    story.given_no_behaviours()
    story.when_released("2", rollout={**SLOW, "progress_deadline_seconds": 120}, force=True)
    story.when_until("step_2")


for at in (3, 5):
    MOMENTS[f"worker-died-going-back-after-its-write-{at}"] = _dead_on_the_way_back(at)
