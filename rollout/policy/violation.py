"""One thing that a policy does not allow. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from rollout.deferred import dataclass


@dataclass(frozen=True)
class Violation:
    """`why` begins with the path of the release's field. `allow` is the change of the policy that
    would allow it, as `slipway policy allow` takes it; empty if no single change would.
    """

    why: str
    allow: str = ""


def listed(values: Iterable[str], nothing: str) -> str:
    return ", ".join(values) or nothing


def explain(violations: Iterable[Violation]) -> tuple[str, ...]:
    """All reasons, and how to allow it."""
    found = tuple(violations)
    todo = _how_to_allow(found)
    return (*(each.why for each in found), *((todo,) if todo else ()))


def _how_to_allow(violations: Iterable[Violation]) -> str:
    """The one command that allows everything of it that a command can; empty if there is none."""
    found = tuple(violations)
    changes = dict.fromkeys(each.allow for each in found if each.allow)
    if not changes:
        return ""
    command = shlex.join(("slipway", "policy", "allow", *changes))
    rest = [each.why.partition(":")[0] for each in found if not each.allow]
    what = f"all but {', '.join(dict.fromkeys(rest))}" if rest else "this"
    return f"settings/policy: whoever may change the policy allows {what} with: {command}"
