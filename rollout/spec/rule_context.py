"""What a rule between the fields of a spec may read. Pure.

Used by `rules.py` and `gate_rules.py` beside this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rollout.deferred import dataclass
from rollout.spec.model import Sections
from rollout.spec.problems import SpecProblem
from rollout.spec.validation import Path


@dataclass(frozen=True)
class RuleContext:
    """What the rules check. `given` is the message; unless `whole`, only its fields are known.
    `removed` are the invalid parts that `spec` lacks.
    """

    spec: Sections
    given: Mapping[str, Any]
    whole: bool
    removed: frozenset[Path] = frozenset()

    def knows(self, *paths: str) -> bool:
        return all(
            (self.whole or self._states(path)) and not self._is_removed(path) for path in paths
        )

    def gives(self, path: str) -> bool:
        """Whether the message itself gives a value for this field."""
        return gives(self.given, path)

    def _states(self, path: str) -> bool:
        """Whether the message determines this field. A null does: it means the default, for the
        field and everything in it.
        """
        node: Any = self.given
        for step in path.split("."):
            if not isinstance(node, dict):
                return node is None
            if step not in node:
                return False
            node = node[step]
        return True

    def _is_removed(self, path: str) -> bool:
        steps = tuple(path.split("."))
        return any(place[: len(steps)] == steps[: len(place)] for place in self.removed)


def gives(patch: Mapping[str, Any], path: str) -> bool:
    node: Any = patch
    for step in path.split("."):
        node = node.get(step) if isinstance(node, Mapping) else None
    return node is not None


Rule = Callable[[RuleContext], Iterator[SpecProblem]]
