"""The output of each command that reads, at moments that do not change."""

from __future__ import annotations

import re

from tests.console.golden import FILE, text

IN_ONE_LINE = re.compile(r' *"|\{"|\d\d:\d\d:\d\dZ tiny \d: ')  # JSON and events


def test_the_output_is_the_golden_one() -> None:
    found = text()
    assert found == FILE.read_text(), "python -m tests.console.golden writes it anew"
    tables = (line for line in found.splitlines() if not IN_ONE_LINE.match(line))
    assert [line for line in tables if len(line) > 80] == []
