"""What docs/promises.md says is shown is shown by a test of that name, and no rule's test is missing on the page."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/promises.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
RULES = "tests/journeys/test_rules.py"


@cache
def defined_in(path: str) -> frozenset[str]:
    return frozenset(each.name for each in ast.parse((ROOT / path).read_text()).body if isinstance(each, ast.FunctionDef))


def section(rule: int) -> str:
    return PAGE.split(f"### Rule {rule}: ")[1].split("\n#")[0]


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED)))
def test_a_promise_is_shown_by_a_test_that_exists(path: str, name: str) -> None:
    assert name.startswith("test_")
    assert name in defined_in(path)


@pytest.mark.parametrize("rule", range(1, 11))
def test_each_rule_names_every_test_of_it(rule: int) -> None:
    tests = {name for name in defined_in(RULES) if name.startswith(f"test_rule_{rule}_")}
    assert tests
    assert {name for name in tests if f"`{RULES}::{name}`" not in section(rule)} == set()


def test_the_page_says_what_is_not_shown() -> None:
    missing = PAGE.split("## What is not shown here")[1]
    assert [word for word in ("IAM", "quota", "back-off", "lock waits", "requestId", "wording") if word not in missing] == []
