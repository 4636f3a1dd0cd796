"""Problems found in a message or spec, and the error that carries them.

Created by `rollout/spec/validation.py`, `rules.py` and `message.py`; written to quarantine records,
dead letters and logs. Invariant: a problem never repeats a value that could be a secret, and is
never longer than a few lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from rollout.deferred import dataclass

MAX_PROBLEMS = 50
MAX_DISPLAYED = 80

# Fields that may contain a secret, or into which people paste one by mistake.
_HIDDEN = re.compile(r"^artifact(\.(env|secrets|signature|args|startup_script|weights)\b.*|\[.*)?$")


@dataclass(frozen=True)
class SpecProblem:
    """One invalid field: `allowed` says what it must be or what to do; `given` is its value, safe
    to print.
    """

    path: str
    allowed: str
    given: str | None = None

    def __str__(self) -> str:
        text = f"{self.path}: {self.allowed}"
        return text if self.given is None else f"{text}, got {self.given}"


class Invalid(ValueError):
    """A message or spec that can never be accepted; `problems` are those found, each once, and at
    most `MAX_PROBLEMS`.
    """

    def __init__(self, problems: Iterable[SpecProblem]) -> None:
        found = tuple(dict.fromkeys(problems))
        if len(found) > MAX_PROBLEMS:
            found = (
                *found[:MAX_PROBLEMS],
                SpecProblem("message", "has more problems; fix these first"),
            )
        self.problems = found
        super().__init__("; ".join(str(problem) for problem in found))


def path_of(steps: Iterable[str | int]) -> str:
    """`("scaling", "metrics", 0, "name")` as `scaling.metrics[0].name`; other keys than plain text
    are escaped and truncated.
    """
    text = ""
    for step in steps:
        text += f"[{step}]" if isinstance(step, int) else f".{_key(step)}" if text else _key(step)
    return text


def redact(path: str, value: object) -> str:
    """The value as JSON if that is short and harmless, otherwise only its type and size."""
    match value:
        case dict():
            return f"an object with {len(value)} fields"
        case list() | tuple():
            return f"a list of {len(value)}"
        case str() if is_hidden(path, value):
            return f"a string of {len(value)} characters"
        case str():
            return _quote(value, MAX_DISPLAYED)
        case bool() | None:
            return json.dumps(value)
        case int() if value.bit_length() > 128:
            return "a number of more than 38 digits"
        case int() | float():
            return "a number" if _HIDDEN.match(path) else json.dumps(value)
        case _:
            return f"a {type(value).__name__}"


def is_hidden(path: str, text: str) -> bool:
    """Whether a text may be a secret."""
    return bool(_HIDDEN.match(path)) or _has_user_info(text)


def _has_user_info(text: str) -> bool:
    """Whether a part of a reference looks like `user:password@host`."""
    return any(":" in part.rpartition("@")[0] for part in text.split("/"))


def _quote(text: str, most: int) -> str:
    # Escaped beyond ASCII, so that characters that reorder or hide text on a screen are visible.
    if len(text) <= most:
        return json.dumps(text)
    return f"{json.dumps(text[:most])} and {len(text) - most} more characters"


def _key(text: str) -> str:
    if re.fullmatch(r"[!-~]{1,64}", text):
        return text
    return _quote(text, 40)
