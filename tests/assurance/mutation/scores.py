"""Mutation scores of the files of `rollout/`: read from a run's results, rendered as a table, kept
on a page.

`tests/assurance/mutation/__main__.py` calls this after a run.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/mutation.md"
MUTANTS = ROOT / "mutants"
RESULTS = MUTANTS / "results.json"
MIN_SCORE = 80.0
MIN_FILE_SCORE = 75.0

# How the tests of a mutant ended: pytest's exit status, a signal as a negative number, or one of
# these. A crash does not count as killed.
KILLED, TIMED_OUT, REJECTED, NO_TEST, NOT_RUN = 1, -24, 37, 33, None


class Unfinished(Exception):
    """The run was interrupted: there is no score yet."""


@dataclass(frozen=True)
class Score:
    """The results of a file's mutants. `rejected`: mypy rejects them, so that no test runs on them;
    `not_run`: a partial run left them out.
    """

    file: str
    killed: int = 0
    survived: int = 0
    timed_out: int = 0
    rejected: int = 0
    not_run: int = 0

    @property
    def total(self) -> int:
        return self.killed + self.survived + self.timed_out

    @property
    def percent(self) -> float:
        """Of the mutants that were run; 100 if there were none."""
        return 100 * (self.killed + self.timed_out) / self.total if self.total else 100.0

    def __add__(self, other: Score) -> Score:
        return Score(
            self.file,
            self.killed + other.killed,
            self.survived + other.survived,
            self.timed_out + other.timed_out,
            self.rejected + other.rejected,
            self.not_run + other.not_run,
        )


def list_files() -> list[str]:
    """The files that have mutants of functions."""
    return [file for file in list_modules() if has_functions((ROOT / file).read_text("utf-8"))]


def list_modules() -> list[str]:
    """All files of `rollout/` with code."""
    paths = (path for path in (ROOT / "rollout").rglob("*.py") if path.name != "__init__.py")
    return sorted(path.relative_to(ROOT).as_posix() for path in paths)


def has_functions(source: str) -> bool:
    """Whether any function has no decorator and does more than `...`, `pass` or a constant."""
    nodes = ast.walk(ast.parse(source))
    return any(
        isinstance(node, ast.FunctionDef)
        and not node.decorator_list
        and not all(
            isinstance(each, ast.Pass)
            or (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
            for each in node.body
        )
        for node in nodes
    )


def measure(results: Path = RESULTS) -> list[Score]:
    """A score for each file. Raises `Unfinished` if a file has no mutants."""
    ends: dict[str, int | None] = json.loads(results.read_text("utf-8")) if results.exists() else {}
    return [
        _score(file, [end for key, end in ends.items() if _file_of(key) == file])
        for file in list_files()
    ]


def _file_of(key: str) -> str:
    """The file of a mutant's name, such as `rollout.gates.health.x_verdict__mutmut_1`."""
    return key.rpartition(".")[0].replace(".", "/") + ".py"


def _score(file: str, ends: list[int | None]) -> Score:
    killed, timed_out, rejected, not_run = (
        ends.count(kind) for kind in (KILLED, TIMED_OUT, REJECTED, NOT_RUN)
    )
    if not ends:
        raise Unfinished(f"no mutant was generated for {file}")
    return Score(
        file,
        killed,
        len(ends) - killed - timed_out - rejected - not_run,
        timed_out,
        rejected,
        not_run,
    )


def total(scores: Iterable[Score]) -> Score:
    return sum(scores, Score("all"))


def table(scores: Iterable[Score]) -> str:
    found = list(scores)
    rows = [_row(f"`{score.file}`", score) for score in found] + [_row("**all**", total(found))]
    head = "| file | killed | survived | timed out | run | score | rejected by mypy | not run |"
    return "\n".join([head, "|---" + "|--:" * 7 + "|", *rows])


def _row(name: str, score: Score) -> str:
    percent = f"{score.percent:.1f} %" if score.total else "none run"
    numbers = (
        score.killed,
        score.survived,
        score.timed_out,
        score.total,
        percent,
        score.rejected,
        score.not_run,
    )
    return f"| {name} | " + " | ".join(map(str, numbers)) + " |"


def failures(scores: Iterable[Score]) -> list[str]:
    """The scores below their minimum, as sentences. A file's own minimum applies once all of its
    mutants have run.
    """
    found = list(scores)
    minimums = [
        (total(found), MIN_SCORE),
        *((score, MIN_FILE_SCORE) for score in found if not score.not_run),
    ]
    return [
        f"{score.file}: {score.percent:.1f} % is less than {minimum:.0f} %"
        for score, minimum in minimums
        if score.percent < minimum
    ]


def parse(page: str) -> list[Score]:
    """The scores on a page, the total last."""
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
