"""Each seeded defect is well formed, names a test that exists, and applies to the code.

Whether the tests find it is what `make mutants` checks.
"""

from __future__ import annotations

import ast
import re
from collections import Counter

import pytest

from tests.assurance.mutants import results
from tests.assurance.mutants.patches import (
    DEPLOYED,
    LABEL,
    ROOT,
    DoesNotApply,
    Patch,
    apply_patch,
    load_patches,
)

PATCHES = load_patches()
MIN_PATCHES = 40


def functions_of(path: str) -> set[str]:
    return {
        each.name
        for each in ast.parse((ROOT / path).read_text()).body
        if isinstance(each, ast.FunctionDef)
    }


def exists(test: str) -> bool:
    """Whether a test exists: a function of a file, or a whole file or folder."""
    path, _, name = test.partition("::")
    return (ROOT / path).exists() and (not name or name.partition("[")[0] in functions_of(path))


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_a_patch_applies_and_leaves_valid_python(patch: Patch) -> None:
    try:
        changed = apply_patch(patch, ROOT)
    except DoesNotApply as error:
        pytest.fail(f"{error}; make the same mistake in the present code and run make mutants")
    assert changed
    for path, text in changed.items():
        assert path.relative_to(ROOT).as_posix().startswith(DEPLOYED)
        if path.suffix == ".py":
            ast.parse(text)


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_a_patch_names_its_mistake_the_broken_rule_and_existing_tests(patch: Patch) -> None:
    assert re.fullmatch(r"[A-Z0-9`].{20,}\.", patch.mistake)
    assert LABEL.match(patch.breaks)
    assert patch.killers
    assert [
        test for test in patch.killers if not test.startswith("tests/") or not exists(test)
    ] == []


def test_each_rule_is_broken_by_at_least_two_patches() -> None:
    broken = Counter(label for patch in PATCHES for label in LABEL.findall(patch.breaks))
    assert len(PATCHES) >= MIN_PATCHES
    assert [number for number in range(1, 11) if broken[f"rule {number}"] < 2] == []


def test_no_two_patches_are_the_same() -> None:
    texts = Counter(str(patch.edits) for patch in PATCHES)
    assert [text for text, times in texts.items() if times > 1] == []


def test_every_result_is_of_a_patch_and_every_survivor_is_explained() -> None:
    by_name = {patch.name: patch for patch in PATCHES}
    current = results.select_current(results.load())
    assert {*results.load()} <= {*by_name}
    missed = [name for name, result in current.items() if result["outcome"] != "killed"]
    assert [name for name in missed if not by_name[name].survives] == []


def test_a_patch_that_does_not_apply_is_reported() -> None:
    edits = "--- a/main.py\n+++ b/main.py\n@@ -1 +1 @@\n-no such line\n+something\n"
    with pytest.raises(DoesNotApply, match=r"occurs 0 times in main\.py"):
        apply_patch(Patch("outdated", "A mistake.\n\n" + edits), ROOT)


def test_a_patch_of_a_file_that_is_gone_is_reported() -> None:
    edits = "--- a/gone.py\n+++ b/gone.py\n@@ -1 +1 @@\n-a line\n+something\n"
    with pytest.raises(DoesNotApply, match=r"there is no gone\.py"):
        apply_patch(Patch("outdated", "A mistake.\n\n" + edits), ROOT)
