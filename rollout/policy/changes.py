"""Widens a policy by changes such as `hosts=models.example.com` or `max_instances=20`. Pure.

Called by `slipway policy allow`. Invariant: a change allows more than before, or is an error: a
list or a cap that was no limit never becomes one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from rollout.policy.policy import COSTS, NO_LIMIT_IF_ABSENT, Policy, load_policy

SWITCHES = {"external_ip": True, "require_digest": False}
"""Which value allows more."""
_DEFAULTS: Mapping[str, Any] = {each.name: each.default for each in fields(Policy)}
_LISTS = tuple(
    name
    for name, default in _DEFAULTS.items()
    if isinstance(default, tuple) and name not in ("signers", "freezes")
)
_CAPS = tuple(name for name in _DEFAULTS if name.startswith("max_"))
WIDENED = (*_CAPS, *_LISTS, *SWITCHES)


def widen(document: Mapping[str, Any], changes: Iterable[str]) -> dict[str, Any]:
    """The document with the changes, in the form `field=value` or `field=value,value`. Raises
    ValueError, also if the document is no policy.
    """
    load_policy(document)
    changed = dict(document)
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals or name not in WIDENED or not value:
            raise ValueError(
                f"{change}: must be FIELD=VALUE, with a field of {', '.join(WIDENED)}; edit others"
                " in a file"
            )
        changed[name] = _widened(name, value, changed.get(name))
    load_policy(changed)
    return changed


def _widened(name: str, value: str, present: Any) -> Any:
    if name in SWITCHES:
        if value != str(SWITCHES[name]).lower():
            raise ValueError(f"{name}={value}: allows less; edit the policy in a file")
        return SWITCHES[name]
    if present is None and (name in _CAPS or name in NO_LIMIT_IF_ABSENT):
        raise ValueError(f"{name}={value}: {name} limits nothing now, so there is nothing to allow")
    if name in _LISTS:
        before = _DEFAULTS[name] if present is None else present
        return [*dict.fromkeys((*before, *value.split(",")))]
    try:
        number = float(value) if name in COSTS else int(value)
    except ValueError:
        raise ValueError(f"{name}={value}: must be a number") from None
    if number < present:
        raise ValueError(f"{name}={value}: allows less than {present:g}; edit the policy in a file")
    return number
