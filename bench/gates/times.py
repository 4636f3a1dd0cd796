"""How long a gate takes at which traffic, as the table in `docs/gates.md`.

    python -m bench.gates.times           writes it
    python -m bench.gates.times --check   prints whether it is stale, and fails if it is

Computed by `rollout/gate_times.py`, as in a plan.
"""

from __future__ import annotations

import sys
from functools import cache

from bench.gates.releases import ERRORS
from bench.gates.slipway import release
from rollout import gate_times
from rollout.gate_times import GateTraffic
from rollout.model import Rollout
from rollout.spec.steps import DEFAULT_WEIGHTS
from schemas.generate import ROOT, replace_marked

PAGE = ROOT / "docs/gates.md"
SHARE = 0.01
WEIGHTS = tuple(weight for weight, _ in DEFAULT_WEIGHTS if weight < 100)
TRAFFIC = (2, 10, 100, 1000)
RATIOS = (2, 5, 10)


def _pass(weight: float, traffic: float) -> int | None:
    """The windows after which a release passes that is as good as the stable one."""
    step = WEIGHTS.index(weight)
    return gate_times.windows_to_pass(_rollout(), ERRORS, step, weight / 100, _served(traffic))


def _fail(weight: float, traffic: float, ratio: float) -> int | None:
    """The windows after which a release fails that has `ratio` times the bad requests."""
    step, share = WEIGHTS.index(weight), weight / 100
    return gate_times.windows_to_fail(_rollout(), ERRORS, step, share, _served(traffic), ratio)


def _served(traffic: float) -> GateTraffic:
    return GateTraffic(traffic, SHARE)


@cache
def _rollout() -> Rollout:
    return Rollout(stable=release("1"), candidate=release("2", (ERRORS,)), serving_group="blue")


def table() -> str:
    """A row for each weight and traffic. All windows of a row are minutes."""
    columns = ["good: passes", *(f"{ratio} times: fails" for ratio in RATIOS)]
    rows = [
        [f"{weight:g} %", f"{traffic:,}", _text(_pass(weight, traffic))]
        + [_text(_fail(weight, traffic, ratio)) for ratio in RATIOS]
        for weight in WEIGHTS
        for traffic in TRAFFIC
    ]
    head = ["weight", "requests a second", *columns]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _text(windows: int | None) -> str:
    return f"over {gate_times.MOST}" if windows is None else str(windows)


def update(text: str) -> str:
    """The page's text with a new table."""
    return replace_marked(text, "times", table())


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print("usage: python -m bench.gates.times [--check]")
        return 2
    text = PAGE.read_text("utf-8")
    fresh = update(text)
    if arguments:
        if fresh != text:
            print("docs/gates.md is stale; run python -m bench.gates.times")
        return int(fresh != text)
    PAGE.write_text(fresh, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
