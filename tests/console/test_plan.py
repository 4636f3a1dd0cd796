"""What `slipway plan` says of a release, and whether the rollout then does that."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from infra.metrics.port import Metrics
from rollout.measurements import (
    Counts,
    GateQuery,
    Unmeasured,
    WindowAnswer,
    WindowMeasured,
    Windows,
)
from rollout.spec.steps import DEFAULT_WEIGHTS
from tests.console.terminal import Result, Terminal
from tests.scenario import IMAGE, Scenario

GOLDEN = Path(__file__).parent / "golden_plan.txt"
Write = Callable[..., str]
MINUTE = timedelta(minutes=1)


def event(version: str = "2", **sections: Any) -> dict[str, Any]:
    return {
        "model": "tiny",
        "version": version,
        "artifact": {"image": f"{IMAGE}:{version}"},
    } | sections


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(body: object) -> str:
        file = tmp_path / "event.json"
        file.write_text(json.dumps(body))
        return str(file)

    return to_file


@pytest.fixture
def serving() -> Scenario:
    scenario = Scenario()
    scenario.given_serving("1", scaling={"min": 6, "max": 12}, rollout={"bake_seconds": 60})
    return scenario


def plan(scenario: Scenario, file: str) -> Result:
    return Terminal(scenario).run("plan", file, "--output", "json")


@pytest.mark.parametrize(
    "rollout",
    [
        {"steps": [10, 50, 100]},
        {"unavailable": 3, "steps": [{"percent": 100, "hold_seconds": 0}]},
        {"strategy": "canary", "keep_old_seconds": 0, "steps": [{"weight": 20}, {"weight": 100}]},
    ],
    ids=["rolling", "unavailable", "canary"],
)
def test_a_rollout_does_what_its_plan_says(
    serving: Scenario, write: Write, rollout: dict[str, Any]
) -> None:
    body = event(rollout=rollout)
    result = plan(serving, write(body))
    found = result.json
    assert (result.status, found["problems"]) == (2, [])
    exist: list[int] = []
    healthy: list[int] = []

    def watch() -> None:
        running = serving.instances()
        exist.append(len(running))
        healthy.append(sum(each.healthy for each in running))

    serving.given_watcher(watch)
    serving.when_published(body)
    began = serving.clock.now()
    while not serving.outcome("2"):
        serving.when_seconds_pass(30)
    took = (serving.clock.now() - began).total_seconds()
    assert (max(exist), min(healthy)) == (found["peak"]["instances"], found["lowest"])
    assert found["seconds"] == pytest.approx(took, rel=0.3)
    created = {each["resource"] for each in found["changes"] if each["sign"] == "+"}
    assert {name.rpartition(" ")[2] for name in created} <= {
        each.partition("/")[2] for each in serving.resources()
    }


def test_a_plan_writes_nothing_and_publishes_nothing(serving: Scenario, write: Write) -> None:
    before = serving.store.list("models", 10, None), serving.resources(), serving.log()
    assert plan(serving, write(event())).status == 2
    assert (serving.store.list("models", 10, None), serving.resources(), serving.log()) == before


def test_a_release_that_was_accepted_changes_nothing(serving: Scenario, write: Write) -> None:
    serving.when_published(event())
    serving.when_settled("tiny")
    result = plan(serving, write(event()))
    assert (result.status, result.json["is_unchanged"]) == (0, True)
    other = plan(serving, write(event(serving={"port": 9000})))
    assert (other.status, other.json["is_refused"]) == (2, True)
    assert "exists with other content" in other.json["problems"][0]


def test_a_plan_says_what_would_be_refused_or_fail(serving: Scenario, write: Write) -> None:
    wrong = plan(serving, write(event(scaling={"max": "many"})))
    assert (wrong.status, wrong.json["is_refused"]) == (2, True)
    assert wrong.json["problems"][0].startswith("scaling.max: must be an integer")
    serving.given_policy(max_instances=10)
    above = plan(serving, write(event(scaling={"max": 12})))
    assert above.json["problems"][0].startswith("scaling.max: policy allows 10 instances")
    serving.given_policy(
        freezes=[{"reason": "fair", "from": "2000-01-01T00:00", "to": "2100-01-01T00:00"}]
    )
    missing = plan(serving, write(event(machine={"type": "n1-standard-9"})))
    assert missing.json["problems"][0].startswith("machine.type: n1-standard-9 does not exist")
    assert missing.json["notes"][0] == "frozen from 2000-01-01 00:00 to 2100-01-01 00:00 UTC: fair"
    assert missing.json["notes"][1].startswith("with these windows it would end at 2100-01-01 00:")


class Measured:
    """A source of metrics: 20 requests a second, 1 % bad; or none that answers."""

    is_reachable = True

    def read_windows(self, query: GateQuery, *_: object) -> WindowAnswer:
        if not self.is_reachable:
            return Unmeasured("http", "cannot reach it")
        counts = Counts(12.0, 1200.0)
        return Windows((WindowMeasured(query.since, query.since + MINUTE, counts),), "")


def test_gates_take_as_long_as_the_present_traffic_needs(serving: Scenario, write: Write) -> None:
    source = Measured()
    serving.given_metrics(cast(Metrics, source))
    steps = [{"weight": weight, "hold_seconds": 60} for weight, _ in DEFAULT_WEIGHTS]
    canary = {"strategy": "canary", "steps": steps, "gates": {"http_errors": {}}}
    found = plan(serving, write(event(rollout=canary))).json
    # docs/gates.md, with 5 %: 15 windows at 10 requests a second, 3 at 100. And a minute's warm-up.
    assert steps[1]["weight"] == 5
    assert 60 * 5 < found["steps"][1]["hold_seconds"] < 60 * 15
    assert "for the present traffic, 20 requests/s with 1.00% bad" in found["notes"][0]
    source.is_reachable = False
    unknown = plan(serving, write(event(rollout=canary))).json
    assert (unknown["steps"][1]["hold_seconds"], unknown["untimed_gates"]) == (
        60 * 4,
        ["http_errors"],
    )
    assert "step 1 takes 4 min at 100 requests/s, 11 min at 10" in unknown["notes"][0]
    assert unknown["notes"][0].endswith("(cannot reach it)")


def test_a_command_has_no_plan(serving: Scenario, write: Write) -> None:
    result = Terminal(serving).run("plan", write({"model": "tiny", "command": "pause"}))
    assert (result.status, result.out) == (1, "")
    assert "FILE: must have a release" in result.notes


def test_the_output_is_the_golden_one(serving: Scenario, write: Write) -> None:
    body = event(
        rollout={"strategy": "canary", "steps": [{"weight": 5}, {"weight": 100}]},
        scaling={"max": 20},
    )
    result = Terminal(serving).run("plan", write(body))
    found = "\n".join(line.rstrip() for line in result.out.splitlines()) + "\n"
    assert max(map(len, found.splitlines())) <= 80
    found = re.sub("slipway-tiny-[0-9a-f]{10}", "slipway-tiny-0123456789", found)
    assert found == GOLDEN.read_text()


# ---- Applying a plan


def planned(scenario: Scenario, write: Write, folder: Path, **sections: Any) -> str:
    out = str(folder / "plan.json")
    result = Terminal(scenario).run("plan", write(event(**sections)), "--out", out)
    assert result.status == 2, result.notes
    return out


def test_a_plan_is_applied_if_nothing_changed(
    serving: Scenario, write: Write, tmp_path: Path
) -> None:
    serving.given_load("slipway-tiny-blue", cpu=0.9)
    file = planned(serving, write, tmp_path)
    serving.when_seconds_pass(300)  # the autoscaler moves the size, which a plan does not decide
    result = Terminal(serving).run("publish", "--plan", file, "--wait")
    assert (result.status, serving.serving_version()) == (0, "2")


def test_why_shows_what_was_predicted_beside_what_was_observed(
    serving: Scenario, write: Write, tmp_path: Path
) -> None:
    file = planned(serving, write, tmp_path)
    plan_of_it = json.loads(Path(file).read_text())["plan"]
    terminal = Terminal(serving)
    assert terminal.run("publish", "--plan", file, "--wait").status == 0
    found = terminal.run("why", "tiny", "2", "--output", "json").json
    predicted, actual = found["predicted"], found["actual"]
    assert predicted["seconds"] == plan_of_it["seconds"]
    assert predicted["cost"] == pytest.approx(plan_of_it["peak"]["cost"])
    numbers = (plan_of_it["peak"]["instances"], plan_of_it["lowest"])
    for each in (predicted, actual):
        assert (each["instances"], each["lowest"]) == numbers
        assert [phase["phase"] for phase in each["phases"]][::3] == ["step_1", "baking"]
    assert actual["seconds"] == pytest.approx(predicted["seconds"], rel=0.3)
    assert actual["seconds"] == pytest.approx(
        sum(each["seconds"] for each in actual["phases"]), 0.01
    )
    [newest, _] = terminal.run("history", "tiny", "--output", "json").json
    assert newest["course"] == {"predicted": predicted, "actual": actual, "has_ended": True}
    by_file = terminal.run("why", "tiny", "2", "--plan", file, "--output", "json").json
    assert by_file["predicted"] == predicted
    other = terminal.run("why", "tiny", "1", "--plan", file)
    assert (other.status, "is about release 2 of tiny, not 1" in oneline(other, "notes")) == (
        1,
        True,
    )
    none = terminal.run("why", "tiny", "2", "--plan", write(event()))
    assert (none.status, "is no plan" in oneline(none, "notes")) == (1, True)


def test_a_plan_whose_documents_changed_is_refused_by_name(
    serving: Scenario, write: Write, tmp_path: Path
) -> None:
    file = planned(serving, write, tmp_path)
    serving.given_policy(max_instances=100)
    result = Terminal(serving).run("publish", "--plan", file)
    assert result.status == 2
    assert "plan: the policy changed after it was planned; plan it again" in oneline(result)
    file = planned(serving, write, tmp_path)
    serving.given_serving("9", scaling={"max": 14})
    result = Terminal(serving).run("publish", "--plan", file)
    assert "the merged spec and the release that it inherits from changed" in oneline(result)


def test_a_plan_that_would_take_other_actions_is_refused_by_the_first_pass(
    serving: Scenario, write: Write, tmp_path: Path
) -> None:
    file = planned(serving, write, tmp_path)
    serving.emulator.call(
        "PATCH",
        "regions/us-central1/autoscalers?autoscaler=slipway-tiny-blue",
        {"autoscalingPolicy": {"maxNumReplicas": 7}},
    )
    serving.when_seconds_pass(5)
    result = Terminal(serving).run("publish", "--plan", file, "--wait")
    assert (result.status, serving.outcome("2")) == (2, "refused")
    assert "what has to be done changed after it was planned" in serving.why("2")
    assert "regionAutoscalers" in serving.why("2")
    assert serving.serving_version() == "1"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda each: each | {"hash": None}, "is no plan"),
        (lambda each: each | {"hash": ""}, "is no plan"),
        (lambda each: each | {"event": each["event"] | {"version": "7"}}, "is no plan"),
        (lambda each: each | {"event": []}, "is no plan"),
        (lambda each: each | {"project": "other"}, "was made in project other, and this is demo"),
    ],
    ids=["no hash", "empty hash", "other version", "no event", "other project"],
)
def test_a_plan_that_somebody_edited_or_moved_is_not_published(
    serving: Scenario, write: Write, tmp_path: Path, change: Callable[[Any], Any], why: str
) -> None:
    file = Path(planned(serving, write, tmp_path))
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    sent = len(serving.published)
    result = Terminal(serving).run("publish", "--plan", str(file))
    assert (result.status, why in oneline(result, "notes")) == (1, True)
    assert len(serving.published) == sent


def test_a_file_that_is_no_plan_is_an_error(serving: Scenario, write: Write) -> None:
    result = Terminal(serving).run("publish", "--plan", write(event()))
    assert result.status == 1
    assert "is no plan; slipway plan FILE --out writes one" in " ".join(result.notes.split())
    both = Terminal(serving).run("publish")
    assert (both.status, "give a file with an event, or --plan" in both.notes) == (1, True)


def oneline(result: Result, stream: str = "out") -> str:
    return " ".join(getattr(result, stream).split())
