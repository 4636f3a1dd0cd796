"""The contract of `Store`, tested on every implementation: Firestore (its emulator), SQLite in a
file and in memory, and the simulation's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from infra.store.firestore import FirestoreStore
from infra.store.port import (
    Conflict,
    Create,
    Delete,
    Due,
    Place,
    Put,
    Replace,
    Store,
    Unstorable,
    Write,
)
from infra.store.sqlite import SqliteStore
from tests.memory_store import MemoryStore

Open = Callable[[], Store]
NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture(params=["firestore", "sqlite", "sqlite in memory", "dictionaries"])
def open_store(request: pytest.FixtureRequest, project: str, tmp_path: Path) -> Open:
    """Opens another handle to the same documents."""
    if request.param == "firestore":
        address = request.getfixturevalue("firestore_emulator")
        return lambda: FirestoreStore(project, emulator=address)
    if request.param == "sqlite":
        return lambda: SqliteStore(tmp_path / "store.db")
    only: Store = SqliteStore(":memory:") if request.param == "sqlite in memory" else MemoryStore()
    return lambda: only


@pytest.fixture
def store(open_store: Open) -> Store:
    return open_store()


def version_of(store: Store, path: str) -> str:
    document = store.get(path)
    assert document is not None
    return document.version


def data_of(store: Store, path: str) -> dict[str, Any] | None:
    document = store.get(path)
    return document.data if document else None


# ---- Reading and writing


@pytest.mark.parametrize(
    "data",
    [
        {},
        {
            "text": "",
            "number": 0,
            "half": 0.5,
            "whole": 1.0,
            "yes": True,
            "no": False,
            "nothing": None,
        },
        {"most": 2**63 - 1, "least": -(2**63), "small": -1e-300, "large": 1.7e308},
        {
            "list": [],
            "map": {},
            "maps": [{}, {"a": [1, {"b": []}]}],
            "mixed": [1, "1", 1.0, None, True],
        },
        {
            "$at": "2026-01-01T00:00:00Z",
            "$": {"$at": 1, "$$at": "x"},
            "a.b": 1,
            "`": 2,
            "a/b": 3,
            "1": 4,
            "__x": 5,
            "ä ": 6,
        },
        {"text": "naïve 東京 🚢 \n\t\x00 \\ \" '"},
    ],
)
def test_values_are_read_as_they_were_written(store: Store, data: dict[str, Any]) -> None:
    store.commit(Create("models/tiny", data))

    found = data_of(store, "models/tiny")

    assert found == data
    assert types_of(found) == types_of(data)


def types_of(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: types_of(item) for name, item in value.items()}
    return [types_of(item) for item in value] if isinstance(value, list) else type(value)


@pytest.mark.parametrize(
    "at",
    [
        NOON,
        NOON.replace(microsecond=0),
        NOON.astimezone(timezone(timedelta(hours=-9, minutes=-30))),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    ],
)
def test_datetimes_are_read_in_utc_to_the_microsecond(store: Store, at: datetime) -> None:
    store.commit(Create("models/tiny", {"at": at, "deep": [{"at": at}]}))

    found = data_of(store, "models/tiny")

    assert found == {"at": at, "deep": [{"at": at}]}
    assert found["at"].utcoffset() == timedelta(0)


def test_maps_are_read_sorted_by_name(store: Store) -> None:
    store.commit(Create("models/tiny", {name: {name: 1, "m": 2} for name in "zaqbw"}))

    found = data_of(store, "models/tiny")

    assert found is not None
    assert list(found) == sorted("zaqbw")
    assert list(found["a"]) == ["a", "m"]


def test_a_tuple_is_stored_as_a_list(store: Store) -> None:
    store.commit(Create("models/tiny", {"steps": (10, 50, 100)}))

    assert data_of(store, "models/tiny") == {"steps": [10, 50, 100]}


def test_a_missing_document_is_none_and_omitted_by_get_many(store: Store) -> None:
    store.commit(Create("models/a", {"n": 1}), Create("models/a/releases/1", {"n": 2}))

    found = store.get_many(["models/a", "models/none", "models/a/releases/1", "models/a"])

    assert store.get("models/none") is None
    assert {path: document.data for path, document in found.items()} == {
        "models/a": {"n": 1},
        "models/a/releases/1": {"n": 2},
    }
    assert store.get_many([]) == {}


def test_a_commit_returns_the_versions_of_its_documents(store: Store) -> None:
    versions = store.commit(Create("models/a", {}), Put("models/b", {}), Delete("models/c"))

    assert versions == {path: version_of(store, path) for path in ("models/a", "models/b")}
    assert store.commit() == {}


# ---- Compare-and-set


def test_creating_an_existing_document_conflicts(store: Store) -> None:
    store.commit(Create("models/tiny", {"n": 1}))

    with pytest.raises(Conflict) as conflict:
        store.commit(Create("models/tiny", {"n": 2}))

    assert conflict.value.path == "models/tiny"
    assert data_of(store, "models/tiny") == {"n": 1}


def test_replacing_overwrites_the_whole_document(store: Store) -> None:
    store.commit(Create("models/tiny", {"old": 1, "map": {"old": 1, "both": 1}}))

    store.commit(Replace("models/tiny", {"map": {"both": 2}}, version_of(store, "models/tiny")))

    assert data_of(store, "models/tiny") == {"map": {"both": 2}}


def test_replacing_a_stale_version_conflicts(store: Store) -> None:
    store.commit(Create("models/tiny", {"n": 1}))
    stale = version_of(store, "models/tiny")
    store.commit(Replace("models/tiny", {"n": 2}, stale))

    with pytest.raises(Conflict) as conflict:
        store.commit(Replace("models/tiny", {"n": 3}, stale))

    assert conflict.value.path == "models/tiny"
    assert data_of(store, "models/tiny") == {"n": 2}


@pytest.mark.parametrize(
    "between", [[Delete("models/tiny")], [Delete("models/tiny"), Create("models/tiny", {"n": 1})]]
)
def test_replacing_a_deleted_document_conflicts_even_if_it_was_recreated(
    store: Store, between: list[Write]
) -> None:
    store.commit(Create("models/tiny", {"n": 1}))
    stale = version_of(store, "models/tiny")
    for write in between:
        store.commit(write)
    left = data_of(store, "models/tiny")

    with pytest.raises(Conflict):
        store.commit(Replace("models/tiny", {"n": 3}, stale))

    assert data_of(store, "models/tiny") == left


@pytest.mark.parametrize("version", ["", "1.5", "none", "-1", "1767225600.123456000"])
def test_replacing_an_invalid_version_conflicts(store: Store, version: str) -> None:
    store.commit(Create("models/tiny", {"n": 1}))

    with pytest.raises(Conflict):
        store.commit(Replace("models/tiny", {"n": 2}, version))

    assert data_of(store, "models/tiny") == {"n": 1}


def test_the_version_changes_only_with_the_content(store: Store) -> None:
    first = store.commit(Create("models/tiny", {"n": 1, "at": NOON}))
    same = store.commit(Put("models/tiny", {"at": NOON, "n": 1}))
    other = store.commit(Put("models/tiny", {"n": 2, "at": NOON}))
    back = store.commit(Put("models/tiny", {"n": 1, "at": NOON}))

    assert same == first
    assert len({first["models/tiny"], other["models/tiny"], back["models/tiny"]}) == 3
    assert version_of(store, "models/tiny") == back["models/tiny"]


def test_putting_overwrites_an_existing_document(store: Store) -> None:
    store.commit(Put("models/tiny", {"a": 1}))
    store.commit(Put("models/tiny", {"b": 2}))

    assert data_of(store, "models/tiny") == {"b": 2}


def test_deleting_twice_is_no_error_and_keeps_subcollections(store: Store) -> None:
    store.commit(Create("models/tiny", {}), Create("models/tiny/releases/1", {}))

    store.commit(Delete("models/tiny"))
    store.commit(Delete("models/tiny"))

    assert store.get("models/tiny") is None
    assert store.get("models/tiny/releases/1") is not None


@pytest.mark.parametrize("between", [Delete("models/tiny"), Put("models/tiny", {"n": 2})])
def test_deleting_a_stale_version_conflicts(store: Store, between: Write) -> None:
    store.commit(Create("models/tiny", {"n": 1}))
    stale = version_of(store, "models/tiny")
    store.commit(between)
    left = store.get("models/tiny")

    with pytest.raises(Conflict) as conflict:
        store.commit(Delete("models/tiny", stale), Put("models/other", {}))

    assert conflict.value.path == "models/tiny"
    assert store.get_many(["models/tiny", "models/other"]) == (
        {"models/tiny": left} if left else {}
    )


def test_deleting_a_present_version_deletes(store: Store) -> None:
    store.commit(Create("models/tiny", {"n": 1}))

    store.commit(Delete("models/tiny", version_of(store, "models/tiny")))

    assert store.get("models/tiny") is None


# ---- Atomic commits


def test_a_commit_with_one_conflict_writes_nothing(store: Store) -> None:
    store.commit(Create("models/kept", {"n": 1}), Create("models/doomed", {"n": 1}))
    before = version_of(store, "models/kept")

    with pytest.raises(Conflict) as conflict:
        store.commit(
            Put("models/first", {}),
            Replace("models/kept", {"n": 2}, before),
            Delete("models/doomed"),
            Create("models/kept/log/1", {}),
            Create("models/doomed/log/1", {}),
            Replace("models/missing", {}, before),
        )

    assert "models/missing" in conflict.value.path
    assert (
        store.get_many(
            ["models/first", "models/kept/log/1", "models/doomed/log/1", "models/missing"]
        )
        == {}
    )
    assert version_of(store, "models/kept") == before
    assert data_of(store, "models/doomed") == {"n": 1}


def test_a_commit_may_write_a_path_only_once(store: Store) -> None:
    with pytest.raises(Unstorable, match="only once"):
        store.commit(Put("models/tiny", {"n": 1}), Delete("models/tiny"))

    assert store.get("models/tiny") is None


def test_concurrent_writers_lose_no_update(open_store: Open) -> None:
    open_store().commit(Create("models/tiny", {"count": 0}))
    per_writer, logs = 8, []

    def write(writer: int) -> None:
        store = open_store()
        for number in range(per_writer):
            while True:
                document = store.get("models/tiny")
                assert document is not None
                count = document.data["count"] + 1
                entry = Create(f"models/tiny/log/{count}", {"writer": writer, "number": number})
                try:
                    store.commit(Replace("models/tiny", {"count": count}, document.version), entry)
                except Conflict:
                    continue
                logs.append(count)
                break

    in_threads(write, 4)

    store = open_store()
    assert data_of(store, "models/tiny") == {"count": 4 * per_writer}
    assert sorted(logs) == list(range(1, 4 * per_writer + 1))
    assert len(store.list("models/tiny/log", 100)) == 4 * per_writer


def test_exactly_one_of_several_concurrent_creates_succeeds(open_store: Open) -> None:
    winners: list[int] = []

    def create(writer: int) -> None:
        try:
            open_store().commit(Create("models/tiny", {"writer": writer}))
            winners.append(writer)
        except Conflict:
            pass

    in_threads(create, 6)

    assert [data_of(open_store(), "models/tiny")] == [{"writer": writer} for writer in winners]


def in_threads(work: Callable[[int], None], count: int) -> None:
    failed: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


# ---- Due models


def due(store: Store, now: datetime, limit: int, after: Due | None = None) -> tuple[str, ...]:
    return tuple(each.model for each in store.list_due(now, limit, after))


def test_models_are_due_once_requeue_at_has_passed_longest_due_first(store: Store) -> None:
    def at(seconds: float) -> dict[str, Any]:
        return {"requeue_at": NOON + timedelta(seconds=seconds)}

    store.commit(
        Create("models/late", at(-1) | {"wakeups": 7, "is_routine": True}),
        Create("models/latest", at(-3600)),
        Create("models/now-b", at(0)),
        Create("models/now-a", at(0)),
        Create("models/soon", at(0.000001)),
        Create("models/settled", {"requeue_at": None}),
        Create("models/silent", {}),
        Create("models/late/releases/1", at(-7200)),
        Create("outbox/1", at(-7200)),
    )

    everything = ("latest", "late", "now-a", "now-b")
    assert due(store, NOON, 10) == everything
    assert due(store, NOON, 2) == ("latest", "late")
    assert due(store, NOON.astimezone(timezone(timedelta(hours=5))), 10) == everything
    assert due(store, NOON - timedelta(days=1), 10) == ()
    first = store.list_due(NOON, 3)
    assert [(each.wakeups, each.is_routine) for each in first] == [
        (0, False),
        (7, True),
        (0, False),
    ]
    assert [store.count_due(NOON + timedelta(seconds=each)) for each in (-7200, -2, 0, 1)] == [
        *(0, 1, 4, 5)
    ]
    assert due(store, NOON, 10, first[0]) == everything[1:]
    assert due(store, NOON, 10, first[-1]) == ("now-b",), "in the middle of an instant"


def test_a_model_is_not_due_once_requeue_at_is_moved_or_removed(store: Store) -> None:
    store.commit(
        Create("models/a", {"requeue_at": NOON}),
        Create("models/b", {"requeue_at": NOON}),
        Create("models/c", {"requeue_at": NOON}),
    )

    store.commit(
        Put("models/a", {"requeue_at": NOON + timedelta(hours=1)}),
        Put("models/b", {"requeue_at": None}),
        Delete("models/c"),
    )

    assert due(store, NOON, 10) == ()
    assert due(store, NOON + timedelta(hours=1), 10) == ("a",)


# ---- Listing


def test_a_collection_is_listed_by_id_in_pages(store: Store) -> None:
    names = ["10", "9", "B", "a", "a-b", "b", "é", "東"]  # by UTF-8 bytes
    store.commit(*(Create(f"outbox/{name}", {"name": name}) for name in reversed(names)))

    pages, after = [], None
    while page := store.list("outbox", 3, after):
        after = page[-1].path.rpartition("/")[2]
        pages.append([document.data["name"] for document in page])

    assert pages == [names[0:3], names[3:6], names[6:8]]
    assert [document.path for document in store.list("outbox", 1, "b")] == ["outbox/é"]
    assert store.list("outbox", 1)[0].version == version_of(store, "outbox/10")


def test_a_list_may_have_some_fields_alone(store: Store) -> None:
    whole = {"a": {"b": {"c": True, "d": 1}, "e": [{"at": NOON}]}, "f": None, "g": 1.5, "at": NOON}
    store.commit(Create("outbox/1", whole), Create("outbox/2", {"a": "flat", "f": 0}))
    (first, second) = store.list("outbox", 2, fields=("a.b.c", "a.e", "f", "missing.too", "at"))
    assert first.data == {"a": {"b": {"c": True}, "e": [{"at": NOON}]}, "at": NOON}
    assert type(first.data["a"]["b"]["c"]) is bool
    assert second.data == {"f": 0}
    assert store.list("outbox", 1, fields=("g",))[0].data == {"g": 1.5}
    assert first.version == version_of(store, "outbox/1")


@pytest.mark.parametrize("step", [1, timedelta(microseconds=1)])
def test_the_newest_are_listed_first_in_pages(store: Store, step: Any) -> None:
    first: Any = 9 if step == 1 else NOON
    values = {"a": first, "b": first + step, "c": first + step, "é": first + 5 * step}
    store.commit(
        *(Create(f"outbox/{name}", {"by": value, "x": 1}) for name, value in values.items()),
        Create("outbox/none", {"x": 1}),
        Create("other/d", {"by": first}),
    )
    found, before = [], None
    while page := store.list_newest("outbox", "by", 2, before, ("by",)):
        last = page[-1]
        before = Place(last.data["by"], last.path.rpartition("/")[2])
        found += [(each.path, each.data) for each in page]
    assert found == [(f"outbox/{name}", {"by": values[name]}) for name in ("é", "c", "b", "a")]


def test_a_list_contains_only_its_own_collection(store: Store) -> None:
    store.commit(
        Create("models/a", {}),
        Create("models/a/releases/1", {}),
        Create("models/b/releases/2", {}),
        Create("modelsx/c", {}),
    )

    assert [document.path for document in store.list("models", 10)] == ["models/a"]
    assert [document.path for document in store.list("models/b/releases", 10)] == [
        "models/b/releases/2"
    ]
    assert store.list("models/a/log", 10) == ()


# ---- Limits


def test_a_document_above_one_mebibyte_is_refused_with_its_size(store: Store) -> None:
    with pytest.raises(
        Unstorable,
        match=r"models/tiny: the document has 1,200,\d\d\d bytes, the limit is 1,048,576",
    ):
        store.commit(Put("models/small", {}), Put("models/tiny", {"text": "ü" * 600_000}))

    assert store.get_many(["models/small", "models/tiny"]) == {}


def test_a_document_of_exactly_one_mebibyte_is_stored(store: Store) -> None:
    # The name models/tiny takes 28 bytes, the document 32, each field's name 2, each text 1 more.
    text_bytes = 1_048_576 - 28 - 32 - 2 * 3
    data = {"a": "x" * 500_000, "b": "x" * (text_bytes - 500_000)}

    store.commit(Create("models/tiny", data))

    assert data_of(store, "models/tiny") == data
    with pytest.raises(Unstorable, match="1,048,577"):
        store.commit(Put("models/tiny", data | {"a": "x" * 500_001}))


def test_a_commit_above_four_megabytes_is_refused(store: Store) -> None:
    with pytest.raises(Unstorable, match="the commit has"):
        store.commit(*(Put(f"models/{number}", {"text": "x" * 900_000}) for number in range(5)))

    assert store.list("models", 10) == ()


def deep(levels: int) -> dict[str, Any]:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return {"top": value}


def test_twenty_levels_of_maps_are_stored(store: Store) -> None:
    store.commit(Create("models/tiny", deep(20)))

    assert data_of(store, "models/tiny") == deep(20)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (deep(21), r"nested more than 20 deep"),
        (deep(5000), r"nested more than 20 deep"),
        ({"l": [[1]]}, r"models/tiny\.l\[0\]: a list directly in a list"),
        ({"n": 2**63}, r"64 bits"),
        ({"n": float("nan")}, r"is not a JSON number"),
        ({"n": float("inf")}, r"is not a JSON number"),
        ({"at": NOON.replace(tzinfo=None)}, r"time zone"),
        ({"raw": b"x"}, r"a bytes cannot be stored"),
        ({"set": {1}}, r"a set cannot be stored"),
        ({"m": {1: 2}}, r"name must be text"),
        ({"m": {"": 1}}, r"is empty"),
        ({"m": {"__a__": 1}}, r"reserved"),
        ({"text": "\ud800"}, r"cannot be encoded as UTF-8"),
        ({"m": {"x" * 1501: 1}}, r"longer than 1500"),
    ],
)
def test_an_unsupported_value_is_refused_with_its_field(
    store: Store, data: dict[str, Any], why: str
) -> None:
    with pytest.raises(Unstorable, match=why):
        store.commit(Put("models/other", {}), Put("models/tiny", data))

    assert store.get_many(["models/tiny", "models/other"]) == {}


@pytest.mark.parametrize(
    "path",
    [
        "",
        "models",
        "models/",
        "/models",
        "models/a/b",
        "models/..",
        "models/.",
        "models/__a__",
        "models//a/b",
    ],
)
def test_an_invalid_document_path_is_refused(store: Store, path: str) -> None:
    with pytest.raises(Unstorable):
        store.commit(Put(path, {}))
    with pytest.raises(Unstorable):
        store.get(path)


def test_a_document_path_cannot_be_listed(store: Store) -> None:
    with pytest.raises(Unstorable):
        store.list("models/tiny", 1)
