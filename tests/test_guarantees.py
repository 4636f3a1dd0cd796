"""Every promise of docs/guarantees.md and every defence of docs/security.md names a test.

The test exists and runs, and no test of a rule is missing.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/guarantees.md").read_text()
TEST = r"`(tests/[\w/]+\.py)::(\w+)`"
NAMED = re.findall(TEST, PAGE)
THREATS = (ROOT / "docs/security.md").read_text()
RULES = "tests/journeys/test_rules.py"
# Sections that promise nothing.
WITHOUT_PROMISES = ("Faults", "Known limits", "What is not shown here")
MOST = {"I": 20, "S": 11, "D": 6}  # invariants, attacks, the dashboard
LABELS = [f"{kind}{number}" for kind, most in MOST.items() for number in range(1, most + 1)]


@cache
def defined_in(path: str) -> frozenset[str]:
    """The tests of a file that really run: not those that are always skipped, nor those that a
    later test of the same name hides.
    """
    tests = [
        each
        for each in ast.parse((ROOT / path).read_text()).body
        if isinstance(each, ast.FunctionDef)
    ]
    names = Counter(each.name for each in tests)
    skipped = {
        each.name
        for each in tests
        if any(re.search(r"\b(skip|xfail)\b", ast.unparse(mark)) for mark in each.decorator_list)
    }
    return frozenset(name for name, times in names.items() if times == 1 and name not in skipped)


def section(rule: int) -> str:
    return PAGE.split(f"### Rule {rule}: ")[1].split("\n#")[0]


def promises() -> dict[str, str]:
    """Each section of a rule and each row of a table, by its first words."""
    found: dict[str, str] = {}
    for part in re.split(r"^#+ ", PAGE, flags=re.MULTILINE)[1:]:
        title, _, text = part.partition("\n")
        rows = [
            row for row in text.splitlines() if row.startswith("| ") and not row.startswith("| |")
        ]
        if title not in WITHOUT_PROMISES:
            found |= {f"{title}: {row[:60]}": row for row in rows}
            found |= {title: text} if title.startswith("Rule ") else {}
    return found


@pytest.mark.parametrize(("path", "name"), sorted({*NAMED, *re.findall(TEST, THREATS)}))
def test_a_promise_names_a_test_that_exists(path: str, name: str) -> None:
    assert name.startswith("test_")
    assert Path(path).name.startswith("test_"), "pytest does not collect it"
    assert name in defined_in(path)


def test_every_promise_names_a_test() -> None:
    assert len(promises()) >= 10 + len(LABELS)
    assert [what for what, text in promises().items() if not re.search(TEST, text)] == []


def test_every_defence_names_a_test() -> None:
    table = THREATS.split("## What an attacker gets at each place\n")[1].split("\n## ")[0]
    rows = [row for row in table.splitlines() if row.startswith("| ")][1:]
    assert len(rows) > 15
    assert [row[:60] for row in rows if not re.search(TEST, row)] == []


def test_each_label_has_one_promise() -> None:
    rows = [
        row.split("|")[1].strip() for row in PAGE.splitlines() if re.match(r"\| [ISD]\d+ \|", row)
    ]
    assert rows == LABELS


def test_every_test_is_named_with_its_file() -> None:
    mentioned = set(re.findall(r"\b(test_\w+)\b(?!\.py)", PAGE))
    assert mentioned == {name for _, name in NAMED}


@pytest.mark.parametrize("rule", range(1, 11))
def test_each_rule_names_all_of_its_tests(rule: int) -> None:
    tests = {name for name in defined_in(RULES) if name.startswith(f"test_rule_{rule}_")}
    assert tests
    assert {name for name in tests if f"`{RULES}::{name}`" not in section(rule)} == set()


def test_the_page_says_what_is_not_shown() -> None:
    missing = PAGE.split("## What is not shown here")[1]
    assert [
        word
        for word in ("IAM", "quota", "back-off", "lock waits", "requestId", "wording")
        if word not in missing
    ] == []
