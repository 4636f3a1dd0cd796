"""Observes a run: the model's documents in the store, and the emulator's instances many times a
second.

Used by `local/demo.py`. It makes no API calls, so it does not affect the count of calls.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol

from compute_emulator import Emulator
from local.report import Entry, Sample, Story, stories, with_sample

EVERY_SECONDS = 0.05
PAGE = 200
COLOURS = ("blue", "green")
LEAVING = ("DELETING", "ABANDONING")


class Document(Protocol):
    @property
    def path(self) -> str: ...
    @property
    def data(self) -> dict[str, Any]: ...


class Store(Protocol):
    """The methods that the watcher needs."""

    def get(self, path: str) -> Document | None: ...
    def list(
        self, collection_path: str, limit: int, after: str | None = None
    ) -> Iterable[Document]: ...


@dataclass(frozen=True)
class Count:
    """The instances of one template: all, those that the load balancer uses, and the percentage of
    the requests that the URL map gives them.
    """

    all: int
    healthy: int
    share: float


class Watcher:
    """Samples the instances in a thread while in its `with` block; `poll` reads new documents."""

    def __init__(self, emulator: Emulator, store: Store, model: str) -> None:
        self._emulator, self._store, self._model = emulator, store, model
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._sample_on, name="watcher", daemon=True)
        self._counted: list[tuple[datetime, dict[str, Count]]] = []
        self._versions: dict[str, str] = {}
        self._last: str | None = None
        self.entries: tuple[Entry, ...] = ()
        self.samples: tuple[Sample, ...] = ()
        self.document: Mapping[str, Any] = {}

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join()

    @property
    def stories(self) -> tuple[Story, ...]:
        return stories(self.entries)

    @property
    def calls(self) -> dict[str, int]:
        return dict(self._emulator.calls.counts)

    @property
    def is_settled(self) -> bool:
        """Whether no pass is due or running and every instance is healthy."""
        last = self.samples[-1] if self.samples else None
        is_healthy = bool(last and last.by_version == last.healthy)
        return (
            bool(self.document)
            and not self.document.get("requeue_at")
            and not self.document.get("lease")
            and is_healthy
        )

    @property
    def waiting_for(self) -> str:
        """The first condition's reason, if there is one."""
        return str(
            next((condition["why"] for condition in self.document.get("conditions", ())), "")
        )

    def template_of(self, version: str) -> str:
        """The name of a release's template, once it has been seen in a sample."""
        return next(name for name, found in self._versions.items() if found == version)

    def poll(self) -> None:
        for document in self._store.list(f"models/{self._model}/log", PAGE, self._last):
            self._last = document.path.rpartition("/")[2]
            self.entries = (*self.entries, _entry(document.data))
        model = self._store.get(f"models/{self._model}")
        self.document = model.data if model else {}
        counted, self._counted = self._counted, []
        self._learn_versions(template for _, counts in counted for template in counts)
        for at, counts in counted:
            self.samples = with_sample(self.samples, self._by_version(at, counts))

    def _learn_versions(self, templates: Iterable[str]) -> None:
        """Reads which release has which template, if one is unknown."""
        if set(templates) - set(self._versions):
            for release in self._store.list(f"models/{self._model}/releases", PAGE):
                self._versions[release.data["template"]] = release.data["version"]

    def _by_version(self, at: datetime, counts: Mapping[str, Count]) -> Sample:
        everything: Counter[str] = Counter()
        healthy: Counter[str] = Counter()
        shares: dict[str, float] = {}
        for template, count in counts.items():
            version = self._versions.get(template, template)
            everything[version] += count.all
            healthy[version] += count.healthy
            shares[version] = shares.get(version, 0) + count.share
        return Sample(
            at,
            dict(everything),
            {version: count for version, count in healthy.items() if count},
            {version: share for version, share in shares.items() if share},
        )

    def _sample_on(self) -> None:
        last: dict[str, Count] | None = None
        while not self._stopping.wait(EVERY_SECONDS):
            counts, at = self._counts(), datetime.fromtimestamp(self._emulator.now(), UTC)
            if counts != last:
                last = counts
                self._counted.append((at, counts))

    def _counts(self) -> dict[str, Count]:
        """The model's instances by template. One that is being deleted gets no new requests, so it
        does not count as healthy.
        """
        everything: Counter[str] = Counter()
        healthy: Counter[str] = Counter()
        groups: dict[str, set[str]] = {}
        own = {f"slipway-{self._model}-{colour}" for colour in COLOURS}
        for record in self._emulator.instances():
            if record["group"] not in own:
                continue
            groups.setdefault(record["group"], set()).add(record["template"])
            everything[record["template"]] += 1
            healthy[record["template"]] += record["ready"] and record["action"] not in LEAVING
        shares = _shares(weights(self._emulator, self._model), groups)
        return {
            template: Count(count, healthy[template], shares.get(template, 0))
            for template, count in everything.items()
        }


def _shares(weights: Mapping[str, int], groups: Mapping[str, set[str]]) -> dict[str, float]:
    """The percentages of the requests by template; empty while a group that gets requests has
    instances of two templates.
    """
    found: dict[str, float] = {}
    for group, weight in weights.items():
        templates = groups.get(group, set())
        if weight and len(templates) != 1:
            return {}
        for template in templates:
            found[template] = found.get(template, 0) + weight / 10
    return found


def weights(emulator: Emulator, model: str) -> dict[str, int]:
    """The weights of a model's groups in the URL map, 0 to 1000, by group; empty without a route.
    A route to a single backend service gives it all.
    """
    url_map = emulator.find("urlMaps", "slipway-gateway", "global") or {}
    routes = [
        rule
        for matcher in url_map.get("pathMatchers", ())
        for kind in ("pathRules", "routeRules")
        for rule in matcher.get(kind, ())
    ]
    alone: dict[str, int] = {}
    for rule in routes:
        split = rule.get("routeAction", {}).get("weightedBackendServices", ())
        found = {_name(each["backendService"]): each.get("weight", 0) for each in split}
        if any(name.startswith(f"slipway-{model}-") for name in found):
            return found
        if _name(rule.get("service", "")).startswith(f"slipway-{model}-"):
            alone = {_name(rule["service"]): 1000}
    return alone


def _name(url: str) -> str:
    return url.rpartition("/")[2]


def _entry(data: Mapping[str, Any]) -> Entry:
    return Entry(
        data["at"],
        data["release"],
        data["from"],
        data["to"],
        data["why"],
        data.get("reason"),
        data.get("outcome"),
    )
