"""The workloads: what users request during a run, as steps. Faults are added by a schedule.

A step waits for the previous one and then for its own condition: `settled`, the name of a phase in
the model's log, or a number of seconds. After a quarter of an hour the step is taken even if its
condition has not occurred.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

IMAGE = "us-docker.pkg.dev/p/r/tiny"
SECRET = "hunter2-do-not-tell"


def steps(*percents: int) -> list[dict[str, int]]:
    """Steps that hold nothing, so that a run stays short."""
    return [{"percent": percent, "hold_seconds": 0} for percent in percents]


BASE: dict[str, Any] = {
    "scaling": {"min": 3, "max": 6},
    "traffic": {"draining_seconds": 0},
    "rollout": {
        "steps": steps(50, 100),
        "bake_seconds": 15,
        "watch_seconds": 0,
        "progress_deadline_seconds": 420,
    },
}


@dataclass(frozen=True)
class Step:
    when: str | float
    body: dict[str, Any] = field(default_factory=dict)
    do: str = ""
    model: str = "tiny"


@dataclass(frozen=True)
class Workload:
    """`is_racy`: its outcome depends on timing, so that delays alone may change it. `serves` is
    then the release that has to serve in the final state, if one has to. `may_merge`: a crash may
    merge the updates of two steps into one. `errors`: the share of 5xx by colour that a source of
    metrics counts; None without one.
    """

    name: str
    steps: tuple[Step, ...]
    models: tuple[str, ...] = ("tiny",)
    bad: dict[str, dict[str, Any]] = field(default_factory=dict)
    errors: dict[str, float] | None = None
    is_racy: bool = False
    serves: str = ""
    may_merge: bool = False


def release(when: str | float, version: str, model: str = "tiny", **sections: Any) -> Step:
    artifact = {"image": f"{IMAGE}:{version}", "env": {"TOKEN": SECRET}}
    return Step(
        when, {"model": model, "version": version, "artifact": artifact, **sections}, model=model
    )


def first(
    model: str = "tiny", version: str = "1", when: str | float = 0.0, **sections: Any
) -> Step:
    return release(
        when,
        version,
        model,
        **{name: BASE.get(name, {}) | sections.get(name, {}) for name in {**BASE, **sections}},
    )


def command(when: str | float, verb: str, model: str = "tiny", **fields: Any) -> Step:
    return Step(when, {"model": model, "command": verb, **fields}, model=model)


SETTLED = "settled"
SECONDS = 5.0
NEVER = {"never_ready": True}
HELD = {"percent": 50, "hold_seconds": 90}
CANARY = {
    "strategy": "canary",
    "steps": [{"weight": weight, "hold_seconds": 0} for weight in (10, 100)],
    "keep_old_seconds": 60,
}
BLUE_GREEN = {
    "strategy": "blue_green",
    "steps": [{"preview": True, "hold_seconds": 0}, {"weight": 100, "hold_seconds": 0}],
    "keep_old_seconds": 0,
}
GATED = CANARY | {
    "steps": [{"weight": weight, "hold_seconds": 0} for weight in (20, 100)],
    "gates": {"http_errors": {}},
    "analysis": {"window_seconds": 10, "warm_up_seconds": 0},
}
WORKLOADS: dict[str, Workload] = {
    each.name: each
    for each in (
        Workload("create", (first(),)),
        Workload("swap", (first(), release(SETTLED, "2"))),
        Workload(
            "roll",
            (
                first(rollout={"steps": steps(10, 50, 100)}),
                release(SETTLED, "2"),
                release(SETTLED, "3"),
            ),
        ),
        Workload(
            "scale",
            (
                first(),
                release(SETTLED, "2", scaling={"min": 4, "max": 8}),
                release(SETTLED, "3", scaling={"min": 2, "max": 4}),
            ),
        ),
        Workload(
            "settings",
            (
                first(),
                Step(SETTLED, do="foreign_route"),
                release(1.0, "2", traffic={"path": "/other"}, rollout={"surge": 4}),
            ),
        ),
        Workload(
            "invalid-messages",
            (
                first(),
                Step(
                    SETTLED,
                    {
                        "model": "tiny",
                        "version": "2",
                        "scaling": {"min": -1},
                        "artifact": {"env": {"TOKEN": SECRET}},
                    },
                ),
                Step(1.0, {"model": "tiny", "command": "fly"}),
                release(SETTLED, "2"),
                Step(SETTLED, {"model": "tiny", "version": "2", "scaling": {"min": 5}}),
                command(1.0, "rollback", version="7"),
            ),
        ),
        Workload(
            "abort", (first(), release(SETTLED, "2"), command("step_1", "abort")), is_racy=True
        ),
        Workload(
            "pause",
            (first(), release(SETTLED, "2"), command("step_1", "pause"), command(120.0, "resume")),
            is_racy=True,
        ),
        Workload("rollback", (first(), release(SETTLED, "2"), command(SETTLED, "rollback"))),
        Workload("bad", (first(), release(SETTLED, "2"), release(SETTLED, "3")), bad={"2": NEVER}),
        Workload(
            "crash-loop",
            (
                first(),
                release(SETTLED, "2", rollout={"steps": [HELD, 100]}),
            ),
            bad={"2": {"dies_after_seconds": 60}},
        ),
        # Load asks for more than the quota allows while the release bakes.
        Workload(
            "quota",
            (
                first(),
                release(SETTLED, "2", rollout={"bake_seconds": 90}),
                Step("baking", do="limit"),
                Step(1.0, do="load"),
                Step(200.0, do="unlimit"),
            ),
        ),
        # The environment takes single instances while the release is verified, then a whole zone.
        Workload(
            "losses",
            (
                first(machine={"spot": True}),
                release(SETTLED, "2", rollout={"steps": [HELD, 100], "bake_seconds": 120}),
                Step("step_1", do="preempt"),
                Step(30.0, do="recreate"),
                Step("baking", do="preempt"),
                Step(5.0, do="zone_down"),
                Step(45.0, do="zone_up"),
            ),
        ),
        # While a release of one model is paused, and a tick reads one model per page, the other
        # gets its passes.
        Workload(
            "queue",
            (
                first("other"),
                release(SETTLED, "2", "other"),
                command("step_1", "pause", "other"),
                first(when=1.0),
                release("succeeded", "2"),
                command(240.0, "resume", "other"),
            ),
            ("tiny", "other"),
        ),
        Workload("bad-first", (first(), release(SETTLED, "2")), bad={"1": NEVER}),
        Workload("retire", (first(), Step(SETTLED, do="foreign_route"), command(1.0, "retire"))),
        Workload(
            "recreate", (first(), command(SETTLED, "retire"), first(version="2", when=SETTLED))
        ),
        Workload(
            "retire-midway",
            (first(), release(SETTLED, "2"), command("step_1", "retire")),
            is_racy=True,
        ),
        Workload(
            "supersede", (first(), release(SETTLED, "2"), release("step_2", "3")), is_racy=True
        ),
        Workload(
            "two-models",
            (first(), first("other", when=1.0), release(SETTLED, "2")),
            ("tiny", "other"),
        ),
        Workload("busy", (first(), Step(SETTLED, do="load"), release(60.0, "2"))),
        # Ends long before the release's deadline, even for a worker that stalls meanwhile;
        # otherwise a rollback would be correct.
        Workload(
            "stock-out",
            (first(), Step(SETTLED, do="stock_out"), release(1.0, "2"), Step(120.0, do="stock_in")),
        ),
        # A release without a route cannot name how long a route drains.
        Workload(
            "unexposed",
            (
                first(traffic={"exposure": "none", "draining_seconds": None}),
                release(SETTLED, "2"),
            ),
        ),
        Workload(
            "burst",
            (first(), release(SETTLED, "2"), release(3.0, "3"), release(20.0, "4")),
            is_racy=True,
            serves="4",
        ),
        Workload(
            "hurry",
            (
                first(),
                release(1.0, "2"),
                command(1.0, "pause"),
                release(SECONDS, "3"),
                command(2.0, "promote", full=True),
                release(60.0, "4"),
            ),
            is_racy=True,
            serves="4",
        ),
        Workload(
            "again",
            (
                first(),
                release(SETTLED, "2"),
                release(SETTLED, "2", force=True),
                command(30.0, "rollback", version="1"),
            ),
            bad={"2": NEVER},
            is_racy=True,
            serves="1",
        ),
        Workload(
            "wait",
            (first(rollout={"on_newer": "wait"}), release(SETTLED, "2"), release("step_1", "3")),
            is_racy=True,
            serves="3",
        ),
        Workload(
            "rollback-then-fix",
            (
                first(),
                release(SETTLED, "2"),
                command(SETTLED, "rollback"),
                release(2.0, "3"),
            ),
            is_racy=True,
            serves="3",
        ),
        Workload(
            "rollback-twice",
            (
                first(),
                release(SETTLED, "2"),
                command(SETTLED, "rollback"),
                command(40.0, "rollback"),
                command(SETTLED, "rollback", version="1"),
            ),
            is_racy=True,
            serves="1",
        ),
        Workload(
            "retire-then-release",
            (first(), command(SETTLED, "retire"), first(version="2", when=2.0)),
            is_racy=True,
            serves="2",
        ),
        Workload(
            "abort-at-once",
            (first(), release(SETTLED, "2"), command(1.0, "abort"), release(SETTLED, "3")),
            is_racy=True,
            serves="3",
        ),
        Workload(
            "commands",
            (
                first(),
                release(SETTLED, "2"),
                command(1.0, "pause"),
                command(3.0, "rollback"),
                command(1.0, "resume"),
                release(5.0, "3"),
                command(1.0, "pause"),
                command(20.0, "abort"),
                command(1.0, "promote", full=True),
                first(version="4", when=2.0),
                command(1.0, "resume"),
                command(30.0, "promote", full=True),
            ),
            is_racy=True,
            serves="4",
        ),
        Workload(
            "stalled-rollback",
            (
                first(),
                release(SETTLED, "2"),
                Step("step_2", do="break_stable"),
                command(1.0, "abort"),
                release("stalled", "3"),
            ),
            is_racy=True,
            serves="3",
        ),
        Workload("canary", (first(), release(SETTLED, "2", rollout=CANARY))),
        Workload(
            "canary-abort",
            (first(), release(SETTLED, "2", rollout=CANARY), command("step_2", "abort")),
            is_racy=True,
        ),
        Workload(
            "blue-green",
            (first(), release(SETTLED, "2", rollout=BLUE_GREEN)),
            may_merge=True,  # the end of the preview, and the switch
        ),
        Workload(
            "in-place",
            (first(rollout={"unavailable": 3, "steps": steps(100)}), release(SETTLED, "2")),
        ),
        Workload("gated", (first(), release(SETTLED, "2", rollout=GATED)), errors={}),
        Workload(
            "gated-bad",
            (first(), release(SETTLED, "2", rollout=GATED)),
            bad={"2": {}},
            errors={"green": 0.2},
        ),
    )
}
