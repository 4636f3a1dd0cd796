"""Decides which releases an artifact is, by the routes. Pure.

Called by `handlers/artifact.py`. Invariant: the same artifact and the same routes give the same
releases, with the same versions; the version never depends on when a message arrives.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from rollout.deferred import dataclass
from rollout.sources.model import Artifact, Ignored
from rollout.sources.settings import DOCUMENT, Route, fill
from rollout.spec.message import Invalid, parse

MAX_VERSION = 63
CONTENT_CHARACTERS = 16


@dataclass(frozen=True)
class NewRelease:
    """What is published on `model-releases`. `event_id` is the same for each message about the
    artifact.
    """

    model: str
    event_id: str
    message: Mapping[str, Any]


def releases_for(artifact: Artifact, routes: tuple[Route, ...]) -> tuple[NewRelease | Ignored, ...]:
    """One for each model that a route names, or why there is none. If several routes name the same
    model, the first by name decides.
    """
    about = str(artifact)
    covering = [route for route in routes if route.covers(artifact)]
    if not covering:
        return (Ignored(f"no route of {DOCUMENT} matches {artifact.name}", about),)
    taking = [route for route in covering if route.takes(artifact.ref)]
    if not taking:
        named = ", ".join(route.name for route in covering)
        ref = artifact.ref or "an artifact without tag or alias"
        return (Ignored(f"{ref} is not in refs of {named} in {DOCUMENT}", about),)
    by_model = {route.model: route for route in reversed(taking)}
    return tuple(_release(artifact, by_model[model], about) for model in sorted(by_model))


def version_of(artifact: Artifact, route: Route) -> str:
    """A legal version; empty if the artifact has none."""
    content = artifact.content[:CONTENT_CHARACTERS]
    if route.version == "name":
        return _legal(artifact.version, MAX_VERSION)
    if not content:
        return ""
    ref = _legal(artifact.ref, MAX_VERSION - CONTENT_CHARACTERS - 1)
    return f"{ref}-{content}" if ref else content


def _release(artifact: Artifact, route: Route, about: str) -> NewRelease | Ignored:
    version = version_of(artifact, route)
    if not version:
        return Ignored(_unversioned(artifact, route), about)
    texts = {
        "name": artifact.name,
        "ref": artifact.ref,
        "version": artifact.version or version,
        "content": artifact.content,
    }
    message = {
        "model": route.model,
        "version": version,
        "requested_by": artifact.requested_by,
        "reason": f"{artifact.source}: {about}, by route {route.name}"[:500],
        **fill(route.spec or {}, texts),
    }
    of_artifact = {"image": artifact.image, "weights": artifact.weights}
    given = {name: text for name, text in of_artifact.items() if text}
    message["artifact"] = (message.get("artifact") or {}) | given
    try:
        parse(message)
    except Invalid as error:
        return Ignored(f"route {route.name} makes no valid release of it: {error}", about)
    event_id = hashlib.sha256(f"{artifact.id}#{route.model}".encode()).hexdigest()[:32]
    return NewRelease(route.model, event_id, message)


def _unversioned(artifact: Artifact, route: Route) -> str:
    where = f"{DOCUMENT}: routes.{route.name}.version"
    if route.version == "content":
        return f"it has no digest, generation or commit; set {where} to name"
    ref = artifact.ref or "an artifact without tag"
    return f"{ref} does not name one version; set {where} to content"


def _legal(text: str, longest: int) -> str:
    """The text as a version, of at most so many characters. A text that had to be changed gets a
    digest of what it was, so that two texts never give one version.
    """
    legal = re.sub(r"[^A-Za-z0-9._+-]", "-", text).lstrip("._+-")
    if legal == text and len(text) <= longest:
        return text
    mark = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{legal[: longest - 9]}-{mark}" if legal else mark
