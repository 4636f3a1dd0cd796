"""What a release does on the emulator before it is published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from rollout.measurements import Unmeasured
from tests.console.terminal import Terminal
from tests.scenario import IMAGE, NO_DRAINING, Scenario

QUICK = {
    "bake_seconds": 10,
    "steps": [{"percent": 100, "hold_seconds": 30}],
    "progress_deadline_seconds": 240,
}


class NothingMeasured:
    """A source of metrics, without which no release may have gates. A plan asks it for the present
    traffic, and a rehearsal asks its own.
    """

    def read_windows(self, *_: object) -> Unmeasured:
        return Unmeasured("no-series", "nothing is measured here")

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


def event(folder: Path, **sections: Any) -> str:
    body = {"model": "tiny", "version": "2", "artifact": {"image": f"{IMAGE}:2"}} | sections
    file = folder / "event.json"
    file.write_text(json.dumps(body))
    return str(file)


def test_a_release_is_rehearsed_as_planned_and_as_it_may_go_wrong(tmp_path: Path) -> None:
    """With gates, a minimum of requests, an approval, a freeze window, and a cap that other models
    use, too.
    """
    scenario = Scenario()
    scenario.given_metrics(NothingMeasured())
    scenario.given_serving("1", scaling={"min": 2, "max": 3}, rollout=QUICK)
    scenario.given_serving("1", model="other", scaling={"min": 1, "max": 4}, rollout=QUICK)
    scenario.given_policy(
        freezes=[{"reason": "fair", "from": "2026-01-01T00:00", "to": "2026-01-01T02:00"}],
        max_project_instances=40,
    )
    approval = {"approve": {"by": "model-approvals"}}
    steps = [{"weight": 50, "hold_seconds": 0, "min_requests": 1000}, approval, {"weight": 100}]
    canary = {"strategy": "canary", "steps": steps, "gates": {"http_errors": {}}}
    before = scenario.resources(), scenario.log(), scenario.clock.now()
    picture = tmp_path / "rollout.svg"
    result = Terminal(scenario).run(
        "rehearse",
        event(tmp_path, rollout=canary),
        *("--approve-after", "300", "--picture", str(picture), "--output", "json"),
    )
    assert result.status == 0
    assert (scenario.resources(), scenario.log(), scenario.clock.now()) == before
    plan, cases = result.json["plan"], {each["case"]: each for each in result.json["rehearsals"]}
    planned, sick = cases["as planned"], cases["never healthy"]
    assert (planned["outcome"], planned["serving"]) == ("succeeded", "2")
    assert (planned["peak"], planned["lowest"]) == (plan["peak"]["instances"], plan["lowest"])
    assert planned["timeline"][0]["to"] == "desired"
    assert planned["timeline"][-1]["to"] == "succeeded"
    assert planned["timeline"][1]["seconds"] > 6000  # from the fair's end on
    assert planned["seconds"] > planned["timeline"][1]["seconds"] + 600  # 5 windows, an approval
    assert any("of 1000 requests have reached" in each["why"] for each in planned["timeline"])
    assert "approved by the rehearsal" in str(planned["timeline"])
    assert "other models may use 7 instances of the caps" in result.json["assumed"]
    assert "each approval comes after 5 min (--approve-after)" in result.json["assumed"]
    harmful = cases["failing gates"]
    assert (harmful["outcome"], harmful["reason"], harmful["serving"]) == (
        "rolled_back",
        "gate",
        "1",
    )
    assert (sick["outcome"], sick["reason"], sick["serving"]) == ("rolled_back", "unhealthy", "1")
    assert cases["slow"]["seconds"] > planned["seconds"]
    scarce = cases["stock-out"]
    assert (scarce["outcome"], scarce["reason"], scarce["lowest"]) == (
        "rolled_back",
        "stock-out",
        2,
    )
    assert ElementTree.fromstring(picture.read_text()).tag.endswith("svg")


@pytest.mark.wide
def test_a_first_release_is_rehearsed(tmp_path: Path) -> None:
    file = event(tmp_path, scaling={"min": 1, "max": 1}, traffic=NO_DRAINING, rollout=QUICK)
    result = Terminal(Scenario()).run("rehearse", file)
    lines = [" ".join(line.split()) for line in result.out.splitlines()]
    assert result.status == 0, result.notes
    assert max(map(len, result.out.splitlines())) <= 80
    assert lines[0] == "release 2 of tiny, on the emulator"
    assert any(line.startswith("as planned succeeded") for line in lines)
    assert any(line.startswith("stock-out rolled_back") for line in lines)


def test_what_would_be_refused_is_not_rehearsed(tmp_path: Path) -> None:
    result = Terminal(Scenario()).run("rehearse", event(tmp_path, scaling={"max": "many"}))
    assert (result.status, result.out.splitlines()[0]) == (2, "refused")
    assert "scaling.max: must be an integer" in result.out
