"""Reads what the pages show. All models and all refused messages are read once for many pages."""

from __future__ import annotations

import base64
import binascii
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Generic, TypeVar

from console import views
from console.connect import Connection
from console.dashboard import pages
from console.follow import documents, last_entries, place_after, state_of
from console.views import OverviewView, QuarantineView, ReleaseView
from infra.settings import POLICY, load_project_policy, read_stop
from infra.store import repository
from infra.store.documents import UnknownSchema, release_from_record
from infra.store.port import Document, Store
from rollout.model import Release

FRESH_SECONDS = 5.0
STALE_SECONDS = 60.0
T = TypeVar("T")

log = logging.getLogger("slipway")


class Snapshot(Generic[T]):
    """A value that is read anew at most every `fresh` seconds. Whoever asks while a thread reads it
    gets the last one, unless that is older than `stale` seconds.
    """

    def __init__(
        self, read: Callable[[], T], timer: Callable[[], float], fresh: float, stale: float
    ) -> None:
        self._read, self._timer, self._fresh, self._stale = read, timer, fresh, stale
        self._lock = threading.Lock()
        self._last: tuple[float, T] | None = None

    def begin(self) -> None:
        """Begins to read in the background, before anybody asks."""
        threading.Thread(target=self._get_or_leave, daemon=True).start()

    def get(self) -> T:
        last = self._last
        age = self._timer() - last[0] if last else self._stale
        if last and age < self._fresh:
            return last[1]
        if last is None or age >= self._stale:
            with self._lock:
                if self._last is last:
                    self._refresh()
            assert self._last
            return self._last[1]
        if self._lock.acquire(blocking=False):
            threading.Thread(target=self._refresh_and_release, daemon=True).start()
        return last[1]

    def _refresh(self) -> None:
        at = self._timer()
        self._last = (at, self._read())

    def _get_or_leave(self) -> None:
        """A failure is left to the first page, which reads again and reports it."""
        with suppress(Exception):
            self.get()

    def _refresh_and_release(self) -> None:
        """A failure leaves the last value, until it is stale: then the page reports it."""
        try:
            self._refresh()
        except Exception:
            log.exception("dashboard could not refresh")
        finally:
            self._lock.release()


class Sources:
    def __init__(
        self,
        connection: Connection,
        fresh_seconds: float = FRESH_SECONDS,
        stale_seconds: float = STALE_SECONDS,
    ) -> None:
        self.connection = connection
        self._rows: dict[str, tuple[str, OverviewView]] = {}
        times = (connection.timer, fresh_seconds, stale_seconds)
        self._models = Snapshot(self._read_models, *times)
        self._quarantine = Snapshot(self._read_quarantine, *times)
        self._stop = Snapshot(lambda: read_stop(self._store), *times)

    @property
    def _store(self) -> Store:
        """Connected to at its first use."""
        return self.connection.store

    @property
    def project(self) -> str:
        """What commands must name."""
        return "" if self.connection.is_local else self.connection.project

    @property
    def stopped(self) -> str:
        """Since when, by whom and why Slipway is stopped; empty if it is not."""
        stop = self._stop.get()
        return stop.why if stop else ""

    # ---- Models

    def begin(self) -> None:
        """Begins to read all models, so that the first page has less to wait for."""
        self._models.begin()

    def models(self, query: str, number: int) -> pages.ModelsPage:
        return pages.models_page(self._models.get(), query, number)

    def _read_models(self) -> tuple[OverviewView, ...]:
        """A document that has not changed is not parsed again."""
        rows = {}
        for document in documents(self._store, "models"):
            last = self._rows.get(document.path)
            is_same = last is not None and last[0] == document.version
            rows[document.path] = (
                last if last and is_same else (document.version, _overview(document))
            )
        self._rows = rows
        return tuple(view for _, view in rows.values())

    def model(self, model: str, before: str, rows: int) -> pages.ModelPage | None:
        """None if there is no such model. `before`: the entry before which the log ends; empty for
        all of it.
        """
        document = self._store.get(repository.model_path(model))
        if document is None:
            return None
        state = state_of(document)
        entries = last_entries(self._store, model, before or place_after(state.revision), rows)
        versions = {each.release for each in entries if each.release}
        present = (state.rollout.stable, state.rollout.previous, state.rollout.candidate)
        versions |= {each.version for each in present if each}
        records = self._store.get_many(
            repository.release_path(model, version) for version in sorted(versions)
        )
        return pages.model_page(
            state,
            _overview(document),
            entries,
            views.history_view(
                (each.data for each in records.values()), state, self.connection.clock.now()
            ),
            dict(_releases(records.values())),
            self.project,
            self.connection.clock.now(),
            rows=rows,
            is_older=bool(before),
        )

    def releases(self, model: str, number: int) -> pages.ReleasesPage | None:
        document = self._store.get(repository.model_path(model))
        if document is None:
            return None
        records = documents(self._store, f"models/{model}/releases")
        found: tuple[ReleaseView, ...] = views.history_view(
            (each.data for each in records), state_of(document), self.connection.clock.now()
        )
        return pages.releases_page(model, found, self.project, number)

    # ---- Refused messages and the policy

    def quarantine(self, number: int) -> pages.QuarantinePage:
        found, unsent = self._quarantine.get()
        return pages.quarantine_page(found, unsent, self.project, number)

    def refused(self, key: str) -> QuarantineView | None:
        document = self._store.get(f"quarantine/{key}")
        return quarantine_view(document) if document else None

    def _read_quarantine(self) -> tuple[list[QuarantineView], Counter[str]]:
        found = [quarantine_view(each) for each in documents(self._store, "quarantine")]
        unsent = Counter(str(each.data["topic"]) for each in documents(self._store, "outbox"))
        return found, unsent

    def policy(self) -> pages.PolicyPage:
        stored = self._store.get_many([POLICY])
        try:
            policy = load_project_policy(self._store, stored)
        except ValueError as error:
            return pages.PolicyPage(problem=str(error))
        now = self.connection.clock.now()
        return pages.policy_page(policy, now, is_stored=POLICY in stored)


def _overview(document: Document) -> OverviewView:
    try:
        return views.overview_view(state_of(document))
    except UnknownSchema as error:
        return views.unreadable_view(document.path.rpartition("/")[2], str(error))


def _releases(records: Iterable[Document]) -> Iterable[tuple[str, Release]]:
    """Those that this version reads."""
    for each in records:
        try:
            release = release_from_record(each.data, each.path)
        except (UnknownSchema, KeyError, TypeError, ValueError):
            continue
        yield release.version, release


def quarantine_view(document: Document) -> QuarantineView:
    try:
        message = base64.b64decode(document.data.get("raw") or "").decode(errors="replace")
    except binascii.Error:
        message = ""
    return views.quarantine_view(document.path.rpartition("/")[2], document.data, message)
