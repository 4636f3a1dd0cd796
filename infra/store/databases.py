"""The store as the functions use it: documents in one database, people's settings in another.

Made by `infra/wiring.py`. Firestore has one IAM role for a whole database, so the documents that
decide what a function may do are in a database of their own, which no function may write (ADR
0046). Invariant: nothing that came through this store has changed a setting, and a setting that
lies among the documents, where functions may write, has no effect.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from infra.store.port import Document, Due, Place, Store, StoreError, Write

SETTINGS_DATABASE = "slipway-settings"
SETTINGS = frozenset(
    {"settings/policy", "settings/prices", "settings/notifications", "settings/sources"}
)


class TwoDatabases:
    """Reads settings from one store and everything else from the other, and writes no settings."""

    def __init__(self, documents: Store, settings: Store) -> None:
        self._documents, self._settings = documents, settings

    def get(self, path: str) -> Document | None:
        return self.get_many([path]).get(path)

    def get_many(self, paths: Iterable[str]) -> dict[str, Document]:
        """Raises StoreError for a setting that is only among the documents: an older Slipway left
        it there, and without it everything would be allowed.
        """
        requested = frozenset(paths)
        documents = self._documents.get_many(requested)
        settings = self._settings.get_many(SETTINGS & requested)
        left_behind = documents.keys() & SETTINGS - settings.keys()
        if left_behind:
            raise StoreError(
                f"{', '.join(sorted(left_behind))}: lies in the database of the documents, which"
                " functions may write; move it to the database of the settings (docs/deploy.md)"
            )
        return {**documents, **settings}

    def commit(self, *writes: Write) -> dict[str, str]:
        refused = SETTINGS & {each.path for each in writes}
        if refused:
            raise StoreError(f"{', '.join(sorted(refused))}: only people write settings")
        return self._documents.commit(*writes)

    def list_due(self, now: datetime, limit: int, after: Due | None = None) -> tuple[Due, ...]:
        return self._documents.list_due(now, limit, after)

    def count_due(self, until: datetime) -> int:
        return self._documents.count_due(until)

    def list(
        self,
        collection_path: str,
        limit: int,
        after: str | None = None,
        fields: Sequence[str] = (),
    ) -> tuple[Document, ...]:
        return self._documents.list(collection_path, limit, after, fields)

    def list_newest(
        self,
        collection_path: str,
        by: str,
        limit: int,
        before: Place | None = None,
        fields: Sequence[str] = (),
    ) -> tuple[Document, ...]:
        return self._documents.list_newest(collection_path, by, limit, before, fields)
