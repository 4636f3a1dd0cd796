"""What others wrote, as a person can see it. Pure.

Used wherever text from outside comes in, and wherever text goes to a person: an approver must not
be shown another text than the one that was written. What cannot be seen, or moves or reorders what
can, is shown as its escape: `an\\u200bn`. So are marks above and below a letter beyond those that
languages use, since a pile of them covers other lines. Letters that merely look alike (Latin and
Cyrillic a) are letters, and stay.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

MAX_MARKS = 4
"""How many marks in a row one letter may have; pointed Hebrew and Tibetan have as many."""

# What `str.isprintable` lets through although nothing is drawn: joiners, fillers and blanks, and
# the selectors that change the look of the character before them. The rest of Unicode's
# default-ignorable characters is not printable anyway.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U00013441\U00013442\U00016fe4\U0001d159\U000e0100-\U000e01ef]"
)


def is_visible(text: str) -> bool:
    """Whether each character of the text is drawn, and none moves, reorders or covers others."""
    if not text.isprintable() or _BLANK.search(text):
        return False
    return text.isascii() or all(is_drawn for _, is_drawn in _drawn(text))


def escape(text: str) -> str:
    """The text with an escape for each character that is not visible."""
    if is_visible(text):
        return text
    return "".join(each if is_drawn else _escape(each) for each, is_drawn in _drawn(text))


def one_line(text: str, longest: int) -> str:
    """The visible text without line breaks, cut off."""
    line = escape(" ".join(text.split()))
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def _drawn(text: str) -> Iterator[tuple[str, bool]]:
    """Each character, and whether it may be drawn after those before it. A mark at the beginning
    would be drawn over what somebody else wrote before the text.
    """
    marks = MAX_MARKS
    for each in text:
        marks = marks + 1 if unicodedata.category(each) in ("Mn", "Me") else 0
        yield each, each.isprintable() and not _BLANK.match(each) and marks <= MAX_MARKS


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
