"""Which machine type a new VM gets if a group allows several.

`group_capacity.py` asks before each attempt. Source: API reference,
instanceFlexibilityPolicy.instanceSelections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

Reason = TypeVar("Reason")


@dataclass(frozen=True)
class Selection:
    """Machine types of one rank; a lower rank is tried first."""

    machine_types: tuple[str, ...]
    rank: int = 0


def preferred(selections: Iterable[Selection]) -> tuple[str, ...]:
    """All types in the order in which they are tried. Types of one rank keep the order in which
    they are named.
    """
    ranked = sorted(selections, key=lambda selection: selection.rank)
    return tuple(dict.fromkeys(name for selection in ranked for name in selection.machine_types))


def choose(
    types: Iterable[str], reason_against: Callable[[str], Reason | None]
) -> tuple[str, Reason | None]:
    """The first available type; if none is, the most preferred type and why it is not available.
    `types` must not be empty.
    """
    first: tuple[str, Reason | None] | None = None
    for name in types:
        reason = reason_against(name)
        if reason is None:
            return name, None
        first = first or (name, reason)
    assert first is not None
    return first
