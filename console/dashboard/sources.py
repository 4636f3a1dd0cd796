"""Reads what the pages show. All models are read once for many pages, everything else for each."""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime

from console import views
from console.connect import Connection
from console.dashboard import pages
from console.dashboard.snapshot import Reading, Snapshot, Times
from console.follow import last_entries, overview_of, overviews, place_after, state_of
from console.views import EntryView, OverviewView, QuarantineView
from infra.errors import Unavailable
from infra.fleet.stored_plan import RolloutPlan, stored_plan
from infra.settings import POLICY, PRICES, default_prices, load_project_policy, read_stop
from infra.store import repository
from infra.store.documents import UnknownSchema, release_from_record
from infra.store.port import Document, Place, Store, StoreError
from rollout.intents import pending_release
from rollout.model import Release
from rollout.policy.prices import load_prices
from rollout.start_times import LogEntry
from rollout.state import ModelState

TIMES = Times(fresh=5.0, patience=0.1, stale=600.0)
READS_A_SECOND = 100.0
"""How many models are read each second at most: each costs."""
MOST_UNSENT = 500
MOST_ENTRIES = 100
RELEASE_FIELDS = (
    "version",
    "generation",
    "outcome",
    "ended",
    "released_at",
    "requested_by",
    "baked_at",
)
REFUSED_FIELDS = ("at", "model", "version", "problems", "why", "size")
Models = tuple[datetime, tuple[OverviewView, ...]]


class Sources:
    def __init__(self, connection: Connection, times: Times = TIMES) -> None:
        self.connection = connection
        self._models: Snapshot[Models] = Snapshot(
            self._read_models,
            connection.timer,
            times,
            cost=lambda found: len(found[1]) / READS_A_SECOND if times.fresh else 0.0,
        )
        self._stop = Snapshot(lambda: read_stop(self._store), connection.timer, times)

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
        """That Slipway is stopped, since when, by whom and why; empty if it is not. A policy that
        cannot be read is no reason to show nothing.
        """
        try:
            stop = self._stop.get().value
        except (ValueError, StoreError, Unavailable) as error:
            return f"Whether Slipway is stopped cannot be read: {error}"
        return f"Slipway is {stop.why}" if stop else ""

    # ---- Models

    def begin(self) -> None:
        """Begins to read all models, so that the first page has less to wait for."""
        self._models.begin()
        self._stop.begin()

    def models(self, query: str, number: int) -> pages.ModelsPage:
        found: Reading[Models] = self._models.get()
        at, rows = found.value
        age = self.connection.timer() - found.at
        return pages.models_page(rows, query, number, at, age, found.problem)

    def _read_models(self) -> Models:
        return self.connection.clock.now(), (*overviews(self._store),)

    def model(self, model: str, before: str) -> Callable[[int], pages.ModelPage] | None:
        """Makes the page with so many rows; None if there is no such model. `before`: the entry
        before which the log ends; empty for all of it.
        """
        document = self._store.get(repository.model_path(model))
        if document is None:
            return None
        state = state_of(document)
        urgency = overview_of(document).urgency
        place = before or place_after(state.revision)
        entries = last_entries(self._store, model, place, MOST_ENTRIES)
        versions = {each.release for each in entries if each.release}
        present = (state.rollout.stable, state.rollout.previous, state.rollout.candidate)
        versions |= {each.version for each in present if each}
        records = self._store.get_many(
            repository.release_path(model, version) for version in sorted(versions)
        )
        now = self.connection.clock.now()
        releases = views.history_view((each.data for each in records.values()), state, now)
        specs = dict(_releases(records.values()))
        plan = None if before else self._plan(state, entries, now)
        return lambda rows: pages.model_page(
            state,
            urgency,
            entries,
            releases,
            specs,
            self.project,
            now,
            rows=rows,
            is_older=bool(before),
            plan=plan,
        )

    def _plan(
        self, state: ModelState, entries: Iterable[EntryView], now: datetime
    ) -> RolloutPlan | None:
        """Of the release that has not begun, if there is one."""
        release = pending_release(state.rollout, state.desired)
        if release is None:
            return None
        stored = self._store.get_many([POLICY, PRICES])
        model, prices = state.desired.model, stored.get(PRICES)
        try:
            return stored_plan(
                state,
                release,
                load_project_policy(self._store, stored, self.connection.project),
                load_prices(default_prices(), prices.data if prices else None),
                tuple(LogEntry(each.release, each.from_, each.to, each.at) for each in entries),
                now,
            )
        except ValueError as error:
            return RolloutPlan(model, release.version, problems=(str(error),))

    def releases(self, model: str, before: str) -> pages.ReleasesPage | None:
        document = self._store.get(repository.model_path(model))
        if document is None:
            return None
        state = state_of(document)
        found = self._store.list_newest(
            f"models/{model}/releases",
            "generation",
            pages.RECORDS_A_PAGE + 1,
            _place(before, int),
            RELEASE_FIELDS,
        )
        now = self.connection.clock.now()
        rows = views.history_view((each.data for each in found), state, now)
        return pages.releases_page(model, rows, self.project, is_older=bool(before))

    # ---- Refused messages and the policy

    def quarantine(self, before: str) -> pages.QuarantinePage:
        found = self._store.list_newest(
            "quarantine",
            "at",
            pages.RECORDS_A_PAGE + 1,
            _place(before, pages.moment_of),
            REFUSED_FIELDS,
        )
        rows = [quarantine_view(each) for each in found]
        outbox = self._store.list("outbox", MOST_UNSENT, fields=("topic",))
        unsent = Counter(str(each.data.get("topic")) for each in outbox)
        return pages.quarantine_page(rows, unsent, self.project, is_older=bool(before))

    def refused(self, key: str) -> QuarantineView | None:
        document = self._store.get(f"quarantine/{key}")
        return quarantine_view(document) if document else None

    def policy(self) -> pages.PolicyPage:
        stored = self._store.get_many([POLICY])
        try:
            policy = load_project_policy(self._store, stored, self.connection.project)
        except ValueError as error:
            return pages.PolicyPage(problem=str(error))
        now = self.connection.clock.now()
        return pages.policy_page(policy, now, is_stored=POLICY in stored)


def _place(before: str, value_of: Callable[[int], int | datetime]) -> Place | None:
    """The place that `pages.place_text` wrote; None for the newest."""
    number, _, name = before.partition(".")
    return Place(value_of(int(number)), name) if name else None


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
