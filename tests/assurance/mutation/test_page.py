"""The published scores: what the nightly run writes, and how a run's results are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.assurance.mutation.scores import (
    MIN_SCORE,
    PAGE,
    Score,
    Unfinished,
    failures,
    has_functions,
    list_files,
    measure,
    parse,
    table,
    total,
)


def published() -> list[Score]:
    return parse(PAGE.read_text("utf-8"))


@pytest.mark.nightly
def test_the_published_scores_are_of_the_present_files() -> None:
    assert [score.file for score in published()] == [*list_files(), "all"], "run `make mutation`"


@pytest.mark.nightly
def test_the_published_scores_add_up_and_reach_their_minimums() -> None:
    *each, whole = published()
    assert total(each) == whole
    assert whole.total > 1500, "mutants are missing"
    assert whole.not_run == 0, "the run was partial"
    assert failures(each) == []


@pytest.mark.nightly
def test_the_page_is_the_table_of_its_own_scores() -> None:
    """Finds a number that was changed by hand."""
    assert table(published()[:-1]) in PAGE.read_text("utf-8")


def test_files_of_subpackages_are_counted() -> None:
    assert {"rollout/advance.py", "rollout/spec/cron.py"} <= {*list_files()}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def double(x): return 2 * x", True),
        ("class A:\n    def double(self): return 2", True),
        ("@cache\ndef double(x): return 2 * x", False),
        ("class A(Protocol):\n    def double(self) -> int: ...", False),
        ('class A(Protocol):\n    def double(self) -> int:\n        """Doubles."""', False),
        ("LIMIT = 3", False),
    ],
)
def test_a_file_has_mutants_if_a_function_without_decorator_does_anything(
    source: str, expected: bool
) -> None:
    assert has_functions(source) == expected


# ---- Reading a run


def write_results(folder: Path, ends: dict[str, list[int | None]]) -> Path:
    """Each file has one killed mutant, unless `ends` says otherwise."""
    found = {file: ends.get(file, [1]) for file in list_files()}
    codes = {
        f"{file.removesuffix('.py').replace('/', '.')}.x__mutmut_{number}": end
        for file in found
        for number, end in enumerate(found[file])
    }
    (folder / "results.json").write_text(json.dumps(codes))
    return folder / "results.json"


def test_a_mutant_without_a_test_or_with_a_crash_does_not_count_as_killed(tmp_path: Path) -> None:
    ends: list[int | None] = [0, 1, 1, 1, 2, 4, 5, 33, -11, -9, -24, 37, 37, None]
    results = write_results(tmp_path, {"rollout/gates/health.py": ends})
    found = {score.file: score for score in measure(results)}
    health = found["rollout/gates/health.py"]
    assert health == Score(
        "rollout/gates/health.py", killed=3, survived=7, timed_out=1, rejected=2, not_run=1
    )
    assert (health.total, round(health.percent, 1)) == (11, 36.4)
    assert found["rollout/spec/cron.py"] == Score("rollout/spec/cron.py", killed=1)


def test_a_file_without_mutants_has_no_score(tmp_path: Path) -> None:
    with pytest.raises(Unfinished, match=r"no mutant was generated for rollout/gates/health\.py"):
        measure(write_results(tmp_path, {"rollout/gates/health.py": []}))


def test_a_file_without_a_mutant_that_ran_is_shown_as_such() -> None:
    assert "| `rollout/a.py` | 0 | 0 | 0 | 0 | none run | 2 | 3 |" in table(
        [Score("rollout/a.py", rejected=2, not_run=3)]
    )


def test_without_a_run_there_is_no_score(tmp_path: Path) -> None:
    with pytest.raises(Unfinished, match="no mutant was generated for"):
        measure(tmp_path / "results.json")


def test_a_score_below_its_minimum_is_reported() -> None:
    good, bad = Score("a.py", killed=90, survived=10), Score("b.py", killed=7, survived=3)
    assert failures([good]) == []
    assert failures([Score("a.py", killed=8, survived=2)]) == []
    assert failures([good, bad]) == ["b.py: 70.0 % is less than 75 %"]
    assert failures([Score("a.py", killed=799, survived=201)]) == ["all: 79.9 % is less than 80 %"]
    assert MIN_SCORE == 80


def test_a_table_survives_a_round_trip() -> None:
    scores = [Score("rollout/a.py", 9, 1, 2, 30, 4), Score("rollout/b.py", 1)]
    assert parse(table(scores)) == [*scores, Score("all", 10, 1, 2, 30, 4)]
