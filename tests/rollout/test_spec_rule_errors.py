"""The error of each rule between fields: the field to change, what it may be, and what was given.

A sender sees nothing else, so each sentence is compared as a whole, for every way to break a
rule.
"""

from __future__ import annotations

from typing import Any

import pytest

from rollout.spec.compatibility import incompatible
from rollout.spec.message import Invalid, ReleaseRequested, parse, resolve
from rollout.spec.model import Sections, Spec
from rollout.spec.rule_context import RuleContext

IMAGE = "us-docker.pkg.dev/p/r/tiny:1"
SCRIPT = {"startup_script": "exec serve"}
SCHEDULE = {"cron": "0 8 * * *", "duration_seconds": 3600, "min": 2}
METRIC = {"name": "custom.googleapis.com/queue", "target": 1}
T4 = {"type": "nvidia-tesla-t4"}
STEP = (
    'an integer from 1 to 100, {"percent": 1 to 100} or {"approve": {"by": ...}}; with strategy'
    ' canary or blue_green also {"weight": 0.1 to 100}, {"preview": true}, {"match": {"header":'
    ' ..., "value": ...}} or {"mirror": 0.1 to 100}; each with "hold_seconds": 0 to 86400 and,'
    ' if it sends requests, "min_requests": 1 or more'
)


def problems_of(patch: dict[str, Any]) -> list[str]:
    with pytest.raises(Invalid) as refused:
        resolve(ReleaseRequested("tiny", "1", {"artifact": {"image": IMAGE}} | patch), None)
    return [str(problem) for problem in refused.value.problems]


