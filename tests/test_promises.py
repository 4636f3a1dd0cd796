"""What docs/promises.md says is shown is shown by a test of that name; nothing is promised without
one, and no rule's test is missing on the page."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/promises.md").read_text()
TEST = r"`(tests/[\w/]+\.py)::(\w+)`"
NAMED = re.findall(TEST, PAGE)
RULES = "tests/journeys/test_rules.py"
UNSHOWN = (
    "Under which faults",
    "What is known not to hold",
    "What is not shown here",
)  # sections whose lines promise nothing
LABELS = [*(f"I{number}" for number in range(1, 16)), *(f"S{number}" for number in range(1, 12))]


@cache
def defined_in(path: str) -> frozenset[str]:
    """The tests of a file that are run: one that is skipped whatever happens shows nothing, nor
    does one that another hides."""
    tests = [
        each
        for each in ast.parse((ROOT / path).read_text()).body
        if isinstance(each, ast.FunctionDef)
    ]
    names = Counter(each.name for each in tests)
    unrun = {
        each.name
        for each in tests
        if any(re.search(r"\b(skip|xfail)\b", ast.unparse(mark)) for mark in each.decorator_list)
    }
    return frozenset(name for name, times in names.items() if times == 1 and name not in unrun)


def section(rule: int) -> str:
    return PAGE.split(f"### Rule {rule}: ")[1].split("\n#")[0]


def promises() -> dict[str, str]:
    """What is promised: each section of a rule, and each row of a table, by how it begins."""
    found: dict[str, str] = {}
    for part in re.split(r"^#+ ", PAGE, flags=re.MULTILINE)[1:]:
        title, _, text = part.partition("\n")
        rows = [
            row for row in text.splitlines() if row.startswith("| ") and not row.startswith("| |")
        ]
        if title not in UNSHOWN:
            found |= {f"{title}: {row[:60]}": row for row in rows}
            found |= {title: text} if title.startswith("Rule ") else {}
    return found


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED)))
def test_a_promise_is_shown_by_a_test_that_exists(path: str, name: str) -> None:
    assert name.startswith("test_")
    assert Path(path).name.startswith("test_"), "pytest does not look into it"
    assert name in defined_in(path)


def test_nothing_is_promised_without_a_test() -> None:
    assert len(promises()) >= 10 + len(LABELS)
    assert [what for what, text in promises().items() if not re.search(TEST, text)] == []


def test_each_label_stands_for_one_promise() -> None:
    rows = [
        row.split("|")[1].strip() for row in PAGE.splitlines() if re.match(r"\| [IS]\d+ \|", row)
    ]
    assert rows == LABELS


def test_each_line_that_names_a_test_names_it_by_its_file() -> None:
    """A name that nobody looks up could be wrong for ever."""
    spoken_of = set(re.findall(r"\b(test_\w+)\b(?!\.py)", PAGE))
    assert spoken_of == {name for _, name in NAMED}


@pytest.mark.parametrize("rule", range(1, 11))
def test_each_rule_names_every_test_of_it(rule: int) -> None:
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
