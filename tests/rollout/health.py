"""The observed health of release 2 beside release 1, for the tests of the gates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rollout.gates.release_health import ReleaseHealth, observe_release
from rollout.model import GroupTarget, GroupView, Health, Instance, Share
from rollout.strategies.rolling import steady_group
from tests.rollout.build import group, instances, release

ONE, TWO = release("1"), release("2")


def target(count: int | None) -> GroupTarget:
    """A blue group with `count` instances of release 2; the rest run release 1."""
    return replace(steady_group(ONE, "blue"), shares=(Share(ONE), Share(TWO, count)))


def view(*members: Instance, **changes: Any) -> GroupView:
    return group(*members, **changes).groups[0]


def health(
    healthy: int,
    needed: int | None = None,
    others: int = 0,
    state: Health = "unhealthy",
    **changes: Any,
) -> ReleaseHealth:
    """Release 2 with `healthy` instances and `others` in another state; `needed` defaults to both
    together, `changes` override the group's view.
    """
    members = (*instances(TWO, healthy), *instances(TWO, others, state, start=healthy))
    return observe_release(
        target(healthy + others if needed is None else needed),
        TWO,
        view(*instances(ONE, 5), *members, **changes),
    )
