"""The stories that the schedules disturb: which events are published about a model, when, and how
each release may end.

`undisturbed` computes a story's expected end: it runs the story in one process, in virtual time,
without faults.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compute_emulator import Emulator
from infra.fleet.naming import PREFIX
from tests.scenario import DEFAULT_BEHAVIOUR, IMAGE, Scenario

Ends = Mapping[str, tuple[str, ...]]
FLOOR = 2
CEILING = 2 + 3  # the floor and a surge of one for each zone
VOLATILE = (
    "id",
    "creationTimestamp",
    "fingerprint",
    "labelFingerprint",
    "selfLink",
    "selfLinkWithId",
)
STEPS = [{"percent": percent, "hold_seconds": 0} for percent in (50, 100)]
ROLLOUT = {
    "steps": STEPS,
    "bake_seconds": 60,
    "watch_seconds": 0,
    "progress_deadline_seconds": 1800,
}
GONE = "gone"
NEVER_READY = {"image": f"*{IMAGE}:sick*", "never_ready": True, "alive_after_seconds": 10} | {
    "boot_seconds": 30
}
BEHAVIOURS: list[dict[str, Any]] = [NEVER_READY, DEFAULT_BEHAVIOUR]


@dataclass(frozen=True)
class Chapter:
    """`events` are published in order. The next chapter starts when each release in `ends` has one
    of its outcomes, or when `stepping` has reached its first step.
    """

    events: tuple[Mapping[str, Any], ...]
    ends: Ends
    stepping: str = ""


Story = tuple[Chapter, ...]


def release(version: str, image: str = "", **rollout: Any) -> dict[str, Any]:
    """A complete spec, so that the order of several releases does not matter, and with an account
    whose name does not depend on the project.
    """
    return {
        "version": version,
        "machine": {"service_account": "model@demo.iam.gserviceaccount.com"},
        "artifact": {"image": f"{IMAGE}:{image or version}"},
        "serving": {"startup_seconds": 60},
        "scaling": {"min": FLOOR, "max": 4},
        "traffic": {"draining_seconds": 0},
        "rollout": ROLLOUT | rollout,
    }


def ends(**outcomes: str) -> Ends:
    return {
        name.removeprefix("v"): tuple(outcome.split("_or_")) for name, outcome in outcomes.items()
    }


FIRST = Chapter((release("1"),), ends(v1="succeeded"))
SECOND = Chapter((release("2"),), ends(v2="succeeded"))
BURST = Chapter(
    (release("1"), release("2"), release("3")),
    ends(v1="succeeded_or_superseded", v2="succeeded_or_superseded", v3="succeeded"),
)
SICK = Chapter((release("2", "sick", progress_deadline_seconds=120),), ends(v2="rolled_back"))
LINGERING = Chapter((release("2", "sick", progress_deadline_seconds=86400),), {}, stepping="2")
ABORT = Chapter(({"command": "abort"},), ends(v2="aborted"))
BACK = Chapter(({"command": "rollback", "version": "1"},), ends(v1="succeeded"))
RETIRE = Chapter(({"command": "retire"},), ends(v1="retired"))
AGAIN = Chapter((release("1"), release("2"), release("1")), ends(v1="succeeded", v2="succeeded"))

STORIES: Mapping[str, Story] = {
    "swap": (FIRST, SECOND),
    "burst": (BURST,),
    "sick": (FIRST, SICK),
    "abort": (FIRST, LINGERING, ABORT),
    "retire": (FIRST, RETIRE),
    "replay": (FIRST, SECOND, AGAIN),
    "back": (FIRST, SECOND, BACK),
}


THIRD = Chapter((release("3"),), ends(v3="succeeded"))
SAME_ENDS: Mapping[str, tuple[Story, ...]] = {"burst": ((FIRST, THIRD), (SECOND, THIRD))}
"""Stories with the same end. Timing decides which release serves when the next one arrives, and its
template is kept one release longer."""


@dataclass(frozen=True)
class End:
    """The resources on Compute Engine when a story is over, and how often each was created and
    deleted.
    """

    resources: Mapping[str, str]
    effects: Mapping[str, int]


def undisturbed(story: Story, model: str) -> End:
    world = Scenario()
    world.emulator.set_behaviours(BEHAVIOURS)
    for chapter in story:
        for event in chapter.events:
            world.bus.publish("model-releases", json.dumps({"model": model, **event}).encode())
            world.clock.sleep(0.01)
        world.bus.pump()
        if chapter.stepping:
            world.when_phase_reached("step_1", model)
        else:
            world.when_settled(model)
    return end(world.emulator, model)


def end(emulator: Emulator, model: str) -> End:
    with emulator.paused():
        return End(_resources(emulator, model), _effects(emulator, model))


def _effects(emulator: Emulator, model: str) -> dict[str, int]:
    """How often each of the model's resources was created and deleted."""
    done = Counter(
        f"{operation['operationType'].rpartition('.')[2]}"
        f" {operation['targetLink'].rpartition('/projects/')[2].partition('/')[2]}"
        for operation in emulator.operations()
        if "error" not in operation
    )
    return {
        what: count
        for what, count in done.items()
        if what.startswith(("insert", "delete")) and f"/{PREFIX}{model}-" in what
    }


def _resources(emulator: Emulator, model: str) -> dict[str, str]:
    """The model's resources and routes, without fields that differ in every run."""
    found: dict[str, str] = {}
    for key, body in emulator.resources():
        if key.collection == "instances":
            continue
        if key.name.startswith(f"{PREFIX}{model}-"):
            found["/".join(key)] = _text(body, emulator.project)
        for matcher in body.get("pathMatchers", ()):
            rules = [
                rule
                for rule in matcher.get("pathRules", ())
                if f"/{PREFIX}{model}-" in json.dumps(rule)
            ]
            found |= {
                f"route of {key.name} {number}": _text(rule, emulator.project)
                for number, rule in enumerate(rules)
            }
    return found


def _text(body: Mapping[str, Any], project: str) -> str:
    kept = {name: value for name, value in body.items() if name not in VOLATILE}
    text = json.dumps(kept, sort_keys=True, default=str).replace(f"/{project}/", "/P/")
    return re.sub(r" revision=\d+", "", text)  # a repeat after a crash has another revision
