"""Each seeded defect fits the code and says what it breaks, and docs/mutants.md tells of the
patches as they stand.

That a defect is found takes the tests themselves, which is what `make mutants` is for.
"""

from __future__ import annotations

import ast
import re
from collections import Counter

import pytest

from tests.assurance.mutants import table
from tests.assurance.mutants.patches import (
    DEPLOYED,
    LABEL,
    ROOT,
    DoesNotApply,
    Patch,
    patched,
    patches,
)

PATCHES = patches()
RESULTS = table.load()
LEAST, LEAST_SHARE = 40, 95.0


def functions_of(path: str) -> set[str]:
    return {
        each.name
        for each in ast.parse((ROOT / path).read_text()).body
        if isinstance(each, ast.FunctionDef)
    }


def is_there(test: str) -> bool:
    """Whether a test that is named exists: by function where it is, else by file or folder."""
    path, _, name = test.partition("::")
    return (ROOT / path).exists() and (not name or name.partition("[")[0] in functions_of(path))


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_a_defect_fits_the_code_and_leaves_it_python(patch: Patch) -> None:
    try:
        changed = patched(patch, ROOT)
    except DoesNotApply as stale:
        pytest.fail(
            f"{stale}; the code has moved on: make the same mistake in the code of today, and run"
            " make mutants"
        )
    assert changed
    for path, text in changed.items():
        assert path.relative_to(ROOT).as_posix().startswith(DEPLOYED)
        if path.suffix == ".py":
            ast.parse(text)


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_a_defect_says_what_is_wrong_what_that_breaks_and_who_should_notice(patch: Patch) -> None:
    assert re.fullmatch(r"[A-Z0-9`].{20,}\.", patch.what)
    assert LABEL.match(patch.breaks)
    assert patch.killers
    assert [
        test for test in patch.killers if not test.startswith("tests/") or not is_there(test)
    ] == []


def test_there_are_enough_and_each_rule_is_broken_by_some() -> None:
    broken = Counter(label for patch in PATCHES for label in LABEL.findall(patch.breaks))
    assert len(PATCHES) >= LEAST
    assert [number for number in range(1, 11) if broken[f"rule {number}"] < 2] == []


def test_no_two_are_the_same_mistake() -> None:
    texts = Counter(str(patch.edits) for patch in PATCHES)
    assert [text for text, times in texts.items() if times > 1] == []


def test_each_has_been_tried_as_it_stands_and_nothing_else_is_told() -> None:
    assert {name: result["digest"] for name, result in RESULTS.items()} == {
        patch.name: patch.digest for patch in PATCHES
    }, "run make mutants"


def test_of_a_hundred_at_least_ninety_five_are_found() -> None:
    assert table.share_killed(RESULTS) >= LEAST_SHARE


def test_what_found_one_is_a_test_that_is_still_there() -> None:
    found_by = {
        name: result["by"] for name, result in RESULTS.items() if result["outcome"] == "killed"
    }
    assert {name: test for name, test in found_by.items() if not is_there(test)} == {}


def test_what_is_not_found_is_explained() -> None:
    left = {
        patch.name for patch in PATCHES if RESULTS.get(patch.name, {}).get("outcome") != "killed"
    }
    assert {patch.name for patch in PATCHES if patch.survives} == left


def test_the_page_tells_what_was_found() -> None:
    assert table.PAGE.read_text("utf-8") == table.page(RESULTS), (
        "run python -m tests.assurance.mutants --table"
    )


@pytest.mark.parametrize("page", ["README.md", "docs/promises.md"])
def test_other_pages_tell_the_same_number(page: str) -> None:
    killed = sum(result["outcome"] == "killed" for result in RESULTS.values())
    assert f"{killed} of {len(PATCHES)}" in " ".join((ROOT / page).read_text("utf-8").split())


def test_a_patch_that_does_not_fit_is_told_and_writes_nothing() -> None:
    edits = (
        "--- a/main.py\n+++ b/main.py\n@@ -1 +1 @@\n-nothing of the kind stands there\n+something\n"
    )
    with pytest.raises(DoesNotApply, match=r"stands 0 times in main\.py"):
        patched(Patch("of-another-day", "It is wrong.\n\n" + edits), ROOT)
