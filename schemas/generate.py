"""Generates `schemas/model-release.v1.json` and `docs/spec.md` from the types of messages, and
`docs/controls.md` from what commands do.

    python -m schemas.generate           writes them
    python -m schemas.generate --check   prints which are stale, and fails if any is

Not part of the deployed functions. The schema describes messages, not stored specs: every field may
be left out or null.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from rollout.spec.message import CommandMessage, ReleaseMessage
from rollout.spec.model import Sections
from rollout.spec.rules import RULES
from rollout.spec.validation import dereference, describe, schema_of, values_of
from schemas import controls

ROOT = Path(__file__).parent.parent
SCHEMA, PAGE = "schemas/model-release.v1.json", "docs/spec.md"
CONTROLS = "docs/controls.md"
ID = "urn:slipway:schemas:model-release:v1"
NULL = {"type": "null"}

Node = dict[str, Any]
_MARKUP = re.compile(r"[*_<~]")


def generated_files() -> dict[str, str]:
    """The text of each generated file, by its path."""
    return {
        SCHEMA: json.dumps(message_schema(), indent=2) + "\n",
        PAGE: page(),
        CONTROLS: controls.page(),
    }


def replace_marked(text: str, mark: str, part: str) -> str:
    """The text with the part between `<!-- mark: ... -->` and `<!-- end of mark -->` replaced."""
    pattern = rf"(<!-- {mark}: [^>]*-->\n).*?(\n<!-- end of {mark} -->)"
    found, times = re.subn(
        pattern, lambda marks: f"{marks[1]}\n{part}\n{marks[2]}", text, count=1, flags=re.DOTALL
    )
    if not times:
        raise ValueError(f"no place is marked {mark}")
    return found


def stale_files(root: Path) -> tuple[str, ...]:
    return tuple(
        path
        for path, text in generated_files().items()
        if not (root / path).exists() or (root / path).read_text("utf-8") != text
    )


# ---- The JSON Schema


def message_schema() -> Node:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": ID,
        "title": "Slipway message",
        "description": (
            "What may be published on the topic model-releases: a model-release event or, with"
            " `command`, a command."
        ),
        "type": "object",
        "if": {"required": ["command"]},
        "then": _message(CommandMessage),
        "else": _message(ReleaseMessage),
    }


def _message(kind: type[BaseModel]) -> Node:
    schema = schema_of(kind)
    whole = _published(schema, schema, is_merged=True, is_message=True)
    return {**whole, "type": "object", "required": schema["required"]}


_REPLACED = {
    "$defs",
    "const",
    "enum",
    "title",
    "x-allowed",
    "x-default",
    "properties",
    "patternProperties",
    "propertyNames",
    "required",
    "default",
}


def _published(
    node: Mapping[str, Any], schema: Node, is_merged: bool, is_message: bool = False
) -> Node:
    """A node of pydantic's schema in its published form: references resolved, our keywords turned
    into the description, and, where messages are merged, nothing required and null allowed.
    """
    options = [
        option
        for each in node.get("anyOf", [])
        for option in each.get("oneOf", [each])  # the kinds of a union
        if option != NULL
    ]
    if len(options) > 1:
        generated_files = [_published(option, schema, is_merged) for option in options]
        return {**_described(dict(node)), "anyOf": generated_files}
    whole = dereference(node, schema)
    made: Node = {key: value for key, value in whole.items() if key not in _REPLACED} | _described(
        whole
    )
    values = whole.get("enum") or ([whole["const"]] if "const" in whole else [])
    if is_merged or NULL in node.get("anyOf", []):
        made["type"] = [whole["type"], "null"]
        values = [*values, None] if values else []
    if values:
        made["enum"] = values
    if whole["type"] == "object":
        made |= _object(whole, schema, is_merged, is_message)
    elif whole["type"] == "array":
        made["items"] = _published(whole["items"], schema, is_merged=False)
    return made


def _described(node: Node) -> Node:
    """The description of a field, and its default if that is one plain value."""
    allowed, derived, default = (node.get(key) for key in ("x-allowed", "x-default", "default"))
    parts = (
        node.get("description"),
        allowed and f"Allowed: {allowed}",
        derived and f"Default: {derived}",
    )
    sentences = ". ".join(" ".join(part.split()) for part in parts if part)
    text = {"description": sentences} if sentences else {}
    return text if default is None or isinstance(default, dict) else text | {"default": default}


def _object(node: Node, schema: Node, is_merged: bool, is_message: bool) -> Node:
    required = node.get("required", [])
    if "properties" not in node:
        names = {
            key: value
            for key, value in node.get("propertyNames", {}).items()
            if not key.startswith("x-")
        }
        names["pattern"] = next(iter(node["patternProperties"]))  # every name type has a pattern
        return {
            "propertyNames": names,
            "additionalProperties": _published(values_of(node), schema, is_merged),
        }
    properties = {
        name: _published(member, schema, is_merged and not (is_message and name in required))
        for name, member in node["properties"].items()
    }
    kept = {"required": required} if required and not is_merged else {}
    return {"properties": properties, **kept, "additionalProperties": False}


# ---- The page

_INTRODUCTION = """\
<!-- Generated by `make schema` from rollout/spec/{model,message,rules}.py: edit those. -->
# Messages

