"""What is wrong with a message: one value for each problem, and the error that carries all of them.

Made by `rollout/spec/validation.py`, `rollout/spec/rules.py` and `rollout/spec/message.py`; printed
into quarantine records, dead letters and logs. Invariant: no part of a problem repeats what could
be a secret, and none is longer than a few lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

MOST_PROBLEMS = 50
MOST_SHOWN = 80

# Fields whose values may hold a secret, or into which people paste one by mistake.
_HIDDEN = re.compile(r"^artifact(\.(env|secrets|signature|args|startup_script|weights)\b.*|\[.*)?$")


@dataclass(frozen=True)
class SpecProblem:
    """One field that is not as it must be: `allowed` says what it must be or what to do; `given`,
    what it was, safe to print."""

    path: str
    allowed: str
    given: str | None = None

    def __str__(self) -> str:
        told = f"{self.path}: {self.allowed}"
        return told if self.given is None else f"{told}, got {self.given}"


class Invalid(ValueError):
    """A message, or a spec, that can never be accepted; `problems` are all that were found, up to a
    number nobody reads."""

    def __init__(self, problems: Iterable[SpecProblem]) -> None:
        found = tuple(dict.fromkeys(problems))
        if len(found) > MOST_PROBLEMS:
            found = (
                *found[:MOST_PROBLEMS],
                SpecProblem("message", "has more problems; put these right first"),
            )
        self.problems = found
        super().__init__("; ".join(str(problem) for problem in found))


def path_of(steps: Iterable[str | int]) -> str:
    """`("scaling", "metrics", 0, "name")` as `scaling.metrics[0].name`; what is not plain text in a
    key is escaped and cut."""
    text = ""
    for step in steps:
        text += f"[{step}]" if isinstance(step, int) else f".{_key(step)}" if text else _key(step)
    return text


def redact(path: str, value: object) -> str:
    """The value as JSON where that is short and harmless, else what kind of value it is."""
    match value:
        case dict():
            return f"an object with {len(value)} fields"
        case list() | tuple():
            return f"a list of {len(value)}"
        case str() if _HIDDEN.match(path) or _has_user_info(value):
            return f"a text of {len(value)} characters"
        case str():
            return _quoted(value, MOST_SHOWN)
        case bool() | None:
            return json.dumps(value)
        case int() if value.bit_length() > 128:
            return "a number of more than 38 digits"
        case int() | float():
            return "a number" if _HIDDEN.match(path) else json.dumps(value)
        case _:
            return f"a {type(value).__name__}"


def _has_user_info(text: str) -> bool:
    """Whether some part of a reference looks like `user:password@host`."""
    return any(":" in part.rpartition("@")[0] for part in text.split("/"))


def _quoted(text: str, most: int) -> str:
    # Escaped beyond ASCII, so that marks that reorder or hide text on a screen are seen for what
    # they are.
    return (
        json.dumps(text)
        if len(text) <= most
        else f"{json.dumps(text[:most])} and {len(text) - most} characters more"
    )


def _key(text: str) -> str:
    if re.fullmatch(r"[!-~]{1,64}", text):
        return text
    return _quoted(text, 40)
