"""Every fact test names its source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

FILES = sorted(set(Path(__file__).parent.glob("test_*.py")) - {Path(__file__)})


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.stem))
def test_every_fact_names_its_source(file: Path) -> None:
    tests = [
        node
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert tests
    unsourced = [
        test.name
        for test in tests
        if not any("fact(" in ast.unparse(mark) for mark in test.decorator_list)
    ]
    assert not unsourced
