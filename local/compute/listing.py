"""Lists as the API pages them: filter, order, cut, token. Also the aggregated form, which maps scopes to lists."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from local.compute.errors import Invalid, JsonObject
from local.compute.filters import matcher

PAGE = 500
View = Callable[[JsonObject], JsonObject]


def page(items: list[JsonObject], params: dict[str, Any], member: str, view: View | None = None) -> JsonObject:
    """`member` is absent when there is nothing, as in the API.

    `view` makes what is shown of what is kept. It is asked only for what is on the page, unless a filter needs to see all.
    """
    kept = _ordered(_filtered(*_seen(items, params, view)), params)
    start = _start(params)
    size = params.get("maxResults") or PAGE
    cut = kept[start : start + size]
    if view is not None and not params.get("filter"):
        cut = [view(item) for item in cut]
    answer: JsonObject = {member: cut} if cut else {}
    if start + size < len(kept):
        answer["nextPageToken"] = _token(start + size)
    return answer


def _seen(items: list[JsonObject], params: dict[str, Any], view: View | None) -> tuple[list[JsonObject], dict[str, Any]]:
    """What a filter looks at: the items as they are shown."""
    return ([view(item) for item in items] if view is not None and params.get("filter") else items), params


def aggregate(
    items_by_scope: dict[str, list[JsonObject]],
    params: dict[str, Any],
    collection: str,
    scopes: list[str],
    view: View | None = None,
) -> JsonObject:
    """All scopes on the pages, items cut across them; scopes with nothing carry a warning unless only part was asked
    for. `view` as in `page`.
    """
    flat = [(scope, item) for scope, items in items_by_scope.items() for item in _filtered(*_seen(items, params, view))]
    start = _start(params)
    size = params.get("maxResults") or PAGE
    found: dict[str, JsonObject] = {}
    for scope, item in flat[start : start + size]:
        shown = view(item) if view is not None and not params.get("filter") else item
        found.setdefault(scope, {collection: []})[collection].append(shown)
    for scope in scopes:
        if scope not in found and (params.get("includeAllScopes") or not found):
            found[scope] = {"warning": _nothing(scope)}
    answer: JsonObject = {"items": found}
    if start + size < len(flat):
        answer["nextPageToken"] = _token(start + size)
    return answer


def _nothing(scope: str) -> JsonObject:
    return {
        "code": "NO_RESULTS_ON_PAGE",
        "message": f"There are no results for scope '{scope}' on this page.",
        "data": [{"key": "scope", "value": scope}],
    }


def _filtered(items: list[JsonObject], params: dict[str, Any]) -> list[JsonObject]:
    expression = params.get("filter")
    if not expression:
        return items
    matches = matcher(expression)
    return [item for item in items if matches(item)]


def _ordered(items: list[JsonObject], params: dict[str, Any]) -> list[JsonObject]:
    match params.get("orderBy"):
        case None | "" | "name":
            return items
        case "creationTimestamp desc":
            return sorted(items, key=lambda item: str(item.get("creationTimestamp", "")), reverse=True)
        case other:
            raise Invalid("orderBy", other, "Only name and creationTimestamp desc are supported.")


def _token(start: int) -> str:
    return base64.urlsafe_b64encode(f"at:{start}".encode()).decode()


def _start(params: dict[str, Any]) -> int:
    token = params.get("pageToken")
    if not token:
        return 0
    try:
        return int(base64.urlsafe_b64decode(token).decode().removeprefix("at:"))
    except (binascii.Error, ValueError) as wrong:
        raise Invalid("pageToken", token, "The page token is not one of this list.") from wrong
