"""What counts as found: a test that fails, and nothing else that may go wrong in a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.assurance.mutants import runner

RUNS = {
    "a test that fails": ("def test_it(): assert 1 == 2", "killed", "test_it.py::test_it"),
    "all pass": ("def test_it(): assert 1 == 1", "survived", ""),
    "code that is no Python": ("def test_it(: pass", "invalid", "pytest ended with 2"),
    "a module that is not there": (
        "import nowhere\ndef test_it(): pass",
        "invalid",
        "pytest ended with 2",
    ),
    "a name that is not there": ("def test_it(): nobody()", "invalid", "stumbled over a NameError"),
    "a test that hangs": (
        "import time, pytest\n@pytest.mark.timeout(1)\ndef test_it(): time.sleep(30)",
        "invalid",
        "took too long",
    ),
    "a fixture that breaks": (
        "import pytest\n@pytest.fixture\ndef it(): raise OSError\ndef test_it(it): pass",
        "invalid",
        "pytest ended with 1",
    ),
    "no test at all": ("", "invalid", "pytest ended with 5"),
}


@pytest.mark.parametrize("name", RUNS)
def test_only_a_test_that_fails_has_found_a_mistake(tmp_path: Path, name: str) -> None:
    text, outcome, by = RUNS[name]
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "test_it.py").write_text(text)
    verdict = runner.pytest(tree, ("test_it.py",), 60)
    assert verdict.outcome == outcome, verdict
    assert by in verdict.by
