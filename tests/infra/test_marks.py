"""Marks on autoscalers: which plans write them, and how they are read."""

from __future__ import annotations

from infra.fleet import naming
from infra.fleet.marks import mark, newest_revision
from infra.fleet.model import Action, Key, Plan, Snapshot
from rollout.model import Share
from tests.infra.build import REGION, release, target

GROUP = naming.group("tiny", "blue", REGION)
AUTOSCALER = naming.autoscaler("tiny", "blue", REGION)
TARGET = target(Share(release("1")))
TEXT = "slipway model=tiny autoscaler revision=41"


def marks(*actions: tuple[Key, str]) -> list[tuple[Key, str, str]]:
    plan = Plan(tuple(Action(key, verb, {"a": 1}, "why") for key, verb in actions))  # type: ignore[arg-type]
    marked = mark(plan, TARGET, 41).actions
    return [(each.key, each.verb, each.body.get("description", "")) for each in marked]


def test_each_plan_that_writes_marks_the_autoscaler_once() -> None:
    assert marks((GROUP, "patch")) == [(GROUP, "patch", ""), (AUTOSCALER, "patch", TEXT)]
    assert marks((AUTOSCALER, "update")) == [(AUTOSCALER, "update", TEXT)]
    first = marks((GROUP, "insert"), (AUTOSCALER, "insert"))
    assert first == [(GROUP, "insert", ""), (AUTOSCALER, "insert", TEXT)]
    assert marks((GROUP, "insert")) == [(GROUP, "insert", "")]  # its autoscaler follows
    assert marks((naming.template("old"), "delete")) == [(naming.template("old"), "delete", "")]
    assert marks() == []


def test_only_the_models_own_autoscalers_are_read() -> None:
    def read(key: Key, description: str) -> int:
        return newest_revision(Snapshot({key: {"description": description}}), "tiny")

    assert read(AUTOSCALER, TEXT) == 41
    assert read(AUTOSCALER, naming.description("tiny", "autoscaler")) == 0
    assert read(AUTOSCALER, "theirs revision=9") == 0
    assert read(naming.autoscaler("other", "blue", REGION), TEXT) == 0
    assert read(GROUP, TEXT) == 0
    assert newest_revision(Snapshot({AUTOSCALER: None}), "tiny") == 0
