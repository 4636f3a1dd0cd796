"""JSON Merge Patch (RFC 7396): how a release inherits what its event leaves out. Used by
`rollout/spec/message.py`."""

from __future__ import annotations

from typing import Any


def merge(target: Any, patch: Any) -> Any:
    """The target with the patch applied: objects member by member, null takes a member away,
    anything else replaces."""
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
    """What a patch says on its own. Nulls within lists stay: a merge does not look into lists."""
    return merge({}, value)
