"""The output of each command, in 80 columns."""

from __future__ import annotations

import re

from console.main import COMMANDS, policy, quarantine
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


def test_each_command_has_golden_output() -> None:
    """`dashboard` serves until Ctrl-C, and is tested in a browser."""
    names = {
        *COMMANDS,
        *(f"policy {each.name}" for each in policy.registered_commands),
        *(f"quarantine {each.name}" for each in quarantine.registered_commands),
    }
    printed = FILE.read_text() + golden_sent.FILE.read_text()
    assert {each for each in names if f"$ slipway {each}" not in printed} == {"dashboard"}


def _too_wide(printed: str) -> list[str]:
    tables = (line for line in printed.splitlines() if not IN_ONE_LINE.match(line))
    return [line for line in tables if len(line) > 80 and not ANSWER.match(line)]
