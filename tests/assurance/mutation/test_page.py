"""The published scores are of the files that there are, add up, and clear their bars; how a run's
results are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.assurance.mutation.scores import (
    LEAST,
    PAGE,
    ROOT,
    Score,
    Unfinished,
    files,
    measured,
    missed,
    read,
    table,
    total,
)


def published() -> list[Score]:
    return read(PAGE.read_text("utf-8"))


def test_the_published_scores_are_of_the_files_that_there_are() -> None:
    assert [score.file for score in published()] == [*files(), "all"], "run `make mutation`"


def test_the_published_scores_add_up_and_clear_their_bars() -> None:
    *each, whole = published()
    assert total(each) == whole
    assert whole.total > 2000, "most mutants were not even made"
    assert whole.left == 0, "the run was not whole"
    assert missed(each) == []


def test_the_page_is_the_table_of_its_own_scores() -> None:
    """A number changed by hand does not fit its row."""
    assert table(published()[:-1]) in PAGE.read_text("utf-8")


def test_every_file_that_holds_code_is_counted() -> None:
    code = {
        f"rollout/{path.name}"
        for path in (ROOT / "rollout").glob("*.py")
        if path.read_text("utf-8").strip()
    }
    assert set(files()) == code


# ---- Reading a run


def results(folder: Path, ends: dict[str, list[int | None]]) -> Path:
    """Each file has one killed mutant, unless `ends` says otherwise."""
    found = {Path(file).stem: ends.get(Path(file).stem, [1]) for file in files()}
    codes = {
        f"rollout.{stem}.x__mutmut_{number}": end
        for stem in found
        for number, end in enumerate(found[stem])
    }
    (folder / "results.json").write_text(json.dumps(codes))
    return folder / "results.json"


def test_what_became_of_each_mutant_is_counted_and_no_test_or_a_crash_is_no_kill(
    tmp_path: Path,
) -> None:
    ends: list[int | None] = [0, 1, 1, 1, 2, 4, 5, 33, -11, -9, -24, 37, 37, None]
    found = {score.file: score for score in measured(results(tmp_path, {"gates": ends}))}
    assert found["rollout/gates/health.py"] == Score(
        "rollout/gates/health.py", killed=3, survived=7, timed_out=1, refused=2, left=1
    )
    assert (
        found["rollout/gates/health.py"].total,
        round(found["rollout/gates/health.py"].percent, 1),
    ) == (11, 36.4)
    assert found["rollout/spec/cron.py"] == Score("rollout/spec/cron.py", killed=1)


def test_a_file_of_which_no_mutants_were_made_has_no_score(tmp_path: Path) -> None:
    with pytest.raises(Unfinished, match=r"no mutant was made of rollout/gates\.py"):
        measured(results(tmp_path, {"gates": []}))


def test_a_file_of_which_none_was_tried_is_told_as_such() -> None:
    assert "| `rollout/a.py` | 0 | 0 | 0 | 0 | none tried | 2 | 3 |" in table(
        [Score("rollout/a.py", refused=2, left=3)]
    )


def test_without_a_run_there_is_no_score(tmp_path: Path) -> None:
    with pytest.raises(Unfinished, match="no mutant was made of"):
        measured(tmp_path / "results.json")


def test_a_score_below_its_bar_is_told() -> None:
    good, bad = Score("a.py", killed=90, survived=10), Score("b.py", killed=7, survived=3)
    assert missed([good]) == []
    assert missed([Score("a.py", killed=8, survived=2)]) == []
    assert missed([good, bad]) == ["b.py: 70.0 % is less than 75 %"]
    assert missed([Score("a.py", killed=799, survived=201)]) == ["all: 79.9 % is less than 80 %"]
    assert LEAST == 80


def test_a_table_is_read_back_as_it_was_written() -> None:
    scores = [Score("rollout/a.py", 9, 1, 2, 30, 4), Score("rollout/b.py", 1)]
    assert read(table(scores)) == [*scores, Score("all", 10, 1, 2, 30, 4)]
