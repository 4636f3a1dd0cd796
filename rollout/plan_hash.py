"""The hash of what a plan decided on, and what of it has changed since. Pure.

`slipway plan --out` writes it, a release carries it in `plan`. The intake compares what follows
from the documents, the first pass of the rollout the rest. Sizes, which an autoscaler moves, are no
part of it. The parts are hashed one by one, so that a refusal names those that changed:

    spec.base.policy.steps.actions
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace

from rollout.model import Release, Rollout, Settled
from rollout.policy.policy import Policy
from rollout.strategies import strategy_of, swap_of
from rollout.strategies.base import steps_digest

LENGTH = 8
DOCUMENTS: Mapping[str, str] = {
    "spec": "the merged spec",
    "base": "the release that it inherits from",
    "policy": "the policy",
    "steps": "the steps",
}
"""The parts that the intake compares, in their order, in words."""


def settled_before(rollout: Rollout) -> Rollout:
    """The rollout as a release finds it when it begins: what is under way has ended, and the group
    that was kept has made way.
    """
    return replace(rollout, phase=Settled(), candidate=None, paused=None, kept=None)


def plan_hash(
    rollout: Rollout, release: Release, base: Release | None, policy: Policy, kinds: Iterable[str]
) -> str:
    """`kinds`: those of the actions that the whole rollout takes."""
    return ".".join((*_documents(rollout, release, base, policy), _short(" ".join(kinds))))


def changed_documents(
    plan: str, rollout: Rollout, release: Release, base: Release | None, policy: Policy
) -> str:
    """Why the plan does not hold any more, by the documents; empty if it does."""
    given, found = plan.split("."), _documents(rollout, release, base, policy)
    changed = [
        words
        for words, before, after in zip(DOCUMENTS.values(), given, found, strict=False)
        if before != after
    ]
    if not changed:
        return ""
    return f"{' and '.join(changed)} changed after it was planned; plan it again"


def changed_actions(plan: str, kinds: Iterable[str]) -> str:
    """The same by the kinds of actions that the rollout would take now."""
    present = tuple(kinds)
    if plan.split(".")[-1] == _short(" ".join(present)):
        return ""
    now = ", ".join(present) or "nothing"
    return f"what has to be done changed after it was planned, and is now {now}; plan it again"


def _documents(
    rollout: Rollout, release: Release, base: Release | None, policy: Policy
) -> tuple[str, ...]:
    default = Policy()
    stated = {
        each.name: value
        for each in fields(policy)
        if each.compare and (value := getattr(policy, each.name)) != getattr(default, each.name)
    }
    steps = strategy_of(release).steps(swap_of(rollout, release))
    return (
        release.digest[:LENGTH],
        base.digest[:LENGTH] if base else "0" * LENGTH,
        _short(repr(_in_order(stated))),
        steps_digest(steps)[:LENGTH],
    )


def _in_order(value: object) -> object:
    """The same for equal policies: a store may return the fields of a map in any order."""
    match value:
        case tuple():
            return tuple(_in_order(each) for each in value)
        case Mapping():
            return sorted((name, _in_order(each)) for name, each in value.items())
        case _ if is_dataclass(value) and not isinstance(value, type):
            return [(each.name, _in_order(getattr(value, each.name))) for each in fields(value)]
    return value


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]
