"""Resource names: one `Key` for every form of a URL, and the self link of every key.

Requests may name a resource by a full URL on any host, by `projects/…`, or from the scope on
(`global/…`, `regions/R/…`); gcloud uses the overriding host. Only what follows `/compute/v1/`
counts. Responses always carry the full self link on Google's host.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

HOST = "https://www.googleapis.com/compute/v1/"
GLOBAL = "global"
PROJECT_NUMBER = "123456789012"


class Key(NamedTuple):
    """A resource of the project. `scope` is `global`, `regions/R` or `zones/Z`; `collection` is the
    collection's name in URLs.
    """

    scope: str
    collection: str
    name: str

    @property
    def region(self) -> str | None:
        return self.scope.removeprefix("regions/") if self.scope.startswith("regions/") else None


def relative(url: str) -> str:
    """The part of a URL or path after `/compute/v1/`, or else after the host."""
    for version in ("/compute/v1/", "/compute/beta/", "/compute/alpha/"):
        _, found, rest = url.partition(version)
        if found:
            return rest
    if "://" in url:
        return url.split("://", 1)[1].partition("/")[2]
    return url.lstrip("/")


def project_of(url: str) -> str | None:
    """The project that a URL names, or None if the URL starts at the scope."""
    parts = relative(url).split("/")
    return parts[1] if len(parts) > 1 and parts[0] == "projects" else None


@lru_cache(maxsize=65_536)
def parse(url: str) -> Key | None:
    """The key of a URL, or None if it names no resource."""
    parts = [part for part in relative(url).split("/") if part]
    if len(parts) > 1 and parts[0] == "projects":
        parts = parts[2:]
    if parts[:1] == [GLOBAL] and len(parts) >= 3:
        return Key(GLOBAL, parts[1], "/".join(parts[2:]))
    if len(parts) >= 4 and parts[0] in ("regions", "zones"):
        return Key(f"{parts[0]}/{parts[1]}", parts[2], "/".join(parts[3:]))
    if len(parts) == 2:
        return Key(GLOBAL, parts[0], parts[1])
    return None


def path(project: str, key: Key) -> str:
    """The name used in messages, `projects/P/…`. Regions and zones have no `global/` in theirs."""
    if key.collection in ("regions", "zones"):
        return f"projects/{project}/{key.collection}/{key.name}"
    return f"projects/{project}/{key.scope}/{key.collection}/{key.name}"


def link(project: str, key: Key) -> str:
    """The full self link."""
    return HOST + path(project, key)
