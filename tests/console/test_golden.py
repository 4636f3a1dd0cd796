"""The output of each command, in 80 columns."""

from __future__ import annotations

import re

from tests.console import golden_sent
from tests.console.golden import FILE, text

ANSWER = re.compile(r"(accepted|unchanged|succeeded): ")
IN_ONE_LINE = re.compile(r' *"|\{"|\d\d:\d\d:\d\dZ tiny \d: ')  # JSON and events and transitions


def test_the_output_is_the_golden_one() -> None:
    found = text()
    assert found == FILE.read_text(), "python -m tests.console.golden writes it anew"
    assert _too_wide(found) == []


def test_the_output_of_commands_that_send_is_the_golden_one() -> None:
    found = golden_sent.text()
    assert found == golden_sent.FILE.read_text(), "python -m tests.console.golden_sent writes it"
    assert _too_wide(found) == []


def _too_wide(printed: str) -> list[str]:
    tables = (line for line in printed.splitlines() if not IN_ONE_LINE.match(line))
    return [line for line in tables if len(line) > 80 and not ANSWER.match(line)]