ERRORS: list[tuple[dict[str, Any], str]] = [
    (
        {"artifact": {"image": IMAGE, **SCRIPT}},
        (
            "artifact: needs exactly one of image and startup_script; set the other to"
            " null, got both"
        ),
    ),
    (
        {"artifact": {"args": ["-v"]}},
        "artifact: is required, with exactly one of image and startup_script, got neither",
    ),
    (
        {"artifact": {**SCRIPT, "args": ["-v"]}},
        "artifact.args: must be left out, or null, beside startup_script; it requires image",
    ),
    (
        {"artifact": {**SCRIPT, "secrets": {"A": "b"}}},
        ("artifact.secrets: must be left out, or null, beside startup_script; it requires image"),
    ),
    (
        {"artifact": {"image": IMAGE, "env": {"A": "b", "B": "c"}, "secrets": {"B": "b"}}},
        "artifact.env.B: must be left out: artifact.secrets.B sets the same variable",
    ),
    ({"scaling": {"min": 6}}, "scaling.min: must be at most scaling.max (5), got 6"),
    (
        {"scaling": {"min": 0}},
        (
            "scaling.min: must be at least 1 unless scaling.metrics has a metric with per_instance,"
            " or scaling.schedules an enabled schedule, got 0"
        ),
    ),
    (
        {"scaling": {"schedules": {"day": {**SCHEDULE, "min": 6}}}},
        "scaling.schedules.day.min: must be at most scaling.max (5), got 6",
    ),
    (
        {"scaling": {"schedules": {"day": {**SCHEDULE, "min": 0}}}},
        "scaling.schedules.day.min: must be at least scaling.min (1), got 0",
    ),
    (
        {"scaling": {"metrics": [METRIC, {**METRIC, "name": "a.b/c"}, METRIC]}},
        (
            "scaling.metrics[2].name: must not be repeated in scaling.metrics, got"
            ' "custom.googleapis.com/queue"'
        ),
    ),
    (
        {"scaling": {"scale_in": {"max_instances": 0, "max_percent": 0}}},
        (
            "scaling.scale_in: needs exactly one of max_instances and max_percent; set the"
            " other to null, got both"
        ),
    ),
    (
        {"scaling": {"scale_in": {}}},
        "scaling.scale_in: needs exactly one of max_instances and max_percent, got neither",
    ),
    (
        {"scaling": {"load_balancing": {}}, "traffic": {"exposure": "none"}},
        (
            'scaling.load_balancing: must be left out, or null, with traffic.exposure "none": there'
            " is no backend"
        ),
    ),
    (
        {"traffic": {"max_rate_per_instance": 10}},
        (
            "traffic.max_rate_per_instance: must be left out, or null, unless"
            ' traffic.balancing_mode is "rate"'
        ),
    ),
    (
        {"traffic": {"balancing_mode": "rate"}},
        'traffic.max_rate_per_instance: is required with traffic.balancing_mode "rate"',
    ),
    (
        {"traffic": {"balancing_mode": "rate", "max_rate_per_instance": 9, "max_utilization": 0.5}},
        'traffic.max_utilization: must be left out, or null, with traffic.balancing_mode "rate"',
    ),
    (
        {"traffic": {"exposure": "none", "host": "*"}},
        (
            'traffic.host: must be left out with traffic.exposure "none": there is no backend and'
            " no route"
        ),
    ),
    (
        {"machine": {"type": "e2-standard-4", "accelerator": T4}},
        (
            "machine.accelerator: must be left out: e2-standard-4 supports none (n1 supports some;"
            ' g2, g4, a2, a3, a4, a4x include theirs), got "nvidia-tesla-t4 x 1"'
        ),
    ),
    (
        {"machine": {"type": "g2-standard-12", "accelerator": T4}},
        (
            "machine.accelerator.type: must be nvidia-l4 or left out: g2-standard-12 includes its"
            ' own, got "nvidia-tesla-t4"'
        ),
    ),
    (
        {"machine": {"type": "g2-standard-24", "accelerator": {"type": "nvidia-l4", "count": 1}}},
        "machine.accelerator.count: must be 2 or left out: g2-standard-24 includes its own, got 1",
    ),
    (
        {"machine": {"type": "g2-standard-999"}},
        "machine.accelerator: is required: the number of GPUs of g2-standard-999 is unknown",
    ),
    (
        {"machine": {"accelerator": {"type": "nvidia-l4"}}},
        (
            "machine.accelerator.type: must be one that n1-standard-1 supports: nvidia-tesla-t4,"
            ' nvidia-tesla-v100, nvidia-tesla-p4, nvidia-tesla-p100, got "nvidia-l4"'
        ),
    ),
    (
        {"machine": {"accelerator": {**T4, "count": 3}}},
        "machine.accelerator.count: must be 1, 2, 4 for nvidia-tesla-t4, got 3",
    ),
    (
        {"placement": {"zones": ["us-central1-a", "us-central2-b"]}},
        'placement.zones[1]: must be a zone of placement.region (us-central1), got "us-central2-b"',
    ),
    (
        {"machine": {"subnetwork": "regions/us-east1/subnetworks/s"}},
        (
            "machine.subnetwork: must be in placement.region (us-central1), got"
            ' "regions/us-east1/subnetworks/s"'
        ),
    ),
    (
        {"rollout": {"surge": 2}},
        "rollout.surge: must be 0 or at least 3, the number of zones, got 2",
    ),
    (
        {"rollout": {"unavailable": 1}},
        "rollout.unavailable: must be 0 or at least 3, the number of zones, got 1",
    ),
    (
        {"rollout": {"surge": 0, "unavailable": 0}},
        (
            "rollout.surge: must be at least 3 when rollout.unavailable is 0: with neither, no"
            " instance can be replaced, got 0"
        ),
    ),
    (
        {"rollout": {"steps": [50, 10, 100]}},
        "rollout.steps: must rise strictly and end at 100, got [50, 10, 100]",
    ),
    (
        {"rollout": {"steps": [0]}},
        f"rollout.steps[0]: must be {STEP}, got 0",
    ),
    (
        {"rollout": {"steps": [{}, 100]}},
        "rollout.steps[0]: needs one of weight, percent, preview, match, mirror, approve",
    ),
    (
        {"rollout": {"strategy": "canary", "steps": [{"setWeight": 5}, {"weight": 100}]}},
        "rollout.steps[0]: needs one of weight, percent, preview, match, mirror, approve; did you"
        " mean weight?",
    ),
    (
        {"rollout": {"strategy": "canary", "steps": [{"preview": True, "weight": 100}]}},
        "rollout.steps[0]: must be of one kind, and has weight and preview; make two steps",
    ),
    (
        {"rollout": {"steps": [{"approve": {"by": "model-approvals"}}, 100]}},
        "rollout.steps[0]: must have a percent with strategy rolling: an approval comes after one,"
        " got approval by model-approvals",
    ),
    (
        {"rollout": {"strategy": "canary", "steps": [{"weight": 5}, 100]}},
        'rollout.steps: must end with {"weight": 100}, which gives the new release all requests; a'
        " percent gives it none, got 5 % of the requests, 100 %",
    ),
    (
        {"rollout": {"strategy": "canary", "steps": [{"mirror": 10}, {"weight": 100}]}},
        "rollout.steps[0].mirror: must be left out unless traffic.mirror_safe is true: a copy of a"
        " request takes effect once more; set it if requests change nothing, got 10",
    ),
    (
        {"rollout": {"steps": [{"percent": 100, "min_requests": 200}]}},
        "rollout.steps[0].min_requests: must be left out of a step that sends no requests of its"
        " own to the new release, got 200",
    ),
    (
        {"machine": {"shielded_vm": {"vtpm": False}}},
        (
            "machine.shielded_vm.integrity_monitoring: must be false when machine.shielded_vm.vtpm"
            " is false"
        ),
    ),
    (
        {"serving": {"startup_seconds": 900}, "rollout": {"progress_deadline_seconds": 900}},
        (
            "rollout.progress_deadline_seconds: must be more than serving.startup_seconds (900), or"
            " left out, got 900"
        ),
    ),
    (
        {"machine": {"type": "c4-standard-4", "disk": {"type": "pd-ssd"}}},
        (
            "machine.disk.type: must be hyperdisk-balanced or left out: c4-standard-4 uses"
            " Hyperdisk only, got pd-ssd"
        ),
    ),
    (
        {"machine": {"disk": {"type": "hyperdisk-balanced"}}},
        (
            "machine.disk.type: must be a pd type or left out: n1-standard-1 does not support"
            " hyperdisk-balanced, got hyperdisk-balanced"
        ),
    ),
    (
        {"machine": {"spot": True, "reservation": "h100s"}},
        (
            'machine.reservation: must be "any" or "none" with machine.spot: Spot instances use no'
            " reserved capacity, got h100s"
        ),
    ),
    (
        {"artifact": {"image": None, "startup_script": "x", "ulimits": {"nofile": 1024}}},
        ("artifact.ulimits: must be left out, or null, beside startup_script; it requires image"),
    ),
    (
        {"machine": {"labels": {"team": "a", "slipway-x": "1"}}},
        "machine.labels.slipway-x: must not begin with slipway: these labels are reserved",
    ),
    (
        {"rollout": {"abort_on_alerts": ["errors", "late\u200bncy"]}},
        "rollout.abort_on_alerts[1]: must have visible characters only, got late\\u200bncy",
    ),
    (
        {"scaling": {"schedules": {"day": {**SCHEDULE, "description": "a\u3164b"}}}},
        "scaling.schedules.day.description: must have visible characters only, got a\\u3164b",
    ),
    (
        {"scaling": {"metrics": [{"name": "a.b/c"}]}},
        "scaling.metrics[0]: needs exactly one of target and per_instance",
    ),
    (
        {
            "scaling": {
                "metrics": [{"name": "a.b/c", "per_instance": 1, "type": "delta_per_minute"}]
            }
        },
        "scaling.metrics[0]: type must be left out beside per_instance: it applies to target",
    ),
]


