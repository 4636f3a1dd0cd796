"""How many mutants of each file of `rollout/` the tests killed: read from mutmut's work folder, told as a table, kept in a page.

`tests/mutation/__main__.py` calls this after a run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/mutation.md"
RESULTS = ROOT / "mutants/rollout"
LEAST = 80.0
LEAST_OF_A_FILE = 75.0

# The exit status of a mutant's test run, as mutmut keeps it. Everything else (no test at all, a crash) counts as survived.
KILLED, TIMED_OUT, REFUSED, NOT_RUN = {1, 3}, {-24, 24, 36, 152, 255}, {37}, {None, 2}


class Unfinished(Exception):
    """The run was broken off: there is no score yet."""


@dataclass(frozen=True)
class Score:
    """What became of a file's mutants. `refused` are those that mypy refuses, so that no test is asked about them."""

    file: str
    killed: int = 0
    survived: int = 0
    timed_out: int = 0
    refused: int = 0

    @property
    def total(self) -> int:
        return self.killed + self.survived + self.timed_out

    @property
    def percent(self) -> float:
        """Of the mutants that the tests were asked about; a file without any has nothing that survived."""
        return 100 * (self.killed + self.timed_out) / self.total if self.total else 100.0

    def __add__(self, other: Score) -> Score:
        return Score(
            self.file,
            self.killed + other.killed,
            self.survived + other.survived,
            self.timed_out + other.timed_out,
            self.refused + other.refused,
        )


def files() -> list[str]:
    """The files that have mutants: all of `rollout/` that hold code."""
    return sorted(f"rollout/{path.name}" for path in (ROOT / "rollout").glob("*.py") if path.name != "__init__.py")


def measured(results: Path = RESULTS) -> list[Score]:
    return [_measured(file, results / f"{Path(file).name}.meta") for file in files()]


def _measured(file: str, record: Path) -> Score:
    if not record.exists():
        raise Unfinished(f"{file} has no mutants yet")
    ends = list(json.loads(record.read_text("utf-8"))["exit_code_by_key"].values())
    if any(end in NOT_RUN for end in ends):
        raise Unfinished(f"not every mutant of {file} was tried")
    killed, timed_out, refused = (sum(end in kind for end in ends) for kind in (KILLED, TIMED_OUT, REFUSED))
    return Score(file, killed, len(ends) - killed - timed_out - refused, timed_out, refused)


def total(scores: Iterable[Score]) -> Score:
    return sum(scores, Score("all"))


def table(scores: Iterable[Score]) -> str:
    found = list(scores)
    rows = [_row(f"`{score.file}`", score) for score in found] + [_row("**all**", total(found))]
    head = "| file | killed | survived | timed out | tried | score | refused by mypy |\n|---|--:|--:|--:|--:|--:|--:|"
    return "\n".join([head, *rows])


def _row(name: str, score: Score) -> str:
    numbers = (score.killed, score.survived, score.timed_out, score.total, f"{score.percent:.1f} %", score.refused)
    return f"| {name} | " + " | ".join(map(str, numbers)) + " |"


def missed(scores: Iterable[Score]) -> list[str]:
    """What is below its bar, in words; empty when all is well."""
    found = list(scores)
    bars = [(total(found), LEAST), *((score, LEAST_OF_A_FILE) for score in found)]
    return [f"{score.file}: {score.percent:.1f} % is less than {least:.0f} %" for score, least in bars if score.percent < least]


def read(page: str) -> list[Score]:
    """The scores that a page shows, the total last."""
    rows = [[cell.strip(" `*") for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| ")]
    numbers = [cells for cells in rows if len(cells) == 7 and cells[1].isdigit()]
    return [Score(cells[0], int(cells[1]), int(cells[2]), int(cells[3]), int(cells[6])) for cells in numbers]
