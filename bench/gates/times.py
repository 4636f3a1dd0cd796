"""How long a gate takes at which traffic, as the table in `docs/gates.md`.

    python -m bench.gates.times           writes it
    python -m bench.gates.times --check   prints whether it is stale, and fails if it is

Each window has exactly as many requests and bad ones as are expected, so a release gets its verdict
in about the median time of those whose numbers vary by chance. The verdicts are those of
`rollout/analysis.py`.
"""

from __future__ import annotations

import sys
from functools import cache

from bench.gates.releases import ERRORS
from bench.gates.slipway import NOON, at, release
from rollout import analysis
from rollout.gates.record import GateRecord
from rollout.measurements import Counts, WindowMeasured, Windows
from rollout.model import Evidence, Release, Rollout, Stepping
from rollout.spec.steps import DEFAULT_WEIGHTS
from schemas.generate import ROOT, replace_marked

PAGE = ROOT / "docs/gates.md"
SHARE = 0.01
WEIGHTS = tuple(weight for weight, _ in DEFAULT_WEIGHTS if weight < 100)
TRAFFIC = (2, 10, 100, 1000)
RATIOS = (2, 5, 10)
MOST = 240
"""Windows of a minute."""
FIRST = 10
"""The minute of the first window; the weight has been in effect for long."""


def windows_to_pass(weight: float, traffic: float) -> int | None:
    """The fewest windows after which a release that is as good as the stable one passes; None:
    more than `MOST`.
    """
    if _after(weight, traffic, 1, MOST).verdict != "pass":
        return None
    few, many = 0, MOST
    while many - few > 1:
        middle = (few + many) // 2
        if _after(weight, traffic, 1, middle).verdict == "pass":
            many = middle
        else:
            few = middle
    return many


def windows_to_fail(weight: float, traffic: float, ratio: float) -> int | None:
    """The windows after which a release fails that has `ratio` times the bad requests."""
    record = _after(weight, traffic, ratio, MOST)
    if record.verdict != "fail" or record.evaluated_until is None:
        return None
    return round((record.evaluated_until - at(FIRST)).total_seconds() / 60)


def _after(weight: float, traffic: float, ratio: float, windows: int) -> GateRecord:
    """The gate's record after so many windows of a step, or after the one in which it fails."""
    requests, step = 60 * traffic, WEIGHTS.index(weight)
    candidate, stable = requests * weight / 100, requests * (1 - weight / 100)
    phase = Stepping(step, NOON, round(10 * weight), NOON, granted=step + 1)
    rollout = Rollout(phase, stable=release("1"), candidate=_candidate(), serving_group="blue")
    measured = tuple(
        WindowMeasured(
            at(minute),
            at(minute + 1),
            Counts(ratio * SHARE * candidate, candidate),
            Counts(SHARE * stable, stable),
        )
        for minute in range(FIRST, FIRST + windows)
    )
    evidence = Evidence(windows={ERRORS: Windows(measured, "")})
    return analysis.update(rollout, evidence, at(FIRST + windows)).gates[0]


@cache
def _candidate() -> Release:
    return release("2", (ERRORS,))


def table() -> str:
    """A row for each weight and traffic. All windows of a row are minutes."""
    columns = ["good: passes", *(f"{ratio} times: fails" for ratio in RATIOS)]
    rows = [
        [f"{weight:g} %", f"{traffic:,}", _text(windows_to_pass(weight, traffic))]
        + [_text(windows_to_fail(weight, traffic, ratio)) for ratio in RATIOS]
        for weight in WEIGHTS
        for traffic in TRAFFIC
    ]
    head = ["weight", "requests a second", *columns]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _text(windows: int | None) -> str:
    return f"over {MOST}" if windows is None else str(windows)


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
