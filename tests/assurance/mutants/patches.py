"""Reads the seeded defects and applies them. Pure, except that it reads the files.

A patch is a head and a unified diff, which `git apply --unidiff-zero` accepts as well:

    What the mistake is, in a sentence or two.

    Breaks: rule 5, and in what way
    Killed by: a test that should fail, as pytest names it (one per line, the likeliest first)
    Survives: why no test can find it, if none can

    --- a/handlers/release.py
    ...
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[2]
DEPLOYED = ("main.py", "handlers/", "rollout/", "infra/", "deploy/", "console/dashboard/")
LABEL = re.compile(r"rule (?:10|[1-9])|I(?:1[0-9]|[1-9])|S(?:1[01]|[1-9])|D[1-6]")
_FIELD = re.compile(r"^(Breaks|Killed by|Survives): (.+)$", re.MULTILINE)
_HUNK = re.compile(r"^@@ .*?@@.*$", re.MULTILINE)


class DoesNotApply(Exception):
    """The code that the patch changes does not occur exactly once: make the patch again."""


@dataclass(frozen=True)
class Edit:
    """One change to a file: `old` must occur in it exactly once."""

    path: str
    old: str
    new: str


@dataclass(frozen=True)
class Patch:
    name: str
    text: str

    @property
    def digest(self) -> str:
        """Identifies the change itself, whatever its head and its line numbers."""
        text = repr([(edit.path, edit.old, edit.new) for edit in self.edits])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def mistake(self) -> str:
        """What is wrong with the patched code."""
        return " ".join(self._head.split("\n\n")[0].split())

    @property
    def breaks(self) -> str:
        return "; ".join(self._field("Breaks"))

    @property
    def killers(self) -> tuple[str, ...]:
        return self._field("Killed by")

    @property
    def survives(self) -> str:
        """Why no test can find it; empty if one should."""
        return " ".join(self._field("Survives"))

    @cached_property
    def edits(self) -> tuple[Edit, ...]:
        found = []
        for part in re.split(r"^--- a/", self.text, flags=re.MULTILINE)[1:]:
            path, _, rest = part.partition("\n")
            if not rest.startswith(f"+++ b/{path}\n"):
                raise DoesNotApply(f"{self.name}: --- a/{path} is not followed by +++ b/{path}")
            found += [
                Edit(path, _side(hunk, "-"), _side(hunk, "+")) for hunk in _HUNK.split(rest)[1:]
            ]
        return tuple(found)

    @property
    def _head(self) -> str:
        return self.text.partition("\n--- a/")[0]

    def _field(self, name: str) -> tuple[str, ...]:
        return tuple(text.strip() for field, text in _FIELD.findall(self._head) if field == name)


def _side(hunk: str, sign: str) -> str:
    """The lines of a hunk before the change (`-`) or after it (`+`)."""
    return "".join(f"{line[1:]}\n" for line in hunk.splitlines() if line[:1] in (" ", sign))


def load_patches() -> tuple[Patch, ...]:
    return tuple(
        Patch(path.stem, path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.patch"))
    )


def apply_patch(patch: Patch, folder: Path) -> dict[Path, str]:
    """The new text of each changed file. Raises `DoesNotApply`; writes nothing."""
    changed: dict[Path, str] = {}
    for edit in patch.edits:
        path = folder / edit.path
        if path not in changed and not path.exists():
            raise DoesNotApply(f"{patch.name}: there is no {edit.path}")
        text = changed.get(path) or path.read_text("utf-8")
        if edit.old == edit.new or text.count(edit.old) != 1:
            raise DoesNotApply(
                f"{patch.name}: the text to change occurs {text.count(edit.old)} times in"
                f" {edit.path}"
            )
        changed[path] = text.replace(edit.old, edit.new)
    return changed