A message on the topic `model-releases` is a JSON object of at most 64 KB: a **model-release event**
or a **command**. [model-release.v1.json](../schemas/model-release.v1.json) is its JSON Schema;
[examples](../examples) has complete messages.

Fields that an event leaves out are inherited by JSON Merge Patch (RFC 7396): objects are merged
field by field, lists are replaced as a whole, and `null` resets a field to its default. They come
from the newest release before it that has not failed, been aborted or been paused after a failure,
or from the one that `base` names. The first event of a model, and one after a retirement, inherits
nothing and needs `artifact`. A default that depends on other fields is derived again for each
release.

Releases and commands take effect in the order of their publish times, then of the CloudEvents'
`time`, then of their ids, whatever is delivered first. A command is about the release that was the
newest when it was published, unless it names another one.

Unknown fields, and fields that have no meaning beside the others, are errors. All errors of a
message are reported together:

    scaling.max: must be an integer from 1 to 2000, got "lots"
"""


def page() -> str:
    tables = _tables()
    parts = [_INTRODUCTION, "## The event", tables.pop("")[1]]
    for section, (about, table) in tables.items():
        parts += [f"## {section}", about, table]
    rules = "\n".join(f"- {' '.join((rule.__doc__ or '').split())}" for rule in RULES)
    command = schema_of(CommandMessage)
    parts += [
        "## Rules between fields",
        rules,
        "## Commands",
        _table("", command["properties"], command),
    ]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _tables() -> dict[str, tuple[str, str]]:
    """The description and the table of each section; the event's own fields have an empty name."""
    release = schema_of(ReleaseMessage)
    envelope = {
        name: node
        for name, node in release["properties"].items()
        if name not in Sections.model_fields
    }
    tables = {"": ("The event itself.", _table("", envelope, release))}
    for section in Sections.model_fields:
        node = dereference(release["properties"][section], release)
        about = release["$defs"][type(Sections.model_fields[section].default).__name__][
            "description"
        ]
        tables[section] = (
            " ".join(about.split()),
            _table(f"{section}.", node["properties"], release),
        )
    return tables


def _table(prefix: str, properties: Node, schema: Node) -> str:
    required = set(schema["required"]) if not prefix else set()
    rows = [
        row
        for name, node in properties.items()
        for row in _rows(f"{prefix}{name}", node, schema, name in required)
    ]
    return "\n".join(["| field | allowed | default | meaning |", "|---|---|---|---|", *rows])


def _rows(path: str, node: Node, schema: Node, is_required: bool) -> Iterator[str]:
    """A row for the field and, if it holds objects, rows for their fields."""
    whole = dereference(node, schema)
    inner = whole
    if whole.get("type") == "array":
        inner, path_of_inner = dereference(whole["items"], schema), f"{path}[]"
    elif "properties" not in whole and whole.get("type") == "object":
        inner, path_of_inner = dereference(values_of(whole), schema), f"{path}.<name>"
    else:
        path_of_inner = path
    cells = (
        f"`{path}`",
        _allowed(whole, schema),
        _default(whole, is_required),
        whole.get("description", ""),
    )
    yield "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"
    kinds = [dereference(option, schema) for option in inner.get("oneOf", [inner])]
    rows = (
        row
        for kind in kinds
        for name, member in kind.get("properties", {}).items()
        for row in _rows(
            f"{path_of_inner}.{name}", member, schema, name in kind.get("required", ())
        )
    )
    yield from dict.fromkeys(rows)


def _allowed(node: Node, schema: Node) -> str:
    words = describe(node)
    if node.get("type") == "array" and "x-allowed" not in node:
        words += f", each {describe(dereference(node['items'], schema))}"
    elif node.get("type") == "object" and "properties" not in node:
        names, value = (
            node.get("propertyNames", {}).get("x-allowed", ""),
            dereference(values_of(node), schema),
        )
        words += f"; names: {names}" + (
            "" if "properties" in value else f"; values: {describe(value)}"
        )
    return _MARKUP.sub(r"\\\g<0>", words)


def _default(node: Node, is_required: bool) -> str:
    if is_required:
        return "required"
    if "x-default" in node:
        return str(node["x-default"])
    value = node.get("default")
    if value is None:
        return "none"
    return "see below" if isinstance(value, dict) and value else f"`{json.dumps(value)}`"


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        old = stale_files(ROOT)
        for path in old:
            print(f"{path} is stale; run make schema")
        return 1 if old else 0
    if arguments:
        print("usage: python -m schemas.generate [--check]")
        return 2
    for path, text in generated_files().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
