"""What module_level.py changes, and what it leaves to mutmut."""

from __future__ import annotations

from tests.assurance.mutation.module_level import generate

SOURCE = '''\
"""Words with 3 numbers."""

from dataclasses import dataclass
from functools import cache

MOST = 5
KNOWN: dict[str, int | None] = {"a": 1}


@dataclass(frozen=True)
class Box:
    size: int = 7
    is_open: bool = False

    @property
    def is_full(self) -> bool:
        return self.size >= MOST and not self.is_open

    def twice(self) -> int:
        return self.size * 2


@cache
def largest(limit: int) -> bool:
    return limit in (8,)


def plain() -> int:
    return 9
'''


def test_module_level_code_and_decorated_functions_are_changed_once_each() -> None:
    found = generate("box.py", SOURCE)
    assert [(each.line, each.change) for each in found] == [
        (6, "5 -> 6"),
        (7, "1 -> 2"),
        (12, "7 -> 8"),
        (13, "False -> True"),
        (17, "self.size >= MOST and not self.is_open -> self.size >= MOST or not self.is_open"),
        (17, ">= MOST -> > MOST"),
        (17, "not self.is_open -> self.is_open"),
        (25, "in (8,) -> not in (8,)"),
        (25, "8 -> 9"),
    ]


def test_a_mutant_differs_from_the_file_in_one_line() -> None:
    for each in generate("box.py", SOURCE):
        before, after = SOURCE.splitlines(), each.source.splitlines()
        assert [
            number
            for number, (old, new) in enumerate(zip(before, after, strict=True), 1)
            if old != new
        ] == [each.line]
