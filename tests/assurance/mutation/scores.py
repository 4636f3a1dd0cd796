"""How many mutants of each file of `rollout/` the tests killed: read from a run's results, told as
a table, kept in a page.

`tests/assurance/mutation/__main__.py` calls this after a run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/mutation.md"
MUTANTS = ROOT / "mutants"
RESULTS = MUTANTS / "results.json"
LEAST = 80.0
LEAST_OF_A_FILE = 75.0

# How the tests of a mutant ended: pytest's exit status, a signal as a negative number, or one of
# these. A crash is no kill.
KILLED, TIMED_OUT, REFUSED, NO_TEST, NOT_TRIED = 1, -24, 37, 33, None


class Unfinished(Exception):
    """The run was broken off: there is no score yet."""


@dataclass(frozen=True)
class Score:
    """What became of a file's mutants. `refused` are those that mypy refuses, so that no test is
    asked about them; `left` are those that a run of some only did not try."""

    file: str
    killed: int = 0
    survived: int = 0
    timed_out: int = 0
    refused: int = 0
    left: int = 0

    @property
    def total(self) -> int:
        return self.killed + self.survived + self.timed_out

    @property
    def percent(self) -> float:
        """Of the mutants that the tests were asked about; where none was tried nothing survived."""
        return 100 * (self.killed + self.timed_out) / self.total if self.total else 100.0

    def __add__(self, other: Score) -> Score:
        return Score(
            self.file,
            self.killed + other.killed,
            self.survived + other.survived,
            self.timed_out + other.timed_out,
            self.refused + other.refused,
            self.left + other.left,
        )


def files() -> list[str]:
    """The files that have mutants: all of `rollout/` that hold code."""
    return sorted(
        f"rollout/{path.name}"
        for path in (ROOT / "rollout").glob("*.py")
        if path.name != "__init__.py"
    )


def measured(results: Path = RESULTS) -> list[Score]:
    """A score for each file. Raises `Unfinished` where no mutants were made of one."""
    ends: dict[str, int | None] = json.loads(results.read_text("utf-8")) if results.exists() else {}
    return [
        _measured(file, [end for key, end in ends.items() if key.split(".")[1] == Path(file).stem])
        for file in files()
    ]


def _measured(file: str, ends: list[int | None]) -> Score:
    killed, timed_out, refused, left = (
        ends.count(kind) for kind in (KILLED, TIMED_OUT, REFUSED, NOT_TRIED)
    )
    if not ends:
        raise Unfinished(f"no mutant was made of {file}")
    return Score(
        file, killed, len(ends) - killed - timed_out - refused - left, timed_out, refused, left
    )


def total(scores: Iterable[Score]) -> Score:
    return sum(scores, Score("all"))


def table(scores: Iterable[Score]) -> str:
    found = list(scores)
    rows = [_row(f"`{score.file}`", score) for score in found] + [_row("**all**", total(found))]
    head = "| file | killed | survived | timed out | tried | score | refused by mypy | not tried |"
    return "\n".join([head, "|---" + "|--:" * 7 + "|", *rows])


def _row(name: str, score: Score) -> str:
    percent = f"{score.percent:.1f} %" if score.total else "none tried"
    numbers = (
        score.killed,
        score.survived,
        score.timed_out,
        score.total,
        percent,
        score.refused,
        score.left,
    )
    return f"| {name} | " + " | ".join(map(str, numbers)) + " |"


def missed(scores: Iterable[Score]) -> list[str]:
    """What is below its bar, in words; empty when all is well. A file is held to its own once all
    of its mutants were tried."""
    found = list(scores)
    bars = [(total(found), LEAST), *((score, LEAST_OF_A_FILE) for score in found if not score.left)]
    return [
        f"{score.file}: {score.percent:.1f} % is less than {least:.0f} %"
        for score, least in bars
        if score.percent < least
    ]


def read(page: str) -> list[Score]:
    """The scores that a page shows, the total last."""
    rows = [
        [cell.strip(" `*") for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line.startswith("| ")
    ]
    numbers = [cells for cells in rows if len(cells) == 8 and cells[1].isdigit()]
    return [
        Score(cells[0], int(cells[1]), int(cells[2]), int(cells[3]), int(cells[6]), int(cells[7]))
        for cells in numbers
    ]
