"""Clocks, a store and a bus for the handlers; every call passes `Simulation.boundary`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Protocol, TypeVar

from infra.identity.record import LAST_TICK
from infra.store import outbox
from infra.store.port import Document, Due, Place, Write
from infra.store.sqlite import SqliteStore
from tests.assurance.simulation.schedule import Fault
from tests.memory_store import MemoryStore

T = TypeVar("T")


class Boundary(Protocol):
    """The part of a simulation that the adapters use."""

    def __call__(
        self, name: str, target: str, is_write: bool, do: Callable[[Fault | None], T]
    ) -> T: ...


class WorkerClock:
    """The running worker's clock, with its skew."""

    def __init__(self, now: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._now, self._sleep = now, sleep

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)

    def sleep(self, seconds: float) -> None:
        self._sleep(seconds)


class ServerClock:
    """Pub/Sub's own clock."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing sleeps on the server's clock")


class SimStore:
    """The store that all workers share. Calls each of `on_commit` after a commit."""

    def __init__(
        self,
        boundary: Boundary,
        store: MemoryStore | SqliteStore,
        on_commit: list[Callable[[tuple[Write, ...]], None]],
    ) -> None:
        self._boundary, self._store, self._on_commit = boundary, store, on_commit

    def get(self, path: str) -> Document | None:
        return self._boundary("store.get", path, False, lambda _: self._store.get(path))

    def get_many(self, paths: Iterable[str]) -> dict[str, Document]:
        requested = tuple(paths)
        return self._boundary(
            "store.get_many", requested[0], False, lambda _: self._store.get_many(requested)
        )

    def list_due(self, now: datetime, limit: int, after: Due | None = None) -> tuple[Due, ...]:
        return self._boundary(
            "store.list_due", "", False, lambda _: self._store.list_due(now, limit, after)
        )

    def count_due(self, until: datetime) -> int:
        """Without faults: what depends on it is how often, and never whether."""
        return self._store.count_due(until)

    def list(
        self,
        collection_path: str,
        limit: int,
        after: str | None = None,
        fields: Sequence[str] = (),
    ) -> tuple[Document, ...]:
        return self._boundary(
            "store.list",
            collection_path,
            False,
            lambda _: self._store.list(collection_path, limit, after, fields),
        )

    def list_newest(
        self,
        collection_path: str,
        by: str,
        limit: int,
        before: Place | None = None,
        fields: Sequence[str] = (),
    ) -> tuple[Document, ...]:
        return self._boundary(
            "store.list_newest",
            collection_path,
            False,
            lambda _: self._store.list_newest(collection_path, by, limit, before, fields),
        )

    def commit(self, *writes: Write) -> dict[str, str]:
        """What a tick records of itself, for people, is no call: each tick writes it, last of all
        and whatever the state is.
        """
        if [write.path for write in writes] == [LAST_TICK]:
            return self._store.commit(*writes)

        def do(_: Fault | None) -> dict[str, str]:
            versions = self._store.commit(*writes)
            for notify in self._on_commit:
                notify(writes)
            return versions

        return self._boundary(
            "store.commit", ",".join(write.path for write in writes[:2]), True, do
        )


class SimBus:
    """The bus that all workers share."""

    def __init__(
        self, boundary: Boundary, publish: Callable[[str, bytes, Mapping[str, str]], str]
    ) -> None:
        self._boundary, self._publish = boundary, publish

    def publish(
        self, topic: str, data: bytes, attributes: Mapping[str, str] = MappingProxyType({})
    ) -> str:
        # A request for the writer of the URL map is no wake-up of the model.
        target = "routes" if data == outbox.routes_wakeup() else topic
        return self._boundary(
            "bus.publish", target, True, lambda _: self._publish(topic, data, attributes)
        )


class SimScheduler:
    """Publishes wake-ups later, each number of a model once."""

    def __init__(
        self, boundary: Boundary, publish_at: Callable[[str, bytes, datetime], None]
    ) -> None:
        self._boundary, self._publish_at = boundary, publish_at
        self._scheduled: set[tuple[str, int]] = set()

    def schedule(self, model: str, number: int, at: datetime) -> None:
        def do(_: Fault | None) -> None:
            if (model, number) not in self._scheduled:
                self._scheduled.add((model, number))
                self._publish_at(outbox.WAKEUPS, outbox.wakeup(model, number), at)

        self._boundary("bus.schedule", model, True, do)
