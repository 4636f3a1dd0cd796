"""The command that writes what is published: what it writes, where, and what it says of what is
stale."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schemas import generate
from schemas.generate import PAGE, README, ROOT, SCHEMA, folded, main, page, published, stale

MARKED = "# Slipway\n\n<!-- fields: made -->\n\nold\n\n<!-- end of fields -->\n\nThe rest – é.\n"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The command at work in another folder than this checkout."""
    root = tmp_path / "new"
    root.mkdir()
    monkeypatch.setattr(generate, "ROOT", root)
    return root


def test_it_writes_all_that_is_stale_and_nothing_is_stale_then(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (elsewhere / README).write_text(MARKED, "utf-8")
    assert main(["--check"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{path} is stale; run python -m schemas.generate" for path in (SCHEMA, PAGE, README)
    ]
    assert main([]) == 0
    assert main([]) == 0  # what is there is written over
    assert (main(["--check"]), capsys.readouterr().out) == (0, "")
    assert (elsewhere / PAGE).read_bytes() == page().encode()
    assert (elsewhere / SCHEMA).read_text("utf-8") == json.dumps(
        json.loads((elsewhere / SCHEMA).read_text("utf-8")), indent=2
    ) + "\n"
    written = (elsewhere / README).read_text("utf-8")
    assert written == MARKED.replace("old", folded())


def test_one_byte_more_is_stale(elsewhere: Path) -> None:
    assert main([]) == 0
    assert stale(elsewhere) == ()
    (elsewhere / PAGE).write_text(page() + " ", "utf-8")
    assert stale(elsewhere) == (PAGE,)


def test_without_a_readme_there_is_none_to_write(elsewhere: Path) -> None:
    assert set(published(elsewhere)) == {SCHEMA, PAGE}
    assert set(published(ROOT)) == {SCHEMA, PAGE, README}


def test_other_words_write_nothing_and_say_how_it_is_used(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["--chekc"], ["--check", "twice"]):
        assert main(words) == 2
        assert capsys.readouterr().out == "usage: python -m schemas.generate [--check]\n"
    assert list(elsewhere.iterdir()) == []
