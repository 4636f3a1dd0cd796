"""What commands that send or foresee something write, in a scenario: `golden_sent.txt`.

`python -m tests.console.golden_sent` writes the file anew; look at the difference.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.console.terminal import Terminal
from tests.scenario import IMAGE, Scenario

FILE = Path(__file__).parent / "golden_sent.txt"
NUMBER = re.compile(r"message \d+ on")
STEPS = [
    {"percent": 50, "hold_seconds": 600},
    {"approve": {"by": "model-approvals"}},
    {"percent": 100, "hold_seconds": 0},
]
SESSION: tuple[tuple[str, ...], ...] = (
    ("publish", "bad.json"),
    ("plan", "2.json", "--out", "plan.json"),
    ("rehearse", "2.json"),
    ("publish", "--plan", "plan.json"),
    ("pause", "tiny", "--reason", "a look at the logs"),
    ("resume", "tiny"),
    ("approve", "tiny"),
    ("promote", "tiny"),
    ("approve", "tiny", "--by", "ann"),
    ("abort", "tiny", "--reason", "wrong answers", "--wait"),
    ("retry", "tiny"),
    ("reject", "tiny", "--reason", "not today"),
    ("publish", "quick.json", "--wait"),
    ("why", "tiny", "3"),
    ("why", "tiny", "2", "--plan", "plan.json"),
    ("rollback", "tiny", "--wait"),
    ("stop", "--reason", "incident 42", "--by", "ann"),
    ("start",),
    ("policy", "check", "policy.json"),
    ("policy", "set", "policy.json", "--yes"),
    ("policy", "allow", "machine_types=e2-small", "--yes"),
    ("policy", "show"),
    ("retire", "tiny", "--yes"),
)
PHASES = {("approve", "tiny", "--by", "ann"): "step_2"}
"""Until when to wait before a command."""


def text() -> str:
    scenario = Scenario()
    scenario.given_serving("1", rollout={"bake_seconds": 60})
    with TemporaryDirectory() as folder:
        files = {
            "bad.json": _event("2", scaling={"min": "lots", "mx": 3}),
            "2.json": _event("2", rollout={"steps": STEPS}),
            "policy.json": {"max_instances": 2, "machine_types": ["n1-standard-1"]},
            "quick.json": _event("3", rollout={"steps": [{"percent": 100, "hold_seconds": 0}]}),
        }
        for name, event in files.items():
            (Path(folder) / name).write_text(json.dumps(event))
        printed = []
        for arguments in SESSION:
            if arguments in PHASES:
                scenario.when_phase_reached(PHASES[arguments])
            printed.append(_output(scenario, folder, arguments))
        return "\n".join(printed)


def _event(version: str, **sections: Any) -> dict[str, Any]:
    return {"model": "tiny", "version": version, "artifact": {"image": f"{IMAGE}:{version}"}} | (
        sections
    )


def _output(scenario: Scenario, folder: str, arguments: tuple[str, ...]) -> str:
    found = [f"{folder}/{each}" if each.endswith(".json") else each for each in arguments]
    result = Terminal(scenario).run(*found)
    printed = NUMBER.sub("message 1 on", result.out + result.notes).replace(f"{folder}/", "")
    lines = [line.rstrip() for line in printed.splitlines()]
    command = f"$ slipway {' '.join(arguments)}"
    return "\n".join((command, *lines, f"exit status {result.status}", ""))


if __name__ == "__main__":
    FILE.write_text(text())
