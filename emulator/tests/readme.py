"""The emulator's README, so that tests can run what it shows."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "emulator" / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The fenced code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def block(language: str, word: str) -> str:
    """The first code block that contains a word."""
    return next(each for each in blocks(language) if word in each)


def table(heading: str) -> list[list[str]]:
    """The cells of a table, row by row; `heading` is how its first line begins."""
    lines = README[README.index(heading) :].splitlines()
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines[2:])
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]