@pytest.mark.parametrize(
    ("patch", "message"), ERRORS, ids=[message.split(":")[0] for _, message in ERRORS]
)
def test_a_broken_rule_says_what_to_change(patch: dict[str, Any], message: str) -> None:
    assert problems_of(patch) == [message]


def env_of(size: int) -> dict[str, str]:
    """Variables of this many bytes, including `=` and a line feed for each."""
    full, rest = divmod(size - 10, 8004)
    return {f"A{number}": "x" * 8000 for number in range(full)} | {
        "LAST": "é" * (rest // 2) + "x" * (rest % 2 + 4)
    }


@pytest.mark.parametrize(("over", "is_refused"), [(0, False), (1, True)])
def test_the_sizes_of_variables_and_arguments_are_exact(over: int, is_refused: bool) -> None:
    limit = 65536
    env = env_of(limit + over)
    assert (
        sum(len(name.encode()) + len(value.encode()) + 2 for name, value in env.items())
        == limit + over
    )
    args = ["x" * 4094] * 16 if not over else ["x" * 4094] * 15 + ["é" * 2047 + "x"]
    for field, value in (("env", env), ("args", args)):
        patch = {"artifact": {"image": IMAGE, field: value}}
        if is_refused:
            assert problems_of(patch) == [
                f"artifact.{field}: must be at most 65536 bytes in total, got 65537"
            ]
        else:
            assert resolve(ReleaseRequested("tiny", "1", patch), None)


@pytest.mark.parametrize(
    "patch",
    [
        {"scaling": {"min": 5}},
        {
            "scaling": {
                "schedules": {"day": {**SCHEDULE, "min": 5}, "night": {**SCHEDULE, "min": 1}}
            }
        },
        {"scaling": {"min": 0, "metrics": [{"name": "a.b/c", "per_instance": 1}]}},
        {
            "scaling": {
                "min": 0,
                "schedules": {"off": {**SCHEDULE, "disabled": True}, "day": SCHEDULE},
            }
        },
        {
            "scaling": {
                "min": 0,
                "schedules": {"none": {**SCHEDULE, "min": 0}, "day": {**SCHEDULE, "min": 1}},
            }
        },
        {"rollout": {"surge": 3}},
        {"rollout": {"surge": 0, "unavailable": 3}},
        {"machine": {"shielded_vm": {"integrity_monitoring": False}}},
        {"machine": {"labels": {"my-slipway": "1"}}},
        {"machine": {"type": "g2-standard-999", "accelerator": {"type": "nvidia-l4", "count": 5}}},
    ],
    ids=str,
)
def test_a_value_at_the_limit_is_accepted(patch: dict[str, Any]) -> None:
    assert resolve(ReleaseRequested("tiny", "1", {"artifact": {"image": IMAGE}} | patch), None)


@pytest.mark.parametrize(
    "patch",
    [
        {"scaling": {"max": 3}},
        {"scaling": {"min": 4, "max": None}},
        {"rollout": {"surge": 2, "unavailable": 0}},
        {"placement": {"zones": ["us-east1-b"]}},
        {"machine": {"subnetwork": "regions/us-east1/subnetworks/s"}},
        {"artifact": {**SCRIPT, "args": ["-v"]}},
        {"scaling": {"load_balancing": {}}},
        {"machine": {"shielded_vm": {"vtpm": False}}},
    ],
    ids=str,
)
def test_a_message_is_not_checked_for_fields_that_it_leaves_out(patch: dict[str, Any]) -> None:
    """An inherited value may fix the problem."""
    assert parse({"model": "tiny", "version": "2", **patch})


def test_all_problems_of_a_command_are_reported() -> None:
    with pytest.raises(Invalid) as refused:
        parse(
            {
                "model": "tiny",
                "command": "retire",
                "version": "3",
                "reason": "two\nlines",
                "force": True,
            }
        )
    assert [str(problem) for problem in refused.value.problems] == [
        'reason: must be one line of at most 500 printable characters, got "two\\nlines"',
        (
            "force: is not a known field (known: command, full, model, reason, requested_by,"
            " signature, version), got true"
        ),
        "version: must be left out: retire applies to the model with all its releases",
    ]


def context(
    given: dict[str, Any], whole: bool = False, removed: tuple[tuple[str, ...], ...] = ()
) -> RuleContext:
    return RuleContext(Sections(), given, whole, frozenset(removed))


@pytest.mark.parametrize(
    ("given", "gives", "knows"),
    [
        ({"traffic": {"host": "a"}}, True, True),
        ({"traffic": {"host": None}}, False, True),
        ({"traffic": {"path": "/"}}, False, False),
        ({"traffic": None}, False, True),
        ({"traffic": 3}, False, False),
        ({}, False, False),
    ],
)
def test_a_message_gives_a_value_or_determines_a_default(
    given: dict[str, Any], gives: bool, knows: bool
) -> None:
    assert context(given).gives("traffic.host") is gives
    assert context(given).knows("traffic.host") is knows
    assert context(given, whole=True).knows("traffic.host", "traffic.path")
    assert context(given).knows("traffic.host", "machine.type") is False


@pytest.mark.parametrize(
    ("removed", "knows"),
    [
        (("traffic", "host"), False),
        (("traffic",), False),
        (("traffic", "host", "more"), False),
        (("traffic", "path"), True),
        (("machine",), True),
    ],
)
def test_a_removed_part_is_not_known(removed: tuple[str, ...], knows: bool) -> None:
    assert context({"traffic": {"host": "a"}}, removed=(removed,)).knows("traffic.host") is knows
    assert context({}, whole=True, removed=(removed,)).knows("traffic.host") is knows


def whole(**patch: Any) -> Spec:
    return resolve(ReleaseRequested("tiny", "1", {"artifact": {"image": IMAGE}} | patch), None)


WAY_OUT = "; retire the model first, or release it under another name"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            {},
            {"placement": {"region": "us-east1"}},
            (
                'placement.region: must stay "us-central1" (a group cannot move to another'
                ' region)~, got "us-east1"'
            ),
        ),
        (
            {"placement": {"zones": ["us-central1-b", "us-central1-a"]}},
            {},
            (
                'placement.zones: must stay ["us-central1-a", "us-central1-b"] (a group\'s zones'
                " are fixed when it is created)~, got unset"
            ),
        ),
        (
            {},
            {"placement": {"zones": ["us-central1-a"]}},
            (
                "placement.zones: must stay unset (a group's zones are fixed when it is created)~,"
                ' got ["us-central1-a"]'
            ),
        ),
        (
            {"machine": {"subnetwork": "regions/us-central1/subnetworks/s"}},
            {},
            (
                'machine.subnetwork: must stay "regions/us-central1/subnetworks/s" (all'
                " templates of a group must use the same subnetwork)~, got unset"
            ),
        ),
        (
            {},
            {"machine": {"subnetwork": "regions/us-central1/subnetworks/s"}},
            (
                "machine.subnetwork: must stay unset (all templates of a group must use the"
                ' same subnetwork)~, got "regions/us-central1/subnetworks/s"'
            ),
        ),
        (
            {"serving": {"port": 8000}},
            {"serving": {"port": 9000}},
            (
                "serving.port: must stay 8000 (old and new instances share the group's"
                " named port)~, got 9000"
            ),
        ),
    ],
)
def test_an_incompatible_change_is_reported_with_both_values(
    before: dict[str, Any], after: dict[str, Any], message: str
) -> None:
    problems = incompatible(whole(**before), whole(**after))
    assert [str(problem) for problem in problems] == [message.replace("~", WAY_OUT)]


