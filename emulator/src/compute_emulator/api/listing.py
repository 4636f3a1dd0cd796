"""Lists as the API pages them: filter, sort, cut, page token. Also aggregated lists, which map
scopes to lists.

A page token names the last item of its page, so that an item added or removed between two pages
neither repeats nor hides another.
"""

from __future__ import annotations

import base64
import binascii
import json
from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from typing import Any

from compute_emulator.api.filters import matcher
from compute_emulator.errors import Invalid, JsonObject

PAGE = 500
View = Callable[[JsonObject], JsonObject]


def page(
    items: list[JsonObject], params: dict[str, Any], member: str, view: View | None = None
) -> JsonObject:
    """`member` is absent if there are no items, as in the API.

    `view` converts a stored item to its representation. It is called only for items on the page,
    unless a filter needs all of them.
    """
    matching = _ordered(_filtered(*_representations(items, params, view)), params)
    start = _start(params, [_label(item) for item in matching] if params.get("pageToken") else ())
    size = params.get("maxResults") or PAGE
    on_page = matching[start : start + size]
    if view is not None and not params.get("filter"):
        on_page = [view(item) for item in on_page]
    response: JsonObject = {member: on_page} if on_page else {}
    if start + size < len(matching):
        response["nextPageToken"] = _token(start + size, _label(matching[start + size - 1]))
    return response


def _representations(
    items: list[JsonObject], params: dict[str, Any], view: View | None
) -> tuple[list[JsonObject], dict[str, Any]]:
    """What a filter applies to: the items' representations."""
    return (
        [view(item) for item in items] if view is not None and params.get("filter") else items
    ), params


def aggregate(
    items_by_scope: dict[str, list[JsonObject]],
    params: dict[str, Any],
    collection: str,
    scopes: Sequence[str],
    view: View | None = None,
    unreachable: Collection[str] = (),
) -> JsonObject:
    """Items of all scopes, paged across them. A warning marks the `scopes` without items on the
    page, and those in `unreachable`. `view` as in `page`.
    """
    flat = [
        (scope, item)
        for scope in sorted(items_by_scope)
        if scope not in unreachable
        for item in _ordered(
            _filtered(*_representations(items_by_scope[scope], params, view)), params
        )
    ]
    labels = [[scope, *_label(item)] for scope, item in flat] if params.get("pageToken") else ()
    start = _start(params, labels)
    size = params.get("maxResults") or PAGE
    found: dict[str, JsonObject] = {}
    for scope, item in flat[start : start + size]:
        entry = view(item) if view is not None and not params.get("filter") else item
        found.setdefault(scope, {collection: []})[collection].append(entry)
    for scope in scopes:
        if scope in unreachable:
            found[scope] = {
                "warning": _warning("UNREACHABLE", f"The scope '{scope}' cannot be reached.", scope)
            }
        elif scope not in found:
            found[scope] = {
                "warning": _warning(
                    "NO_RESULTS_ON_PAGE",
                    f"There are no results for scope '{scope}' on this page.",
                    scope,
                )
            }
    response: JsonObject = {"items": found}
    if start + size < len(flat):
        scope, item = flat[start + size - 1]
        response["nextPageToken"] = _token(start + size, [scope, *_label(item)])
    return response


def _warning(code: str, message: str, scope: str) -> JsonObject:
    return {"code": code, "message": message, "data": [{"key": "scope", "value": scope}]}


def _filtered(items: list[JsonObject], params: dict[str, Any]) -> list[JsonObject]:
    expression = params.get("filter")
    if not expression:
        return items
    matches = matcher(expression)
    return [item for item in items if matches(item)]


def _ordered(items: list[JsonObject], params: dict[str, Any]) -> list[JsonObject]:
    match params.get("orderBy"):
        case None | "":
            return items
        case "name" | "name asc":
            return sorted(items, key=lambda item: str(item.get("name", "")))
        case "creationTimestamp desc":
            return sorted(items, key=_creation_time, reverse=True)
        case other:
            raise Invalid("orderBy", other, "Only name and creationTimestamp desc are supported.")


def _creation_time(item: JsonObject) -> str:
    """Operations have an insert time instead of a creation timestamp."""
    return str(item.get("creationTimestamp") or item.get("insertTime", ""))


def _label(item: JsonObject) -> list[str]:
    return [str(item.get("name") or item.get("instance", ""))]


def _token(start: int, label: list[str]) -> str:
    return base64.urlsafe_b64encode(json.dumps([start, *label]).encode()).decode()


def _start(params: dict[str, Any], labels: Sequence[list[str]]) -> int:
    """Where the page starts: after the item that the token names. If that item is gone: at its
    position in a sorted list, else at the token's number.
    """
    token = params.get("pageToken")
    if not token:
        return 0
    try:
        start, *label = json.loads(base64.urlsafe_b64decode(token))
        if not isinstance(start, int):
            raise ValueError(token)
    except (binascii.Error, ValueError, TypeError) as error:
        raise Invalid("pageToken", token, "The page token does not belong to this list.") from error
    ordered = list(labels)
    if label in ordered:
        return ordered.index(label) + 1
    return bisect_right(ordered, label) if ordered == sorted(ordered) else start
