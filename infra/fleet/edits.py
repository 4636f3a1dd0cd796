"""Says who changed the URL map beside Slipway, from the operations of the project. Pure.

Called by `handlers/reconcile/explain.py` after a pass has found such a change. Every operation
names its user. Slipway's own changes carry a request id that is a name-based UUID (version 5),
which Compute Engine answers as `clientOperationId`; other clients make random ones, or none.
Source: Compute API reference, globalOperations.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

from infra.fleet import naming
from infra.fleet.model import Body, Key

EDITS_FILTER = '(operationType = "update") OR (operationType = "patch")'
"""The filter of a list of global operations that finds changes of a URL map, and others."""


def edited_by(operations: Iterable[Body], since: datetime) -> str:
    """Who changed a gateway's URL map last since then, and when: `ann@example.com at
    2026-01-01T12:00:00Z`. Empty if no operation says so.
    """
    edits = [
        (at, str(each["user"]))
        for each in operations
        if _is_gateway(naming.canonical(str(each.get("targetLink", ""))))
        and not _is_own(str(each.get("clientOperationId", "")))
        and each.get("user")
        and (at := datetime.fromisoformat(str(each.get("insertTime")))) >= since
    ]
    if not edits:
        return ""
    at, user = max(edits)
    return f"{user} at {at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _is_gateway(target: str) -> bool:
    key = Key("urlMaps", naming.GLOBAL, naming.last(target) or "")
    return target == naming.reference(key) and naming.gateway_of(key) is not None


def _is_own(request_id: str) -> bool:
    try:
        return UUID(request_id).version == 5
    except ValueError:
        return False
