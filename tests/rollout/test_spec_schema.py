"""The published schema and page are up to date, valid, and agree with the code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from rollout.spec.message import CommandMessage, ReleaseMessage
from rollout.spec.section import Section
from rollout.spec.types import Allowed, DefaultsTo
from schemas import generate
from schemas.generate import (
    CONTROLS,
    PAGE,
    ROOT,
    SCHEMA,
    generated_files,
    main,
    message_schema,
    page,
    replace_marked,
    stale_files,
)

SCHEMA_OF_MESSAGES = Draft202012Validator(message_schema())
SMALL = {"model": "tiny", "version": "1", "artifact": {"image": "tiny:1"}}


def test_the_committed_files_match_the_types() -> None:
    assert stale_files(ROOT) == (), "run make schema"


def test_a_missing_file_is_stale(tmp_path: Path) -> None:
    assert stale_files(tmp_path) == (SCHEMA, PAGE, CONTROLS)


def test_the_check_passes_and_unknown_arguments_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--check"]) == 0
    assert main(["--chekc"]) == 2
    assert "usage" in capsys.readouterr().out


def test_the_schema_is_valid_and_names_its_dialect() -> None:
    schema = json.loads((ROOT / SCHEMA).read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == "urn:slipway:schemas:model-release:v1"
    assert "x-allowed" not in json.dumps(schema)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples").glob("*.json")), ids=lambda path: path.stem
)
def test_the_schema_accepts_every_example(path: Path) -> None:
    SCHEMA_OF_MESSAGES.validate(json.loads(path.read_text("utf-8")))


@pytest.mark.parametrize(
    "message",
    [
        SMALL | {"scaling": None, "rollout": {"strategy": None, "steps": None}},
        SMALL | {"scaling": {"schedules": {"day": None, "night": {"min": 3}}}},
        SMALL | {"rollout": {"steps": [10, {"percent": 50}, 100]}},
        {"model": "tiny", "version": "2"},
        {"model": "tiny", "command": "rollback", "version": "1"},
    ],
    ids=str,
)
def test_the_schema_accepts_merge_patches(message: object) -> None:
    SCHEMA_OF_MESSAGES.validate(message)


@pytest.mark.parametrize(
    "message",
    [
        {},
        [],
        {"model": "tiny"},
        SMALL | {"model": None},
        SMALL | {"extra": 1},
        SMALL | {"scaling": {"max": 0}},
        SMALL | {"scaling": {"maxx": 1}},
        SMALL | {"scaling": {"metrics": [{"target": 1}]}},
        SMALL | {"scaling": {"metrics": [{"name": "a.b/c", "type": None}]}},
        SMALL | {"scaling": {"metrics": [None]}},
        SMALL | {"artifact": {"env": {"1X": "v"}}},
        SMALL | {"rollout": {"strategy": "sideways"}},
        SMALL | {"rollout": {"steps": [0]}},
        SMALL | {"rollout": {"steps": [{"percent": 0}]}},
        SMALL | {"rollout": {"steps": [{}]}},
        {"model": "tiny", "command": "stop"},
        {"model": "tiny", "command": "pause", "scaling": {}},
    ],
    ids=str,
)
def test_the_schema_refuses_invalid_messages(message: object) -> None:
    assert list(SCHEMA_OF_MESSAGES.iter_errors(message))


def fields(kind: type[Section]) -> dict[str, Any]:
    """Every field of a message by its path on the page."""
    found: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        found[name] = field
        if isinstance(field.default, Section):
            found |= {
                f"{name}.{inner}": value for inner, value in fields(type(field.default)).items()
            }
    return found


@pytest.mark.parametrize("kind", [ReleaseMessage, CommandMessage])
def test_every_field_is_described_on_the_page(kind: type[Section]) -> None:
    page = (ROOT / PAGE).read_text("utf-8")
    sections = {name for name in fields(kind) if f"## {name}\n" in page}
    for path, field in fields(kind).items():
        assert field.description, path
        assert path in sections or f"| `{path}` |" in page, path
    assert all("|  |" not in line and "| |" not in line for line in page.splitlines())


def test_the_part_between_two_marks_is_replaced_once() -> None:
    text = (
        "a\n<!-- x: by hand -->\nold\n\nolder\n<!-- end of x -->\nb\n<!-- y: -->\n\n<!-- end of y"
        " -->\n"
    )
    made = replace_marked(text, "x", "new \\1")
    assert (
        made
        == "a\n<!-- x: by hand -->\n\nnew \\1\n\n<!-- end of x -->\nb\n<!-- y: -->\n\n<!-- end of y"
        " -->\n"
    )
    assert replace_marked(made, "x", "new \\1") == made
    with pytest.raises(ValueError, match=r"^no place is marked z$"):
        replace_marked(text, "z", "new")


def test_descriptions_of_values_and_defaults_are_in_the_schema() -> None:
    core: Any = "any"
    handler: Any = dict(any={"type": "any"}).get
    assert DefaultsTo("as it was").__get_pydantic_json_schema__(core, handler) == {
        "type": "any",
        "x-default": "as it was",
    }
    assert Allowed("a word").__get_pydantic_json_schema__(core, handler) == {
        "type": "any",
        "x-allowed": "a word",
    }


# ---- The command


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
        f"{path} is stale; run make schema" for path in (SCHEMA, PAGE, CONTROLS)
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
    assert set(generated_files()) == {SCHEMA, PAGE, CONTROLS}
    assert stale_files(ROOT) == ()


def test_unknown_arguments_write_nothing_and_print_the_usage(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["--chekc"], ["--check", "twice"]):
        assert main(words) == 2
        assert capsys.readouterr().out == "usage: python -m schemas.generate [--check]\n"
    assert list(elsewhere.iterdir()) == []
