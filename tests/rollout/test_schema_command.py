"""The command that generates the schema and its page: what it writes, where, and how it reports
stale files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schemas import generate
from schemas.generate import PAGE, ROOT, SCHEMA, generated_files, main, page, stale_files


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another folder, which the command takes for the checkout."""
    root = tmp_path / "new"
    root.mkdir()
    monkeypatch.setattr(generate, "ROOT", root)
    return root


def test_it_writes_all_stale_files(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{path} is stale; run make schema" for path in (SCHEMA, PAGE)
    ]
    assert main([]) == 0
    assert main([]) == 0  # existing files are overwritten
    assert (main(["--check"]), capsys.readouterr().out) == (0, "")
    assert (elsewhere / PAGE).read_bytes() == page().encode()
    assert (elsewhere / SCHEMA).read_text("utf-8") == json.dumps(
        json.loads((elsewhere / SCHEMA).read_text("utf-8")), indent=2
    ) + "\n"


def test_a_file_with_one_more_byte_is_stale(elsewhere: Path) -> None:
    assert main([]) == 0
    assert stale_files(elsewhere) == ()
    (elsewhere / PAGE).write_text(page() + " ", "utf-8")
    assert stale_files(elsewhere) == (PAGE,)


def test_nothing_else_is_generated() -> None:
    assert set(generated_files()) == {SCHEMA, PAGE}
    assert stale_files(ROOT) == ()


def test_unknown_arguments_write_nothing_and_print_the_usage(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["--chekc"], ["--check", "twice"]):
        assert main(words) == 2
        assert capsys.readouterr().out == "usage: python -m schemas.generate [--check]\n"
    assert list(elsewhere.iterdir()) == []
