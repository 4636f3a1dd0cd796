"""Settings come from a database of their own, which nothing in the functions writes."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from infra.settings import POLICY
from infra.store.databases import SETTINGS, SETTINGS_DATABASE, TwoDatabases
from infra.store.port import Create, Delete, Put, Replace, StoreError, Write
from infra.store.sqlite import SqliteStore
from infra.wiring import make_settings

ROOT = Path(__file__).parents[2]
# What functions write in the collection of the settings. Where it goes on, it is no setting.
BOOKKEEPING = {"settings/admission", "settings/drift_scan", "settings/route_writer"}


def stores() -> tuple[SqliteStore, SqliteStore, TwoDatabases]:
    documents, settings = SqliteStore(":memory:"), SqliteStore(":memory:")
    return documents, settings, TwoDatabases(documents, settings)


def test_each_document_comes_from_its_database() -> None:
    documents, settings, both = stores()
    documents.commit(Put("models/tiny", {"a": 1}), Put("settings/admission", {"a": 2}))
    settings.commit(Put(POLICY, {"a": 3}), Put("models/tiny", {"a": 4}))
    found = both.get_many(["models/tiny", "settings/admission", POLICY, "settings/prices"])
    assert {path: each.data["a"] for path, each in found.items()} == {
        "models/tiny": 1,
        "settings/admission": 2,
        POLICY: 3,
    }


@pytest.mark.parametrize("path", sorted(SETTINGS))
def test_a_setting_among_the_documents_has_no_effect(path: str) -> None:
    """Alone, it stops its reader: an older Slipway left it, and nothing else would limit anyone."""
    documents, settings, both = stores()
    documents.commit(Put(path, {"written": "by a function"}))
    with pytest.raises(StoreError, match=f"{path}: lies in the database of the documents"):
        both.get(path)
    settings.commit(Put(path, {"written": "by a person"}))
    found = both.get(path)
    assert found is not None
    assert found.data == {"written": "by a person"}


@pytest.mark.parametrize("path", sorted(SETTINGS))
def test_a_commit_that_writes_a_setting_writes_nothing(path: str) -> None:
    documents, settings, both = stores()
    writes: tuple[Write, ...] = (
        Put(path, {}),
        Create(path, {}),
        Replace(path, {}, "1"),
        Delete(path),
    )
    for write in writes:
        with pytest.raises(StoreError, match=f"{path}: only people write settings"):
            both.commit(Put("models/tiny", {}), write)
    assert documents.list("models", 9) == documents.list("settings", 9) == ()
    assert settings.list("settings", 9) == ()


def test_every_path_in_the_code_is_a_setting_or_bookkeeping() -> None:
    """A new document under `settings/` has to be one or the other."""
    named = {
        node.value
        for part in ("handlers", "infra", "rollout", "console")
        for file in (ROOT / part).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(r"settings/\w+", node.value)
    }
    assert named == SETTINGS | BOOKKEEPING


def test_documents_and_settings_are_never_one_database_of_firestore() -> None:
    environment = {"GOOGLE_CLOUD_PROJECT": "demo", "SLIPWAY_DATABASE": SETTINGS_DATABASE}
    with pytest.raises(ValueError, match="SLIPWAY_DATABASE must be a database of the documents"):
        make_settings(environment)
