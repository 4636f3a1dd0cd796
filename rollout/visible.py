"""What others wrote, as a person can see it. Pure.

Used wherever text from outside comes in, and wherever text goes to a person: an approver must not
be shown another text than the one that was written. What cannot be seen, or moves or reorders what
can, is shown as its escape: `an\\u200bn`. So are marks above and below a letter beyond those that
languages use, since a pile of them covers other lines. A letter that looks like a Latin one, as the
Cyrillic a does, is shown as its escape in a word that has Latin letters too, and in an e-mail
address: whoever writes so imitates a name. Words of one script stay.
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


_PART = re.compile(r"\S+")
_WORD = re.compile(r"\w+")
_LATIN = re.compile("[A-Za-z]")
# Greek letters that look like Latin ones, and Cyrillic, Armenian, Cherokee, Coptic, Lisu,
# full-width and mathematical letters.
_IMITATION = re.compile(
    "[\u0391\u0392\u0395-\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03b1\u03b3"
    "\u03b9\u03ba\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7\u03f2\u03f3\u03f9\u0400-\u058f\u13a0-\u13ff"
    "\u1c80-\u1c8f\u2c80-\u2cff\ua4d0-\ua4ff\ua640-\ua69f\uab70-\uabbf\uff21-\uff3a\uff41-\uff5a"
    "\U0001d400-\U0001d7cb]"
)


def is_visible(text: str) -> bool:
    """Whether each character of the text is drawn, and none moves, reorders or covers others."""
    if not text.isprintable() or _BLANK.search(text):
        return False
    return text.isascii() or all(is_drawn for _, is_drawn in _drawn(text))


def escape(text: str) -> str:
    """The text with an escape for each character that is not visible or imitates a Latin letter."""
    if not is_visible(text):
        text = "".join(each if is_drawn else _escape(each) for each, is_drawn in _drawn(text))
    return text if text.isascii() else _PART.sub(_without_imitation, text)


def _without_imitation(part: re.Match[str]) -> str:
    return _distinct(part) if "@" in part[0] else _WORD.sub(_distinct, part[0])


def _distinct(word: re.Match[str]) -> str:
    if not _LATIN.search(word[0]):
        return word[0]
    return _IMITATION.sub(lambda letter: _escape(letter[0]), word[0])


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
