"""The vocabulary checker finds each kind of place in which a retired word can come back."""

from __future__ import annotations

import pytest

from tests.assurance import vocabulary
from tests.assurance.vocabulary import (
    ALLOWED,
    ENGLISH,
    PHRASES,
    ROOT,
    STYLE,
    Vocabulary,
    read_table,
)

PAGE = """
## Retired words

| Retired | Replacement |
|---|---|
| `frob`, seen | `lease` |
| `grub_back`, goes back | `rolling_back` |
| `stop-gap` | `emulator` |
| `turn` | a pass |

| Instead of | Write |
|---|---|
| `other` | another |
"""
TABLE = read_table(PAGE)


def found(text: str, path: str = "infra/module.py") -> list[str]:
    return [hit.entry for hit in Vocabulary(TABLE).hits(path, text)]


def test_the_table_is_read_from_the_page() -> None:
    assert TABLE == {
        "frob": "`lease`",
        "grub_back": "`rolling_back`",
        "stop-gap": "`emulator`",
        "turn": "a pass",
    }


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("def frob(): ...", "frob"),
        ("def is_frob_due(): ...", "frob"),
        ("class FrobError(Exception): ...", "frob"),
        ("FROB = 1", "frob"),
        ("frobs = []", "frob"),
        ("class GrubBack: ...", "grub_back"),
        ("rollout.grub_back_at", "grub_back"),
        ("stand(stop_gap=1)", "stop-gap"),
        ("document = {'frob': 1}", "frob"),
        ("phase = 'grub_back'", "grub_back"),
        ("case = 'grub-back-on-its-way-home'", "grub_back"),
        ('log.info("the frob is gone")', "frob"),
        ('raise ValueError("no stop-gap is left")', "stop-gap"),
        ('raise ValueError(f"none of {rollout.frob} is left")', "frob"),
        ('text = (\n    """\n    """\n    "frob"\n)', "frob"),
        ("def test_a_frob_expires(): ...", "frob"),
        ('log.info("the turn ended")', "turn"),
        ("def test_a_second_turn_writes_nothing(): ...", "turn"),
        ("turn = 1", "turn"),
    ],
)
def test_a_retired_word_is_found_in_python(text: str, entry: str) -> None:
    assert found(text) == [entry]


@pytest.mark.parametrize(
    "text",
    [
        "# the frob",
        '"""The frob."""',
        'def work():\n    """Take the frob."""',
        "frobnicate = other = 1",
        "seen = 1",
        'log.info("turn it off")',
        "def test_settings_turn_into_labels(): ...",
    ],
)
def test_prose_and_other_words_are_left_alone(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("path", "text", "entries"),
    [
        ("infra/frob.py", "", ["frob"]),
        ("tests/history.json", '{"frob": {"phase": "grub_back"}}', ["frob", "grub_back"]),
        ("docs/page.md", "The `frob` of a frob; `test_x.py::test_turn_it_off`", ["frob"]),
        ("deploy/run.sh", "frob stop-gap", ["stop-gap"]),
        ("deploy/roles/role.yaml", "name: stop-gap", ["stop-gap"]),
        ("Makefile", "run: grub_back", ["grub_back"]),
    ],
)
def test_a_retired_word_is_found_in_other_files(path: str, text: str, entries: list[str]) -> None:
    assert found(text, path) == entries


def test_a_hit_names_the_place_and_the_replacement() -> None:
    [hit] = Vocabulary(TABLE).hits("infra/module.py", "one = 1\nfrob_at = 2\n")
    assert str(hit) == "infra/module.py:2: frob_at (frob) -> `lease`"


def test_a_name_of_another_owner_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vocabulary.ALLOWED, "frobRatio", "Compute Engine")
    assert found("body['frobRatio'] = frobRatio") == []
    assert all(owner for owner in ALLOWED.values())


def test_the_exceptions_are_of_words_in_the_table() -> None:
    table = read_table((ROOT / STYLE).read_text("utf-8"))
    assert len(table) > 30
    assert table.keys() >= ENGLISH | PHRASES.keys()
