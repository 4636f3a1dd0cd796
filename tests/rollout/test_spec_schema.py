"""The published schema and page: up to date, valid, and of one mind with the code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from rollout.spec.message import CommandMessage, ReleaseMessage
from schemas.generate import PAGE, ROOT, SCHEMA, main, message_schema, stale_files

SAYS = Draft202012Validator(message_schema())
SMALL = {"model": "tiny", "version": "1", "artifact": {"image": "tiny:1"}}


def test_what_is_committed_is_what_the_types_say() -> None:
    assert stale_files(ROOT) == (), "run make schema"


def test_a_stale_file_is_named(tmp_path: Path) -> None:
    assert stale_files(tmp_path) == (SCHEMA, PAGE)


def test_the_check_passes_and_other_words_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0
    assert main(["--chekc"]) == 2
    assert "usage" in capsys.readouterr().out


def test_the_schema_is_a_schema_and_says_which() -> None:
    schema = json.loads((ROOT / SCHEMA).read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == "urn:slipway:schemas:model-release:v1"
    assert "x-allowed" not in json.dumps(schema)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples").glob("*.json")), ids=lambda path: path.stem
)
def test_the_schema_takes_every_example(path: Path) -> None:
    SAYS.validate(json.loads(path.read_text("utf-8")))


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
def test_the_schema_takes_what_a_merge_takes(message: object) -> None:
    SAYS.validate(message)


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
def test_the_schema_refuses_what_the_code_refuses(message: object) -> None:
    assert list(SAYS.iter_errors(message))


def fields(kind: type[BaseModel]) -> dict[str, Any]:
    """Every field of a message by the path that the page prints."""
    found: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        found[name] = field
        if isinstance(field.default, BaseModel):
            found |= {
                f"{name}.{inner}": value for inner, value in fields(type(field.default)).items()
            }
    return found


@pytest.mark.parametrize("kind", [ReleaseMessage, CommandMessage])
def test_every_field_is_on_the_page_and_is_explained(kind: type[BaseModel]) -> None:
    page = (ROOT / PAGE).read_text("utf-8")
    sections = {name for name in fields(kind) if f"## {name}\n" in page}
    for path, field in fields(kind).items():
        assert field.description, path
        assert path in sections or f"| `{path}` |" in page, path
    assert all("|  |" not in line and "| |" not in line for line in page.splitlines())
