"""Only a failing test counts as finding a defect; nothing else that can go wrong does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.assurance.mutants import runner

RUNS = {
    "a test that fails": ("def test_it(): assert 1 == 2", "killed", "test_it.py::test_it"),
    "all pass": ("def test_it(): assert 1 == 1", "survived", ""),
    "a syntax error": ("def test_it(: pass", "invalid", "pytest ended with 2"),
    "a missing module": (
        "import missing\ndef test_it(): pass",
        "invalid",
        "pytest ended with 2",
    ),
    "a missing name": ("def test_it(): missing()", "invalid", "raised a NameError"),
    "a test that hangs": (
        "import time, pytest\n@pytest.mark.timeout(1)\ndef test_it(): time.sleep(30)",
        "invalid",
        "timed out",
    ),
    "a failing fixture": (
        "import pytest\n@pytest.fixture\ndef it(): raise OSError\ndef test_it(it): pass",
        "invalid",
        "pytest ended with 1",
    ),
    "no tests": ("", "invalid", "pytest ended with 5"),
}


@pytest.mark.parametrize("name", RUNS)
def test_only_a_failing_test_finds_a_defect(tmp_path: Path, name: str) -> None:
    text, outcome, by = RUNS[name]
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "test_it.py").write_text(text)
    verdict = runner.run_pytest(tree, ("test_it.py",), 60)
    assert verdict.outcome == outcome, verdict
    assert by in verdict.by
