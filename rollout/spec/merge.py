"""JSON Merge Patch (RFC 7396): how a release inherits what its event leaves out. Used by
`rollout/spec/message.py`.
"""

from __future__ import annotations

from typing import Any


def merge(target: Any, patch: Any) -> Any:
    """The target with the patch applied: objects are merged member by member, null removes a
    member, any other value replaces the old one.
    """
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def without_nulls(value: Any) -> Any:
    """The patch applied to nothing. Nulls within lists stay, because a merge does not look into
    lists.
    """
    return merge({}, value)
