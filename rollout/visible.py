"""What others wrote, as a person can see it. Pure.

Used wherever text from outside comes in, and wherever text goes to a person: an approver must not
be shown another text than the one that was written. What cannot be seen, or moves or reorders what
can, is shown as its escape: `an\\u200bn`. Letters that merely look alike (Latin and Cyrillic a) are
letters, and stay.
"""

from __future__ import annotations

import re

# What `str.isprintable` lets through although nothing is drawn: joiners, fillers and blanks, and
# the selectors that change the look of the character before them. The rest of Unicode's
# default-ignorable characters is not printable anyway.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U0001d159\U000e0100-\U000e01ef]"
)


def is_visible(text: str) -> bool:
    """Whether each character of the text is drawn, and none changes how others are."""
    return text.isprintable() and not _BLANK.search(text)


def escape(text: str) -> str:
    """The text with an escape for each character that is not visible."""
    if is_visible(text):
        return text
    return "".join(each if is_visible(each) else _escape(each) for each in text)


def one_line(text: str, longest: int) -> str:
    """The visible text without line breaks, cut off."""
    line = escape(" ".join(text.split()))
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