@pytest.mark.parametrize(
    ("patch", "path"),
    [
        (
            {"artifact": {"startup_script": "x", "image": "untagged", "args": ["-v"]}},
            "artifact.image",
        ),
        (
            {"artifact": {"image": IMAGE, "env": {"A": "b"}, "secrets": {"A": "!"}}},
            "artifact.secrets.A",
        ),
        ({"scaling": {"max": 0, "schedules": {"day": {**SCHEDULE, "min": 9}}}}, "scaling.max"),
        (
            {"scaling": {"min": 0, "schedules": {"day": {**SCHEDULE, "cron": "x"}}}},
            "scaling.schedules.day.cron",
        ),
        (
            {"scaling": {"load_balancing": {"target": 2}}, "traffic": {"exposure": "none"}},
            "scaling.load_balancing.target",
        ),
        (
            {"traffic": {"balancing_mode": "both", "max_rate_per_instance": 5}},
            "traffic.balancing_mode",
        ),
        ({"machine": {"type": "N1", "accelerator": {"type": "nvidia-l4"}}}, "machine.type"),
        (
            {"placement": {"region": "us-east1", "zones": ["us-central1-a", "x"]}},
            "placement.zones[1]",
        ),
        (
            {
                "placement": {"region": "nowhere"},
                "machine": {"subnetwork": "regions/us-east1/subnetworks/s"},
            },
            "placement.region",
        ),
        ({"placement": {"zones": ["x"]}, "rollout": {"surge": 2}}, "placement.zones[0]"),
        ({"rollout": {"surge": -1, "unavailable": 0}}, "rollout.surge"),
    ],
    ids=str,
)
def test_an_invalid_field_does_not_also_break_a_rule(patch: dict[str, Any], path: str) -> None:
    assert [message.partition(": ")[0] for message in problems_of(patch)] == [path]
