"""The gcloud commands of README.md, docs/ and deploy/, from code blocks and from code in
sentences.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
_COMMAND = re.compile(r"(?:^|[|;(] ?|=\S+ )gcloud [a-z]")
_INLINE = re.compile(r"`(gcloud(?: [^ `]+){4}[^`]*|gcloud [^`]*--?[a-z]+[^`]*)`")


_OTHER = (
    "gcloud components",  # changes the machine
    "gcloud auth application-default",  # opens a browser
    "gcloud compute instance-groups managed rolling-action",  # the name of a group of commands
)


class Documented(NamedTuple):
    """A command, as bash runs it, and where it is documented."""

    where: str
    command: str


def documented() -> list[Documented]:
    folders = (ROOT / "docs", ROOT / "deploy")
    files = [ROOT / "README.md", *(path for each in folders for path in sorted(each.rglob("*.md")))]
    return [
        Documented(path.name, each)
        for path in files
        for each in _commands(path.read_text())
        if not each.startswith(_OTHER)
    ]


def _commands(text: str) -> Iterator[str]:
    outside = []
    for number, part in enumerate(re.split(r"^ *```.*$", text, flags=re.MULTILINE)):
        if number % 2:
            yield from (each for each in _statements(part) if _COMMAND.search(each))
        else:
            outside.append(part)
    yield from (each.replace("\\|", "|") for each in _INLINE.findall("".join(outside)))


def _statements(block: str) -> Iterator[str]:
    """Lines, joined while a quotation is open or a backslash ends one."""
    statement = ""
    for line in block.splitlines():
        statement = f"{statement}{line}\n"
        if not line.endswith("\\") and _is_complete(statement):
            yield statement.strip()
            statement = ""


def _is_complete(statement: str) -> bool:
    try:
        shlex.split(statement, comments=True)
    except ValueError:
        return False
    return True
