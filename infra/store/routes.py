"""Reads and writes pending routes, one document for each model and gateway that has one. See
`infra/fleet/pending_routes.py`.

A document exists only until the URL map has its route, or for two minutes after its model last
asked for it. It counts only while its model's document has the same revision, so that neither a
late worker nor a restored store writes a route that its model no longer asks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from infra.fleet.pending_routes import PendingRoute
from infra.store.documents import UnknownSchema, release_from_document, release_to_document
from infra.store.port import Create, Document, Replace, Write
from rollout.deferred import dataclass
from rollout.model import Cohort, Mirror, Problem, TrafficTarget, TrafficWeight

COLLECTION = "routes"
VALID = timedelta(minutes=2)

Json = dict[str, Any]


def path(model: str, gateway: str = "") -> str:
    """A model asks for one route in each gateway that it is moved from or to."""
    return f"{COLLECTION}/{model}@{gateway}" if gateway else f"{COLLECTION}/{model}"


@dataclass(frozen=True)
class StoredRoute:
    """A pending route and the document version it was read at, which fences the next write."""

    route: PendingRoute
    version: str

    @property
    def path(self) -> str:
        return path(self.route.model, self.route.gateway)


def stored_route(document: Document | None) -> StoredRoute | None:
    """None also for a document that this Slipway cannot read, whoever wrote it."""
    if document is None:
        return None
    with suppress(UnknownSchema, KeyError, TypeError, ValueError, AttributeError):
        found = StoredRoute(from_document(document.data), document.version)
        return found if found.path == document.path and _is_readable(found.route) else None
    return None


def _is_readable(route: PendingRoute) -> bool:
    """Whether the values are of their types. Raises if no rules can be made of them."""
    rules = route.route.rules if route.route else ()
    has_weights = all(type(each.weight) is int for rule in rules for each in rule.backends)
    has_rules = has_weights and all(rule.path_rule for rule in rules)
    is_timed = isinstance(route.requested_at, datetime)
    return has_rules and is_timed and type(route.revision) is int


def model_of(document: Document) -> str:
    return document.path.rpartition("/")[2].partition("@")[0]


def gateway_of(document: Document) -> str:
    return document.path.partition("@")[2]


def place(document: Document) -> tuple[bool, str]:
    """The place of a document among all of them, whatever is in it: rollbacks and removals first,
    then who asked first. See `pending_routes.in_order`.
    """
    data = document.data
    requested_at = data.get("requested_at")
    moment = requested_at.isoformat() if isinstance(requested_at, datetime) else "~"
    return data.get("is_first") is not True, moment


def write_route(before: Document | None, route: PendingRoute) -> Write:
    where, data = path(route.model, route.gateway), to_document(route)
    return Replace(where, data, before.version) if before else Create(where, data)


def counts(stored: StoredRoute, model: Document | None, now: datetime) -> bool:
    """Whether a pending route may be written: its model asked for it lately, at its present
    revision, and is not on hold.
    """
    route = stored.route
    if model is None or model.data.get("hold") or route.problem:
        return False
    is_present: bool = route.revision == model.data.get("revision")
    return is_present and now - route.requested_at <= VALID


def is_outdated(document: Document, now: datetime) -> bool:
    """Also if it does not say since when it is pending: its model asks again."""
    requested_at = document.data.get("requested_at")
    return not isinstance(requested_at, datetime) or abs(now - requested_at) > VALID


# ---- Documents


def to_document(route: PendingRoute) -> Json:
    traffic, problem = route.traffic, route.problem
    return {
        "model": route.model,
        "revision": route.revision,
        "is_first": route.is_first,
        "requested_at": route.requested_at,
        "traffic": _traffic(traffic) if traffic else None,
        "problem": vars(problem) | {} if problem else None,
        "gateway": route.gateway,
    }


def from_document(document: Mapping[str, Any]) -> PendingRoute:
    traffic, problem = document["traffic"], document["problem"]
    return PendingRoute(
        document["model"],
        _read_traffic(traffic) if traffic is not None else None,  # none of it removes the route
        document["revision"],
        document["is_first"],
        document["requested_at"],
        Problem(**problem) if problem else None,
        document.get("gateway", ""),
    )


def _traffic(traffic: TrafficTarget) -> Json:
    return {
        "settings": release_to_document(traffic.settings),
        "weights": [vars(each) | {} for each in traffic.weights],
        "cohorts": [vars(each) | {} for each in traffic.cohorts],
        "mirror": vars(traffic.mirror) | {} if traffic.mirror else None,
        "is_claimed": traffic.is_claimed,
        "also": [release_to_document(each) for each in traffic.also],
    }


def _read_traffic(document: Mapping[str, Any]) -> TrafficTarget:
    mirror = document["mirror"]
    return TrafficTarget(
        release_from_document(document["settings"]),
        tuple(TrafficWeight(**each) for each in document["weights"]),
        tuple(Cohort(**each) for each in document["cohorts"]),
        Mirror(**mirror) if mirror else None,
        document.get("is_claimed", False),
        tuple(release_from_document(each) for each in document.get("also", ())),
    )
