"""One line of `slipway doctor`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from console.examine.answer import NoAnswer

Result = Literal["right", "wrong", "left out"]
NAMED = 3


@dataclass(frozen=True)
class Finding:
    """`todo`: what to do if it is wrong, or about what could not be found out."""

    check: str
    result: Result
    what: str
    todo: str = ""


def right(check: str, what: str) -> Finding:
    return Finding(check, "right", what)


def wrong(check: str, what: str, todo: str) -> Finding:
    return Finding(check, "wrong", what, todo)


def left_out(check: str, what: str, todo: str = "") -> Finding:
    return Finding(check, "left out", what, todo)


def some(names: Iterable[str]) -> str:
    """The first names, and how many more there are."""
    found = [*names]
    more = len(found) - NAMED
    return ", ".join(found[:NAMED]) + (f" and {more} more" if more > 0 else "")


def unread(check: str, what: str, answer: NoAnswer, role: str) -> Finding:
    """A line about what could not be read."""
    if "has not been used" in answer.why or "is disabled" in answer.why:
        return left_out(check, f"{what}: {answer.why}", "Enable the API: deploy/bootstrap.sh does")
    todo = f"Ask for {role}" if answer.kind == "denied" else "Try again"
    return left_out(check, f"{what} could not be read ({answer.why})", todo)
